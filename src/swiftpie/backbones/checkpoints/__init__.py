"""Weights in the layouts of other projects, and in our own adapter format."""
