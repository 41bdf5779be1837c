"""Batches and serving on a Ray cluster."""
