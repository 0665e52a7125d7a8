"""The stages of a run, one module each, and the runner that executes them in order."""
