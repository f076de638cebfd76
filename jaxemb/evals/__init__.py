"""Measurements of an encoder, functions of encode."""
