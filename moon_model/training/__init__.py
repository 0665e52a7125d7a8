"""The trainer: contrastive training on purchases and the objectives that recipes add (docs/paper.md, "Training")."""
