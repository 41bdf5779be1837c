"""Inputs and outputs that `mini` adds to exported graphs: the subject's place and its light."""

from collections.abc import Mapping

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import Layout, fit_to_boxes, fitted, to_affine, upright, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.geometry.shading import Lighting, cast_on_ground, lit, usual_shadow, without_light
from swiftpie.masks import subject_extent
from swiftpie.types import Identity, TextCondition

# Names of outputs. SUBJECT is premultiplied RGBA without a scene, (1, 4, H, W) in [0, 1].
PLACE, SUBJECT, SHADOW = "place", "subject", "shadow"


def inputs() -> dict[str, Tensor]:
    """Return samples of the added inputs: a box, and `has_box`, which is 1 if the box counts."""
    return {"box": torch.tensor([[0.2, 0.3, 0.8, 0.9]]), "has_box": torch.zeros(1)}


def outputs(
    identity: Identity, layout: Layout, lighting: Lighting, drawn_mask: Tensor
) -> dict[str, Tensor]:
    """Return where a subject was put, its own pixels in the light there, and its shadow."""
    columns = [column.view(len(column), -1) for column in layout[1:4]]
    place = torch.cat([layout.centre, *columns, layout.pose], dim=1)
    mask = identity.mask[:1]
    plain = without_light(identity.pixels[:1], mask, lighting.own)
    frame = torch.cat([torch.minimum(lit(plain, lighting.scene, layout), mask), mask], dim=1)
    frame = turn(frame, height(mask), layout.pose).frame
    subject = warp(frame, to_affine(layout), (drawn_mask.shape[2], drawn_mask.shape[3]))
    shadow = cast_on_ground(subject[:, 3:], layout, usual_shadow(lighting.scene))
    return {PLACE: place, SUBJECT: subject, SHADOW: shadow}


def place(
    components: Components, identity: Identity, text: TextCondition, given: Mapping[str, Tensor]
) -> tuple[Layout, Lighting]:
    """Return where the layout predictor puts the subject, or the given box, and the light there."""
    noise, predictor = given["noise"][0], components.own.layout_predictor
    size = (noise.shape[2], noise.shape[3])
    extent = subject_extent(identity.mask[:1])
    found = upright(fitted(predictor(noise, text.pooled, extent).layout, size))
    unturned = torch.zeros(1, 4)
    centre, scale = fit_to_boxes(given["box"], size, extent)
    boxed = Layout(centre, scale, rotation=torch.zeros(1), flip=torch.zeros(1), pose=unturned)
    is_boxed = given["has_box"] > 0
    pixels, shown = identity.pixels[:1], identity.mask[:1]
    lighting = predictor.light(noise, text.pooled, pixels=pixels, mask=shown)
    layout = Layout(
        *(
            torch.where(is_boxed.view(-1, *[1] * (value.ndim - 1)), other, value)
            for value, other in zip(found, boxed, strict=True)
        )
    )
    return layout, lighting
