"""Which patches are seen and which are predicted: samplers for masked prediction."""
