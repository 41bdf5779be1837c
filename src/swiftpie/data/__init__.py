"""Sticker scenes: subjects, a deterministic renderer, captions and training batches."""
