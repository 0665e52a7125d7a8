"""Measurements of speed, size and quality, one module each; their results are in ``benchmarks/results/``."""
