"""Sticker scenes: an older world of training pictures."""
