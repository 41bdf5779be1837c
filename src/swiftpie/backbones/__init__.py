"""Presets by name and the bundle of networks that each loads."""
