"""Finds a photo's core product, so that MOON also sees it without its background (paper: core semantic region)."""
