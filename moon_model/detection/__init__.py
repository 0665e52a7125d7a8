"""Finds a photo's core product, whose crop is a second input of MOON (paper: core semantic region)."""
