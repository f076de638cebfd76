"""Why is a run no better than random? Measurements on a run folder, each with what it means and what to try."""
