"""Demo worlds and product types for training, and those for the benchmark only; this module imports nothing."""

TRAIN_SEEDS = (101, 102, 103)
"""Seeds of the demo worlds for training, without products of ``HELD_OUT_TYPES``; the benchmark refuses these seeds."""

HELD_OUT_TYPES = ("umbrella", "armchair")
"""Product types that are in no training data, neither in photos nor in demo texts."""
