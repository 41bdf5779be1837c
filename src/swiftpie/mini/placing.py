"""Where subjects go: in boxes, side by side, on the ground of a photograph, or as predicted."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.components import Components, Placement
from swiftpie.geometry.ground import MARGIN, SMALL_M, Ground, heights_in, stand
from swiftpie.geometry.layout import THINNEST, Layout, fitted, from_box, upright
from swiftpie.masks import Box, subject_extent
from swiftpie.mini.compositing import WHOLE
from swiftpie.mini.reading import Reading, read_all
from swiftpie.mini.relight import SIDE_PX
from swiftpie.mini.scenes import PHOTOGRAPH_PX, scene_library
from swiftpie.mini.words import tokens_in
from swiftpie.noise import share_of
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.techniques.personalize import size_of
from swiftpie.types import TextCondition

CLOSE = 0.36  # share of the height that the tallest subject has after a step nearer
PORTRAIT = (0.6, 0.7)  # share of the height of one that the lower border cuts, chosen by seed
BELOW = 0.02  # of its height, that lies below the border
FEET = 0.1  # of the picture, below the feet
BEYOND = 0.25  # of the photograph, beyond its ground: what tells where one is
SPREAD_FLOOR = 0.9  # where several subjects stand, in [0, 1] from the top
SPREAD_FILL = 0.84  # share of its column that one of several subjects fills


def place_subjects(
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
    spread = side_by_side(subjects)
    if boxes is None:
        subjects = tuple(spread)
    else:
        pairs = zip(spread, boxes, strict=True)
        boxes = [[box or subject.box for box in row] for subject, row in pairs]
    layouts = [
        _placed(components, request, subject, noise, text=text, boxes=row)
        for subject, row in zip(subjects, boxes or repeat(None), strict=boxes is not None)
    ]
    light = partial(components.layout_predictor.light, noise, text.pooled)
    lights = tuple(
        light(pixels=subject.identity.pixels[:1], mask=subject.identity.mask[:1])
        for subject in subjects
    )
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


def _placed(
    components: Components,
    request: PersonalizeRequest,
    subject: Subject,
    noise: Tensor,
    *,
    text: TextCondition,
    boxes: Sequence[Box | None] | None,
) -> Layout:
    """Return the layout of the box, of `boxes` for each picture, or of the layout predictor."""
    batch, cells = len(noise), (noise.shape[2], noise.shape[3])
    given = (subject.box,) if subject.box is not None or boxes is None else boxes
    predicted = _predicted(components, request, subject, noise, text) if None in given else None
    if predicted is not None and not any(given):
        return predicted
    turned, extent = subject.view or (0.0, 0.0), subject_extent(subject.identity.mask[:1])
    rows = []
    for index, box in enumerate(given):
        if box is not None:
            row = from_box(box, size=cells, view=turned, extent=extent)
            row = upright(row, flip=request.flip, tilt=request.tilt)
        else:
            assert predicted is not None, "a picture has no box"
            row = Layout(*(values[index : index + 1] for values in predicted))
        rows.append(Layout(*(values.to(noise) for values in row)))
    placed = Layout(*map(torch.cat, zip(*rows, strict=True)))
    return Layout(*(values.expand(batch, *values.shape[1:]) for values in placed))


def _predicted(
    components: Components,
    request: PersonalizeRequest,
    subject: Subject,
    noise: Tensor,
    text: TextCondition,
) -> Layout:
    """Return the layout of the layout predictor."""
    batch, cells = len(noise), (noise.shape[2], noise.shape[3])
    extent = subject_extent(subject.identity.mask[:1]).expand(batch, -1)
    layout = fitted(components.layout_predictor.place(noise, text.pooled, extent), cells)
    turned = [reading.is_turned for reading in read_all(components, request)] or [False]
    is_turned = layout.rotation.new_tensor(turned)
    layout = upright(layout, is_turned=is_turned, flip=request.flip, tilt=request.tilt)
    if subject.view is None:
        return layout
    yaw, pitch = (torch.full_like(layout.flip, math.radians(degrees)) for degrees in subject.view)
    view = torch.stack([yaw * (1 - 2 * layout.flip), pitch], dim=1)  # as `seen_view` reads it
    return layout._replace(pose=torch.cat([view, layout.pose[:, 2:]], dim=1))


def picture_size(components: Components, request: PersonalizeRequest) -> tuple[int, int]:
    """Return height and width in pixels: the request's, else the place's own, else the preset's.

    Pictures of one request have one size: that of the smallest photograph of their places. A
    model that was loaded for smaller pictures than its own draws those.
    """
    is_open = request.size_px is None and components.preset.image_size_px >= SIDE_PX
    if is_open and isinstance(request.scene, str):
        known = scene_library()
        places = {place_of(request, reading) for reading in read_all(components, request)}
        sizes = [known.size_of(place) for place in places if known.is_photographed(place)]
        if sizes:
            return min(sizes)[::-1]
    return size_of(components, request)


def place_of(request: PersonalizeRequest, reading: Reading, share: float = 0.0) -> str:
    """Return the place of the library that a picture shows; `share` in [0, 1) chooses among some.

    Raises:
        InputError: There is no such place.
    """
    assert isinstance(request.scene, str), "a picture is no place of the library"
    if request.scene:
        return scene_library().find(request.scene)
    heights = _heights_of(request, reading)
    is_small = bool(heights) and all(each is not None and each < SMALL_M for each in heights)
    return reading.place_for(share, is_small=is_small)


def _heights_of(request: PersonalizeRequest, reading: Reading) -> list[float | None]:
    """Return the usual height of each subject in metres; None for names that no table has."""
    mentioned = heights_in(reading.said)
    heights: list[float | None] = []
    for number, subject in enumerate(request.subjects):
        named = subject.identity.named
        name = subject.name or ("" if named is None else named.name)
        known = heights_in(tokens_in(name)) or mentioned[number : number + 1]
        heights.append(known[0] if known else None)
    return heights


class Staged(NamedTuple):
    """How subjects stand in one picture of a photographed place."""

    ground: Ground  # of the whole photograph
    view: Box  # the part that the picture shows
    boxes: tuple[Box, ...]  # of the subjects in the picture


def staged(
    components: Components, request: PersonalizeRequest, reading: Reading, noise: Tensor
) -> Staged | None:
    """Return how the subjects of a picture stand.

    None where the model places them: in a picture of the caller, in a place where nothing stands,
    where a subject has a box, and where the prompt turns it.
    """
    has_box = any(subject.box is not None for subject in request.subjects)
    if not isinstance(request.scene, str) or not request.subjects or has_box:
        return None
    share = share_of(noise)
    ground = scene_library().ground(place_of(request, reading, share), share)
    if ground is None or reading.is_turned:
        return None
    size = picture_size(components, request)
    ground, boxes = ground.cut_to(size[::-1], whole=PHOTOGRAPH_PX), []
    near, aside = share_of(noise, 1), share_of(noise, 2)
    count = len(request.subjects)
    for number, usual in enumerate(_heights_of(request, reading)):
        wide, high = subject_extent(request.subjects[number].identity.mask[:1])[0].tolist()
        extent = (max(wide, THINNEST) * size[0], max(high, THINNEST) * size[1])
        x = (number + (0.3 + 0.4 * aside if count == 1 else 0.5)) / count
        if _is_cut(request.subjects[number]):
            boxes.append(close_up(extent, share=near, x=x))
        else:
            boxes.append(stand(ground, extent, usual, share=near, x=x))
    view = WHOLE if any(map(_is_cut, request.subjects)) else nearer(boxes, ground)
    return Staged(ground, view, tuple(seen_in(view, box) for box in boxes))


def _is_cut(subject: Subject) -> bool:
    return any(cutout.is_cut for cutout in subject.identity.cutouts[:1])


def close_up(extent: tuple[float, float], *, share: float, x: float) -> Box:
    """Return the box of a subject that the lower border of its photograph cuts off.

    The lower border of the picture cuts it as well, as in a portrait; see `stand`.
    """
    height = PORTRAIT[0] + (PORTRAIT[1] - PORTRAIT[0]) * share
    height = min(height, (1 - 2 * MARGIN) * extent[1] / extent[0])
    width = height * extent[0] / extent[1]
    centre = min(1 - MARGIN - width / 2, max(MARGIN + width / 2, x))
    foot = 1 + BELOW * height
    return (centre - width / 2, foot - height, centre + width / 2, foot)


def nearer(boxes: Sequence[Box], ground: Ground) -> Box:
    """Return the part of a picture, of the same shape, that shows subjects in boxes larger.

    What lies beyond the ground stays in view, but where the place is one seen from near.
    """
    lefts, tops, rights, feet = zip(*boxes, strict=True)
    tallest = max(foot - top for top, foot in zip(tops, feet, strict=True))
    room = max(tallest, max(feet) - min(tops), max(rights) - min(lefts)) + 2 * MARGIN
    most = min(ground.nearest, 1 / room)
    side = 1 / max(1.0, min(most, CLOSE / tallest))
    if not ground.is_near:
        highest = max(0.0, min(y for _, y in ground.corners) - BEYOND)
        side = max(side, min(1 - highest, (max(feet) - highest) / (1 - FEET)))
    bottom = min(1.0, max(side, max(feet) + FEET * side))
    left = min(1 - side, max(0.0, (min(lefts) + max(rights) - side) / 2))
    return (left, bottom - side, left + side, bottom)


def seen_in(view: Box, box: Box) -> Box:
    """Return a box of the whole picture as one of the part `view`."""
    side = view[2] - view[0]
    return (
        (box[0] - view[0]) / side,
        (box[1] - view[1]) / side,
        (box[2] - view[0]) / side,
        (box[3] - view[1]) / side,
    )
