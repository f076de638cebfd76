"""A run folder: config, environment, metrics, checkpoints. Knows neither the trainer nor the model."""
