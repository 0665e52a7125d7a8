"""What is for training and what for measuring (issue 4, "moon-tiny" and "Done when" 2); no torch in this module."""

TRAIN_SEEDS = (101, 102, 103)
"""Demo worlds for training; the benchmark measures on others (``HELD_OUT_TYPES`` types appear in none of these)."""

HELD_OUT_TYPES = ("umbrella", "armchair")
"""Product types that training never sees, in pictures or in demo texts."""
