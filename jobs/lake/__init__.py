"""The lake: Delta tables, files written by tasks, and the one way to commit them."""
