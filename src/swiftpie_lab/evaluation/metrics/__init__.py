"""Metrics by what they read: each file defines its numbers by name, as `METRICS`."""
