"""Training of MOON by contrast on purchases (paper section "Training", reference/paper.md)."""
