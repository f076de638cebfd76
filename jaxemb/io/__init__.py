"""Runs, checkpoints and models, seen from outside."""
