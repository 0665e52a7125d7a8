"""The recipe of checkpoints/moon-tiny: corpora, distillation, training stages, storage."""
