"""Metrics: each file defines one number as `METRIC`."""
