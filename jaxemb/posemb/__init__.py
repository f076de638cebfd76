"""Positional embeddings."""
