"""A subject's strength by layer of a U-Net, in the form that diffusers' IP-Adapters take.

`{"down": {"block_2": [0.0, 1.0]}, "up": 0.5}` has a number for a part, for a block of it, or for each
group of attention layers in a block. What it leaves out is 0. A number of a block or a part counts
for all of it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from swiftpie.attention.condition import Block
from swiftpie.errors import InputError

Numbers = float | Sequence[float]
LayerScales = Mapping[str, Numbers | Mapping[str, Numbers]]

PARTS = MappingProxyType({"down": Block.DOWN, "mid": Block.MIDDLE, "up": Block.UP})
EXAMPLE = 'for example {"down": {"block_2": [0.0, 1.0]}, "up": 0.5}'

# The blocks of Stable Diffusion XL that InstantStyle (arXiv:2404.02733) finds to carry the style of
# a picture, and its layout.
STYLE: LayerScales = MappingProxyType({"up": {"block_0": (0.0, 1.0, 0.0)}})
LAYOUT: LayerScales = MappingProxyType({"down": {"block_2": (0.0, 1.0)}})


def scales_of(form: LayerScales, layers: Collection[str]) -> dict[str, float]:
    """Return the strength of each of `layers`, module paths of attention to text, by its name.

    Raises:
        InputError: The form names a part, a block or a number of groups that the network lacks, or
            something in it is no strength.
    """
    groups = {name: _group_of(name) for name in layers}
    found: dict[str, float] = {}
    if unknown := [part for part in form if part not in PARTS]:
        raise InputError(
            f"{unknown[0]!r} is no part of a U-Net. 'down', 'mid' and 'up' are needed, {EXAMPLE}."
        )
    for part, value in form.items():
        own = [group for group in groups.values() if group[0] == PARTS[part]]
        blocks = {f"block_{block}": block for _, block, _ in own}
        by_block = value if isinstance(value, Mapping) else dict.fromkeys(blocks, value)
        for name, numbers in by_block.items():
            if name not in blocks:
                raise InputError(
                    f"The U-Net has no attention to text in {part}.{name}. Known are "
                    f"{', '.join(sorted(blocks)) or 'no blocks'}. Leave it out."
                )
            places = sorted({group for _, block, group in own if block == blocks[name]})
            strengths = _one_each(numbers, count=len(places), where=f"{part}.{name}")
            by_group = dict(zip(places, strengths, strict=True))
            found |= {
                layer: by_group[group]
                for layer, (of, block, group) in groups.items()
                if of == PARTS[part] and block == blocks[name]
            }
    return {name: found.get(name, 0.0) for name in layers}


def divided(form: LayerScales, by: float) -> LayerScales:
    """Return a form whose numbers are those of `form` over `by`."""

    def shrink(value: Numbers) -> Numbers:
        return [one / by for one in value] if isinstance(value, Sequence) else value / by

    return {
        part: {block: shrink(one) for block, one in value.items()}
        if isinstance(value, Mapping)
        else shrink(value)
        for part, value in form.items()
    }


def _group_of(name: str) -> tuple[str, int, int]:
    """Return part, block and group of a layer such as up_blocks.1.attentions.0.….attn2."""
    part, *rest = name.split(".")
    numbers = [int(word) for word in rest if word.isdigit()]
    return (part, 0, numbers[0]) if part == Block.MIDDLE else (part, numbers[0], numbers[1])


def _one_each(numbers: Numbers, *, count: int, where: str) -> list[float]:
    given = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    if isinstance(numbers, str) or not all(map(_is_strength, given)):
        raise InputError(f"The strength of {where} is {numbers!r}; numbers from 0 are needed.")
    if len(given) not in {1, count}:
        raise InputError(
            f"{where} has {len(given)} strengths, and {count} groups of attention layers. Give one "
            "for all, or one each."
        )
    return given * count if len(given) == 1 else given


def _is_strength(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf
