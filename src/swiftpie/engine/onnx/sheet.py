"""The sheet beside exported graphs: what they take and return, and what else drawing needs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie.errors import WeightsError, short_reason

FORMAT = "swiftpie-graphs/1"
SHEET = "swiftpie.json"
TEXT, IDENTITY, DRAW, CUTOUT = "text", "identity", "draw", "cutout"  # the graphs, by their names
PIXELS, SUBJECT_MASK, PLACE = "image", "subject_mask", "place"  # outputs of `draw`


class Port(NamedTuple):
    """A tensor that enters or leaves a graph."""

    dtype: str  # as numpy calls it
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphSheet:
    """One graph; inputs of the same names as outputs of another take what that returns."""

    file: str
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """An exported model."""

    preset: str
    fingerprint: str  # of the weights, as identities have it
    image_size_px: tuple[int, int]  # height and width of what is drawn
    frame_px: int  # side of the frames that subjects are read from
    tokenizers: tuple[str, ...]  # files, one a tower
    defaults: Mapping[str, float]  # of the inputs of `draw` that are a number
    schedule: tuple[Mapping[str, float], ...]  # timestep, alpha and sigma of each step, as drawn
    taught: Mapping[str, Any] | None  # words, as `Vocabulary.stored` reads them
    graphs: Mapping[str, GraphSheet]
    made_with: Mapping[str, str]  # versions
    format: str = field(default=FORMAT)

    def write(self, folder: Path) -> None:
        """Write it beside the graphs."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / SHEET).write_text(text + "\n", encoding="utf-8")


def read_sheet(folder: Path) -> Sheet:
    """Return what `Sheet.write` wrote.

    Raises:
        WeightsError: It is missing, or this version does not know it.
    """
    try:
        raw = json.loads((folder / SHEET).read_text(encoding="utf-8"))
        assert raw["format"] == FORMAT, f"its format is {raw['format']!r}"
        raw["graphs"] = {name: _graph(one) for name, one in raw["graphs"].items()}
        return Sheet(**raw)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise WeightsError(
            f"'{folder / SHEET}' cannot be read ({short_reason(error)}). One that `swiftpie "
            f"export` of this version wrote, of format {FORMAT!r}, is needed. Export again."
        ) from error


def _graph(raw: Mapping[str, Any]) -> GraphSheet:
    ports = (
        {name: Port(dtype, tuple(shape)) for name, (dtype, shape) in raw[side].items()}
        for side in ("inputs", "outputs")
    )
    return GraphSheet(raw["file"], *ports)
