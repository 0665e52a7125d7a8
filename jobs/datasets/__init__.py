"""Data made for training and for trying the pipeline: demo catalogue, purchases, training pairs, benchmark products."""
