"""Pure functions from arrays to a number."""
