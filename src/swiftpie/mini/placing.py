"""Where the embedded model places subjects: in their boxes, side by side, or as it predicts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple, Self

import torch
from torch import Tensor

from swiftpie.backbones.components import Components, Placement
from swiftpie.geometry.layout import Layout, fitted, from_box, upright
from swiftpie.geometry.shading import Lighting
from swiftpie.masks import Box, subject_extent
from swiftpie.mini.scenes import asks_for_turn
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.types import Identity, Prompts, TextCondition

SPREAD_FLOOR = 0.9  # where several subjects stand, in [0, 1] from the top
SPREAD_FILL = 0.84  # share of its column that one of several subjects fills


def place(
    components: Components,
    request: PersonalizeRequest,
    noise: Tensor,
    text: TextCondition,
    *,
    boxes: Sequence[Sequence[Box | None]] | None = None,
) -> Placement:
    """Return where subjects go; see `Family.place`.

    `boxes` of each subject in each picture place subjects without boxes of their own; None leaves
    that to the layout predictor.
    """
    subjects = request.subjects
    beside = side_by_side(subjects)
    if boxes is None:
        subjects = tuple(beside)
    else:
        pairs = zip(beside, boxes, strict=True)
        boxes = [[box or subject.box for box in row] for subject, row in pairs]
    stance = Stance.of(request, request.prompt)
    layouts = [
        _placed(components, subject, noise, text=text, stance=stance, boxes=row)
        for subject, row in zip(subjects, boxes or repeat(None), strict=boxes is not None)
    ]
    lights = tuple(light_on(components, subject.identity, noise, text) for subject in subjects)
    return Placement(subjects, layouts, lights)


def side_by_side(subjects: Sequence[Subject]) -> Sequence[Subject]:
    """Return subjects with boxes side by side, if there are several and none has a box.

    The layout predictor would place each subject as if it were alone.
    """
    if len(subjects) == 1 or any(subject.box is not None for subject in subjects):
        return subjects
    share = 1 / len(subjects)
    side = SPREAD_FILL * share
    centres = [(index + 0.5) * share for index in range(len(subjects))]
    return [
        replace(subject, box=(x - side / 2, SPREAD_FLOOR - side, x + side / 2, SPREAD_FLOOR))
        for subject, x in zip(subjects, centres, strict=True)
    ]


class Stance(NamedTuple):
    """How the subjects of a request stand."""

    flip: bool
    tilt: float  # degrees
    is_turned: tuple[bool, ...]  # whether each prompt asks for a turn, as "lying down"; one for all

    @classmethod
    def of(cls, request: PersonalizeRequest, prompts: Prompts) -> Self:
        """Return how subjects stand that are placed by `prompts`; encoded ones ask for no turn."""
        if isinstance(prompts, TextCondition):
            return cls(request.flip, request.tilt, (False,))
        rows = (prompts,) if isinstance(prompts, str) else prompts
        return cls(request.flip, request.tilt, tuple(map(asks_for_turn, rows)))


def _placed(
    components: Components,
    subject: Subject,
    noise: Tensor,
    *,
    text: TextCondition,
    stance: Stance,
    boxes: Sequence[Box | None] | None = None,
) -> Layout:
    """Return the layout of the box, of `boxes` for each picture, or of the layout predictor."""
    batch, cells = len(noise), (noise.shape[2], noise.shape[3])
    given = (subject.box,) if subject.box is not None or boxes is None else boxes
    predicted = (
        _predicted(components, subject, noise, text=text, stance=stance) if None in given else None
    )
    if predicted is not None and not any(given):
        return predicted
    turned, extent = subject.view or (0.0, 0.0), subject_extent(subject.identity.mask[:1])
    rows = []
    for index, box in enumerate(given):
        if box is not None:
            row = from_box(box, size=cells, view=turned, extent=extent)
            row = upright(row, flip=stance.flip, tilt=stance.tilt)
        else:
            assert predicted is not None, "a picture has no box"
            row = Layout(*(values[index : index + 1] for values in predicted))
        rows.append(Layout(*(values.to(noise) for values in row)))
    placed = Layout(*map(torch.cat, zip(*rows, strict=True)))
    return Layout(*(values.expand(batch, *values.shape[1:]) for values in placed))


def _predicted(
    components: Components, subject: Subject, noise: Tensor, *, text: TextCondition, stance: Stance
) -> Layout:
    """Return the layout of the layout predictor."""
    batch, cells = len(noise), (noise.shape[2], noise.shape[3])
    predictor = components.layout_predictor
    assert predictor is not None, "these networks place subjects"
    extent = subject_extent(subject.identity.mask[:1]).expand(batch, -1)
    layout = fitted(predictor.place(noise, text.pooled, extent), cells)
    is_turned = layout.rotation.new_tensor(stance.is_turned)
    layout = upright(layout, is_turned=is_turned, flip=stance.flip, tilt=stance.tilt)
    if subject.view is None:
        return layout
    yaw, pitch = (torch.full_like(layout.flip, math.radians(degrees)) for degrees in subject.view)
    view = torch.stack([yaw * (1 - 2 * layout.flip), pitch], dim=1)  # as `seen_view` reads it
    return layout._replace(pose=torch.cat([view, layout.pose[:, 2:]], dim=1))


def light_on(
    components: Components,
    identity: Identity,
    noise: Tensor,
    text: TextCondition,
    *,
    given: Tensor | None = None,
) -> Lighting | None:
    """Return the light on a subject's reference and in its new place, a row for each of `noise`.

    None if it is not predicted. `noise` is (B, C, h, w); `given` (1, 4, H, W) is the
    unchanged part of a picture, pixels and mask.
    """
    predictor = components.layout_predictor
    assert predictor is not None, "these networks place subjects"
    rows = len(noise)
    pixels, mask = (
        values[:1].expand(rows, -1, -1, -1) for values in (identity.pixels, identity.mask)
    )
    if given is not None:
        given = given.expand(rows, -1, -1, -1)
    return predictor.light(noise, text.pooled, pixels=pixels, mask=mask, given=given)
