"""Training of MOON by contrast on purchases (docs/paper.md, "Training")."""
