"""Data sets and what happens to examples before the model."""
