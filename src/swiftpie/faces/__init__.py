"""Faces in pictures: found, brought into one place, and described by a vector."""
