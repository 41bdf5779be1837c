"""Benchmarks: each says what to draw and what the right answer looks like."""
