"""What everyone should know who draws a person's face."""

CONSENT = (
    "Use only the face of a person who agreed to it, and say that the picture is generated; in "
    "many places both are the law."
)
METADATA = {"face": "after a photograph of a person; to be used with that person's consent"}
"""Stored in every picture, beside the mark that it is generated."""
