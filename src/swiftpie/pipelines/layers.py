"""A subject's strength by block of a U-Net, in the form that diffusers' IP-Adapters take.

`{"down": {"block_2": [0.0, 1.0]}, "up": 0.5}` has a number for a part, for a block of it, or for
each group of attention layers in a block. What it leaves out is 0. Loads no tensor library.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

from swiftpie.errors import CapabilityError, InputError, short_reason

Numbers = float | Sequence[float]
LayerScales = Mapping[str, Numbers | Mapping[str, Numbers]]
Form = TypeVar("Form")

PARTS = MappingProxyType({"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"})
NEEDED = (
    "'style', 'layout', both with a comma, or numbers by part of the U-Net are needed, as "
    '{"down": {"block_2": [0.0, 1.0]}, "up": 0.5}.'
)
LARGEST = 100.0  # strengths beyond draw nothing but overflows
LONGEST = 1000  # letters of a form that is written

STYLE = "up_blocks.0.attentions.1"
"""The group that InstantStyle (arXiv:2404.02733) finds to carry style in Stable Diffusion XL."""
NAMED: Mapping[str, LayerScales] = MappingProxyType(
    {"style": {"up": {"block_0": (0.0, 1.0, 0.0)}}, "layout": {"down": {"block_2": (0.0, 1.0)}}}
)
# All groups of layers that attend to text in the only U-Nets for which the two were found.
GROUPS_OF_XL = frozenset(
    {f"down_blocks.{block}.attentions.{group}" for block in (1, 2) for group in (0, 1)}
    | {f"up_blocks.{block}.attentions.{group}" for block in (0, 1) for group in (0, 1, 2)}
    | {"mid_block.attentions.0"}
)


def read_form(given: LayerScales | str) -> LayerScales:
    """Return a form that is named, written as JSON, or a form already; else raise InputError."""
    form: object = given
    if isinstance(given, str):
        names = [name.strip() for name in given.split(",")]
        is_named = {*names} <= NAMED.keys()
        form = (
            dict(chain(*(NAMED[name].items() for name in names))) if is_named else _written(given)
        )
    if not isinstance(form, Mapping) or not form or not form.keys() <= PARTS.keys():
        raise InputError(f"Strengths by layer are {short_reason(repr(given))}. {NEEDED}")
    for part, value in form.items():
        for block, numbers in (value if isinstance(value, Mapping) else {"": value}).items():
            row = numbers if isinstance(numbers, list | tuple) else [numbers]
            if not row or not all(map(_is_strength, row)):
                raise InputError(
                    f"The strength of {f'{part}.{block}'.rstrip('.')} is "
                    f"{short_reason(repr(numbers))}; numbers from 0 to {LARGEST:g} are needed. "
                    f"{NEEDED}"
                )
    return form


def scales_of(given: LayerScales | str, layers: Collection[str]) -> dict[str, float]:
    """Return the strength of each of `layers`, module paths of attention to text, by its name.

    Raises:
        CapabilityError: The network has no such layers.
        InputError: It has no such block, or another number of groups in it.
    """
    groups = {name: group_of(name) for name in layers}
    is_named = isinstance(given, str) and not given.lstrip().startswith("{")
    if not groups or (is_named and {*groups.values()} != GROUPS_OF_XL):
        raise CapabilityError(
            f"Strengths by layer are {short_reason(repr(given))}, and this network has no such "
            "layers: style and layout are blocks of Stable Diffusion XL, numbers are for U-Nets. "
            "Leave them out, or give numbers by part of a U-Net."
        )
    strengths = dict.fromkeys(groups.values(), 0.0)
    for part, value in read_form(given).items():
        blocks: dict[str, list[str]] = {}
        for group in sorted({*groups.values()}, key=_numbers):
            if group.startswith(PARTS[part]):
                block = "" if part == "mid" else f"block_{group.split('.')[1]}"
                blocks.setdefault(block, []).append(group)
        by_block = value if isinstance(value, Mapping) else dict.fromkeys(blocks or [""], value)
        for block, numbers in by_block.items():
            own = blocks.get(block, [])
            row = [*numbers] if isinstance(numbers, Sequence) else [numbers]
            if not own or len(row) not in {1, len(own)}:
                raise InputError(
                    f"{part}.{block} has {len(row)} strengths, and {len(own)} groups of attention "
                    f"layers; there are {', '.join(blocks) or 'no blocks'} in {part}. Give one "
                    "number for all groups of a block, or one each."
                )
            strengths |= zip(own, row * len(own) if len(row) == 1 else row, strict=True)
    return {name: strengths[group] for name, group in groups.items()}


def group_of(layer: str) -> str:
    """Return the group of attention layers that a layer such as up_blocks.1.….attn2 is in."""
    return layer.partition(".transformer")[0]


def divided(form: LayerScales, by: float) -> LayerScales:
    """Return a form whose numbers are those of `form` over `by`."""

    def shrink(value: Numbers) -> Numbers:
        return [number / by for number in value] if isinstance(value, Sequence) else value / by

    return {
        part: {block: shrink(numbers) for block, numbers in value.items()}
        if isinstance(value, Mapping)
        else shrink(value)
        for part, value in form.items()
    }


def _written(text: str) -> object:
    try:
        return json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        return None


def _numbers(group: str) -> list[int]:
    return [int(part) for part in group.split(".") if part.isdecimal()]


def _is_strength(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= LARGEST  # type: ignore[operator]  # a number, then
