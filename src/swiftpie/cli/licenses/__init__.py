"""`swiftpie licenses`: the terms of everything that a command would load."""

from swiftpie.cli.licenses.command import app

__all__ = ["app"]
