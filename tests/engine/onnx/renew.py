"""Writes the graphs by which mini draws without PyTorch anew, as `make light` does."""

from pathlib import Path

import swiftpie
from swiftpie.engine.onnx.draw import ASSETS
from swiftpie.engine.onnx.export import export_packaged


def renew(assets: Path):
    """Write graphs into a folder that holds the weights."""
    export_packaged(swiftpie.load("mini").components, assets)


if __name__ == "__main__":
    renew(ASSETS)
