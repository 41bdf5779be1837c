"""What an edit is about: the noise behind the picture, where it changes, and who stays in it."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.masks import Box, MaskRule
from swiftpie.models.inversion import ReadsEdits
from swiftpie.pipelines.canvas import Canvas
from swiftpie.pipelines.edit_place import Place, compared_place, given_place, learned_place


class Found(NamedTuple):
    """Everything that is known about a picture before it is drawn anew."""

    noise: Tensor  # (1, C, h, w) behind the picture
    place: Place
    subject: Tensor  # (1, 1, h', w') its subject's mask in [0, 1], on the canvas; 0 if unknown
    keeps_subject: bool  # whether the new prompt is about the same subject


def find(
    components: Components,
    latents: Tensor,
    prompts: tuple[str, str],
    *,
    keyword: str,
    mask: Tensor | Box | None,
    canvas: Canvas,
    rule: MaskRule | None,
) -> Found:
    """Invert `latents` (1, C, h, w) and compare prompts about them.

    Args:
        components: The loaded networks.
        latents: Of the picture on its canvas.
        prompts: What it shows and what it shall show.
        keyword: Words that stand for what changes; then they are compared with none.
        mask: Where it changes, if that is known; see `edit`.
        canvas: Between the picture and what the networks see.
        rule: How a mask is found in noise; None asks the network itself, if it was taught.

    Raises:
        CapabilityError: The preset has no inversion network.
        InputError: The mask is not shaped as one.
    """
    source, _ = prompts
    compared = ("", keyword) if keyword else prompts
    inverter = components.inverter()
    if rule is None and isinstance(inverter, ReadsEdits):
        return _read(components, inverter, latents, compared, mask=mask, canvas=canvas)
    wanted = [source] if mask is not None else [source, *compared]
    noise = _invert(components, latents, wanted)
    if mask is not None:
        place = given_place(mask, canvas, like=latents)
    else:
        first, second = (noise[prompt] for prompt in compared)
        place = compared_place(first, second, canvas=canvas, rule=rule or MaskRule.RELEASED)
    return Found(noise[source], place, torch.zeros_like(latents[:, :1]), keeps_subject=False)


def _read(
    components: Components,
    inverter: ReadsEdits,
    latents: Tensor,
    compared: tuple[str, str],
    *,
    mask: Tensor | Box | None,
    canvas: Canvas,
) -> Found:
    """Ask a network that was taught about edits; one call answers everything."""
    text = components.text.encode(list(compared))
    both = inverter.read(latents.expand(2, -1, -1, -1), text)
    source, target = both.row(0), both.row(1)
    difference = inverter.compare(source, target)
    place = (
        learned_place(torch.sigmoid(difference.mask), canvas=canvas, like=latents)
        if mask is None
        else given_place(mask, canvas, like=latents)
    )
    return Found(
        noise=source.noise,
        place=place,
        subject=torch.sigmoid(source.subject),
        keeps_subject=bool(difference.same_subject > 0),
    )


def _invert(components: Components, latents: Tensor, prompts: list[str]) -> Mapping[str, Tensor]:
    """Return the noise (1, C, h, w) behind `latents` for each prompt, all in one call."""
    distinct = list(dict.fromkeys(prompts))
    text = components.text.encode(distinct)
    noise = components.inverter()(latents.expand(len(distinct), -1, -1, -1), text)
    return dict(zip(distinct, noise.split(1), strict=True))
