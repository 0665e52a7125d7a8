"""Renders HTML pages from the templates of this package."""
