"""The trainer: contrastive training on purchases, with objectives of recipes beside it (docs/paper.md, "Training")."""
