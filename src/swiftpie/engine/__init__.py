"""Loaded models that serve many calls."""
