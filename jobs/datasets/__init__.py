"""Makes data sets: demo catalogues, purchases, training pairs, and benchmark products of the lake."""
