"""Pages about single products: explain, duplicates, search."""
