"""IS-Net, which finds subjects in photographs; `swiftpie fetch cutout` brings its file."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftpie.errors import WeightsError, require, short_reason

if TYPE_CHECKING:
    from PIL import Image

REPOSITORY, FILE = "jellybox/isnet-general-use", "isnet-general-use_1024.onnx"
REVISION = "bc3706ce4ee38a3db2c3c58082a92582fcdfcfdc"
LICENCE = "Apache-2.0 (DIS)"
COMMAND = "swiftpie fetch cutout"
EXTRA = "cutout"
SIDE_PX = 1024  # of the square that the network sees


def locate() -> Path | None:
    """Return the path of the network's file; None if it was not fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(REPOSITORY, FILE, revision=REVISION)
    return Path(found) if isinstance(found, str) else None


def find(photo: "Image.Image", path: Path) -> "Image.Image":
    """Return the mask, mode L and of the same size, of what stands in front in an RGB `photo`.

    Raises:
        MissingExtra: onnxruntime is not installed.
        WeightsError: The file at `path` is not the network's.
    """
    import numpy as np
    from PIL import Image

    session = _session(path)
    (shown,), seen = session.get_inputs(), session.get_outputs()[0]  # the finest of six maps
    # The network was trained on colours in [-0.5, 0.5], and its maps on their own range.
    pixels = np.asarray(photo.resize((SIDE_PX, SIDE_PX)), np.float32) / 255 - 0.5
    (found,) = session.run([seen.name], {shown.name: pixels.transpose(2, 0, 1)[None]})
    found -= found.min()
    levels = (found[0, 0] * (255 / max(found.max(), 1e-6))).round().astype(np.uint8)
    return Image.fromarray(levels).resize(photo.size, Image.Resampling.BILINEAR)


@functools.lru_cache(maxsize=1)  # it takes half a gigabyte
def _session(path: Path) -> Any:  # noqa: ANN401 - the library has no types
    runtime = require("onnxruntime", extra=EXTRA, use="The fetched cut-out network")
    try:
        return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises what pybind makes of it
        raise WeightsError(
            f"'{path}' is not the published network ({short_reason(error)}). The complete file is "
            f"needed. Remove it, and run: {COMMAND}."
        ) from error
