"""Benchmarks: cases become pictures on disk, pictures become rows, rows become a report."""
