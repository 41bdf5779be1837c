"""Metrics of edits: each file defines one number as `METRIC`."""
