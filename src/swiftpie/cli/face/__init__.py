"""`swiftpie face`: a photograph of a person and a sentence to new pictures."""

from swiftpie.cli.face.command import app

__all__ = ["app"]
