"""From what a user has (files, arrays, strings) to the arrays that a model reads. No JAX here: data workers import this."""
