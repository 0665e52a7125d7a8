"""Measurements, each a module with a command line; results with their conditions in ``benchmarks/results/``."""
