"""A subject's strength by layer of a U-Net, in the form that diffusers' IP-Adapters take.

`{"down": {"block_2": [0.0, 1.0]}, "up": 0.5}` has a number for a part, for a block of it, or for
each group of attention layers in a block. What it leaves out is 0. A number of a block or a part
counts for all of it. Loads no tensor library, so that the command line checks forms without one.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from swiftpie.errors import InputError

Numbers = float | Sequence[float]
LayerScales = Mapping[str, Numbers | Mapping[str, Numbers]]

PARTS = MappingProxyType({"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"})
EXAMPLE = 'for example {"down": {"block_2": [0.0, 1.0]}, "up": 0.5}'
LARGEST = 100.0  # strengths beyond draw nothing but overflows
LONGEST = 1000  # letters of a form that is written

# The blocks of Stable Diffusion XL that InstantStyle (arXiv:2404.02733) finds to carry the style of
# a picture, and its layout.
STYLE: LayerScales = MappingProxyType({"up": {"block_0": (0.0, 1.0, 0.0)}})
LAYOUT: LayerScales = MappingProxyType({"down": {"block_2": (0.0, 1.0)}})
NAMED: Mapping[str, LayerScales] = MappingProxyType({"style": STYLE, "layout": LAYOUT})
# Part, block and group of all layers of the only U-Nets for which the two were found.
GROUPS_OF_XL = frozenset(
    {("down_blocks", block, group) for block in (1, 2) for group in (0, 1)}
    | {("mid_block", 0, 0)}
    | {("up_blocks", block, group) for block in (0, 1) for group in (0, 1, 2)}
)

Group = tuple[str, int, int]
"""Part of a U-Net, number of the block in it, and of the group of attention layers in that."""


def read_form(given: LayerScales | str) -> LayerScales:
    """Return a form that is named, written as JSON, or a form already."""
    form: object = NAMED.get(given) if isinstance(given, str) else given
    if form is None:
        form = _written(str(given))
    if not isinstance(form, Mapping) or not form:
        raise InputError(f"Strengths by layer are {_short(given)}; {_needed()}")
    if unknown := [part for part in form if part not in PARTS]:
        raise InputError(
            f"{unknown[0]!r} is no part of a U-Net. 'down', 'mid' and 'up' are needed, {EXAMPLE}."
        )
    for part, value in form.items():
        blocks = value if isinstance(value, Mapping) else {"": value}
        for block, numbers in blocks.items():
            _check_numbers(numbers, where=f"{part}.{block}".rstrip("."))
    return form


def scales_of(given: LayerScales | str, layers: Collection[str]) -> dict[str, float]:
    """Return the strength of each of `layers`, module paths of attention to text, by its name."""
    groups = groups_of(layers)
    if isinstance(given, str) and given in NAMED and set(groups.values()) != GROUPS_OF_XL:
        raise InputError(
            f"'{given}' names blocks of Stable Diffusion XL, where the authors of InstantStyle "
            f"found it, and this U-Net has others. Give the strengths themselves, {EXAMPLE}."
        )
    strengths: dict[Group, float] = {}
    for part, value in read_form(given).items():
        own = sorted({group for group in groups.values() if group[0] == PARTS[part]})
        blocks = {f"block_{block}": block for _, block, _ in own}
        by_block = value if isinstance(value, Mapping) else dict.fromkeys(blocks, value)
        for name, numbers in by_block.items():
            if name not in blocks:
                raise InputError(
                    f"The U-Net has no attention to text in {part}.{name}. Known are "
                    f"{', '.join(sorted(blocks)) or 'no blocks'}. Leave it out."
                )
            places = [group for group in own if group[1] == blocks[name]]
            each = _one_each(numbers, count=len(places), where=f"{part}.{name}")
            strengths |= zip(places, each, strict=True)
    return {name: strengths.get(group, 0.0) for name, group in groups.items()}


def groups_of(layers: Collection[str]) -> dict[str, Group]:
    """Return the group of each of `layers`, module paths of attention to text, by its name."""
    return {name: _group_of(name) for name in layers}


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
    if len(text) > LONGEST:
        raise InputError(f"Strengths by layer have {len(text)} letters; {LONGEST} are the most.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Strengths by layer are {_short(text)}; {_needed()}") from error


def _needed() -> str:
    return f"'style', 'layout' or numbers by part of the U-Net are needed, {EXAMPLE}."


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:56]} …"


def _group_of(name: str) -> Group:
    """Return part, block and group of a layer such as up_blocks.1.attentions.0.….attn2."""
    part, *rest = name.split(".")
    numbers = [int(word) for word in rest if re.fullmatch(r"[0-9]+", word)]
    return (part, 0, numbers[0]) if part == PARTS["mid"] else (part, numbers[0], numbers[1])


def _check_numbers(numbers: object, *, where: str) -> None:
    is_row = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    given = list(numbers) if is_row else [numbers]  # type: ignore[call-overload]
    if not given or not all(map(_is_strength, given)):
        raise InputError(
            f"The strength of {where} is {_short(numbers)}; numbers from 0 to {LARGEST:g} are "
            "needed."
        )


def _one_each(numbers: Numbers, *, count: int, where: str) -> list[float]:
    given = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    if len(given) not in {1, count}:
        raise InputError(
            f"{where} has {len(given)} strengths, and {count} groups of attention layers. Give one "
            "for all, or one each."
        )
    return given * count if len(given) == 1 else given


def _is_strength(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= LARGEST
