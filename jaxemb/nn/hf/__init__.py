"""How the parts of the house make the architectures that Hugging Face knows: a function a family, with its table of names."""
