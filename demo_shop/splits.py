"""Which demo worlds and product types training uses, and which only the benchmark; imports nothing."""

TRAIN_SEEDS = (101, 102, 103)
"""Seeds of the demo worlds for training, without products of ``HELD_OUT_TYPES``; the benchmark refuses these seeds."""

HELD_OUT_TYPES = ("umbrella", "armchair")
"""Product types that training never sees, neither in photos nor in demo texts."""
