"""Public networks that look at photographs, by name: fetched once, most run by onnxruntime.

Their rows are in the file beside this one. This module loads no tensor library by itself.
"""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from swiftpie.errors import CapabilityError
from swiftpie.faces import ModelFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PhotoNetwork:
    """A public network, which cuts out what stands out or fills holes, and its file."""

    name: str
    file: ModelFile
    side_px: int
    mean: tuple[float, ...] = ()  # empty: it fills holes
    deviation: tuple[float, ...] = ()
    has_odds: bool = False
    settings: ModelFile | None = None  # of a network that transformers run; it reads points

    @property
    def files(self) -> tuple[ModelFile, ...]:
        return (self.file,) if self.settings is None else (self.file, self.settings)

    @property
    def is_here(self) -> bool:
        return all(file.place.is_file() for file in self.files)

    def segment(self, picture: "Array") -> "Array":
        """Return how much each pixel of a picture (H, W, 3) in [0, 1] shows what stands out.

        The picture is squeezed to a square, and the mask (H, W) in [0, 1] stretched back.

        Raises:
            CapabilityError: The file is not on this machine.
            WeightsError: It is damaged.
            MissingExtra: onnxruntime is not installed.
        """
        import numpy as np

        size, run = self._open()
        offset, scale = (np.array(row, dtype=np.float32) for row in (self.mean, self.deviation))
        pixels = (_resized(picture, size) - offset) / scale
        mask = run(pixels.transpose(2, 0, 1)[None])[0, 0]
        if self.has_odds:
            mask = 1 / (1 + np.exp(-mask))
        else:
            mask = (mask - mask.min()) / max(mask.max() - mask.min(), np.finfo(np.float32).tiny)
        return _resized(mask[..., None], (picture.shape[1], picture.shape[0]))[..., 0].clip(0, 1)

    def fill(self, picture: "Array", hole: "Array") -> "Array":
        """Return a picture (H, W, 3) in [0, 1] with its hole (H, W) filled; 1 marks the hole.

        What is known comes back as it was, which tells whether the file counts to 1 or to 255:
        publishers differ. Errors are those of `segment`.
        """
        import numpy as np

        size, run = self._open()
        mask = (_resized(hole[..., None], size) > 0).astype(np.float32)
        small = _resized(picture, size) * (1 - mask)
        drawn = run(small.transpose(2, 0, 1)[None], mask.transpose(2, 0, 1)[None])[0]
        drawn = drawn.transpose(1, 2, 0)
        unit = 255 if (drawn * (1 - mask)).sum() > 2 * small.sum() else 1
        whole = _resized(drawn / unit, (picture.shape[1], picture.shape[0])).clip(0, 1)
        return np.where(hole[..., None] > 0, whole, picture)

    def _open(self) -> tuple[tuple[int, int], Any]:
        """Return the (width, height) that the network sees, and a function of its arrays."""
        self.check_place()
        network = _opened(place := self.file.place, self.file, place.stat().st_mtime_ns)
        height, width = (side or self.side_px for side in network.input_shape[2:])
        return (width, height), lambda *arrays: next(iter(network(*arrays).values()))

    def check_place(self) -> None:
        """Raise CapabilityError where a file is missing."""
        if not self.is_here:
            rest = (
                "leave its name out, so that the built-in one looks" if self.mean else "mark less"
            )
            raise CapabilityError(
                f"The network {self.name!r} is not on this machine: SWIFTPIE_HOME has no "
                f"networks/{self.file.name}. Run `swiftpie fetch {self.name}` where there is a "
                f"connection, or {rest}."
            )


@functools.lru_cache(maxsize=2)  # the largest takes a gigabyte
def _opened(place: Path, file: ModelFile, _changed: int) -> Any:  # noqa: ANN401 - of a later import
    from swiftpie.faces.encoders.onnx import open_model

    return open_model(place.parent, file, use="This network", extra="photo")


def _resized(field: "Array", size: tuple[int, int]) -> "Array":
    """Return a field (H, W, C) at another (width, height), bilinearly and without aliases."""
    import numpy as np
    from PIL import Image

    planes = np.ascontiguousarray(field.transpose(2, 0, 1), dtype=np.float32)
    small = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in small], axis=2)


def _network(name: str, row: dict[str, Any]) -> PhotoNetwork:
    terms = {key: row.pop(key) for key in ("repository", "path", "sha256", "licence")}
    terms |= {"source": f"huggingface.co/{terms['repository']}", "folder": "networks", "option": ""}
    terms["is_commercial"] = row.pop("is_commercial", None)
    file = ModelFile(f"{name}{PurePath(terms['path']).suffix}", **terms)
    if path := row.pop("settings", ""):
        row["settings"] = ModelFile(f"{name}.json", **terms | {"path": path, "sha256": ""})
    return PhotoNetwork(name=name, file=file, **row)


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
NETWORKS: Mapping[str, PhotoNetwork] = MappingProxyType(
    {name: _network(name, row) for name, row in tomllib.loads(_TEXT).items()}
)
