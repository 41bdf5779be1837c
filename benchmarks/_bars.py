"""Comparisons of `benchmarks.peers` that shall reach a number."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._chord import CHORD
from benchmarks._contenders import BOTH_TINY, FULL, TINY
from benchmarks._models import DREAMLITE
from benchmarks._timing import Bar, Ratio, at_least

DIFFUSERS, OPENVINO, PLAIN_LOOP = "diffusers-bfloat16", "peer-openvino", "plain-loop"


@dataclass(frozen=True)
class Wanted:
    """A comparison with a bar."""

    operation: str
    peer: str
    decoders: tuple[str, ...]
    needed_times: float


WANTED = (
    Wanted("personalize", DIFFUSERS, (FULL, TINY), 8.0),
    Wanted("personalize", f"{OPENVINO}/tiny", (TINY,), 2.5),
    Wanted("personalize", f"{OPENVINO}/full", (FULL,), 2.3),
    Wanted("generate", f"{OPENVINO}/tiny", (TINY,), 2.5),
    Wanted("edit", DIFFUSERS, (FULL, TINY, BOTH_TINY), 5.0),
    Wanted("second_edit", DIFFUSERS, (FULL, TINY, BOTH_TINY), 7.0),
    Wanted(CHORD, PLAIN_LOOP, (FULL, TINY, BOTH_TINY), 4.0),
)
WANTED_OF = {
    DREAMLITE: (
        Wanted("generate", DIFFUSERS, (TINY,), 2.0),
        Wanted("edit", DIFFUSERS, (TINY,), 2.0),
    )
}


def bars(ratios: Sequence[Ratio], family: str) -> list[Bar]:
    """Return the comparisons that have a bar."""
    return [
        at_least(
            f"{one.operation} against {one.peer}, {' or '.join(one.decoders)} decoder",
            one.needed_times,
            [
                found
                for found in ratios
                if (found.operation, found.slower) == (one.operation, one.peer)
                and found.quicker.endswith(one.decoders)
            ],
        )
        for one in WANTED_OF.get(family, WANTED)
    ]
