"""Subjects in motion before a place that stays: one prepared drawing whose rows are the frames.

The scene network shows the place at each state, and frames in between are mixed of two. The
denoiser draws every frame of what moves, by words, boxes and views that are interpolated, and of
what stays each state. What does not change is equal in all frames, bit by bit.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components, Placement
from swiftpie.errors import InputError
from swiftpie.geometry.layout import Layout
from swiftpie.lexicon import FILLERS, PREPOSITIONS, WEATHERS
from swiftpie.masks import Box
from swiftpie.mini.layout_predictor import place_subjects
from swiftpie.mini.scene import (
    ScenePlan,
    coarse_noise,
    draw_empty,
    finish_scene,
    model_noise,
    subjects_alone,
)
from swiftpie.photo.stance import facing_of
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.choose import Choice, Technique
from swiftpie.pipelines.denoise import Plan, mixed_rows
from swiftpie.pipelines.insertion import Posture
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.techniques.personalize import (
    Place,
    check_subjects,
    prepare_subjects,
    read_prompts,
)
from swiftpie.places.placing import Staged, stage
from swiftpie.places.scene import SceneRow, scene_rows
from swiftpie.types import DecodedImages, TextCondition

FALLING = {tuple(WEATHERS).index(name) for name in ("rain", "snowfall")}
FALL_CELLS = 4  # fall of rain and flakes from frame to frame, in cells of 32 a side
BESIDE_CELLS = 12  # shift to the right for each fall, so that they repeat after 64 frames

Share = tuple[int, float]  # the state before a frame, and how far the frame is on to the next one


def prepare_animation(choice: Choice[AnimateRequest]) -> Plan:
    """Light the place of each state once, and prepare the subjects of all frames.

    Raises:
        InputError: The states differ in what cannot be drawn in between, or a subject moves from
            no box.
    """
    components, request, clock = choice.components, choice.request, choice.clock
    _check_changes(request)
    states, shares = [stage(components, state) for state in request.states], request.shares()
    if request.scene == WORDS_ALONE or not states[0].is_empty:
        check_subjects(components, request)
    keys = [scene_rows(components, state)[0] for state in states]
    for state, key in zip(states, keys, strict=True):
        _check_between(states[0].request, keys[0], state.request, key)
    rows = _rows(keys, shares)
    clock.end_stage("scene")
    facts = {"to": "; ".join(request.to), "frames": str(request.num_frames)}
    if not request.subjects:
        drawn = partial(draw_empty, states[0], rows, clock, facts)
        return Plan(request, drawn)
    boxes = _boxes(request, keys[0].boxes)
    turned = [_is_mirrored(components, request, n, row) for n, row in enumerate(boxes)]
    if any(turned):
        facts["mirrored"] = ", ".join(str(n + 1) for n, is_so in enumerate(turned) if is_so)
    moves = bool(request.to_boxes or request.to_views)
    drawn_at = shares if moves else [(number, 0.0) for number in range(len(states))]
    is_one = not moves or all(key.sun == keys[0].sun for key in keys)  # words light what is between
    suns = [keys[state].sun if is_one else None for state, _ in drawn_at]
    postures = keys[0].postures
    words, stands = _subjects(components, request, states, drawn_at, boxes, postures, suns, turned)
    start = prepare_subjects(components, words, clock, place=stands)

    def finish(drawn: DecodedImages) -> DecodedImages:
        placed = start
        if not moves:
            drawn, layouts, lights = mixed_rows((drawn, start.layouts, start.lights), shares)
            placed = start._replace(layouts=layouts, lights=lights)
        return finish_scene(drawn, ScenePlan(states[0], rows, placed, facts), clock)

    return Plan(request, finish, start)


def _check_changes(request: AnimateRequest) -> None:
    """Refuse animations without change, and regions that cannot stay while something moves."""
    if not (request.to or request.to_boxes or request.to_views):
        raise InputError(
            "Nothing changes from the first frame to the last. Give the prompt of the last one by "
            "`to=`, or a last box or view."
        )
    moved = request.subjects[: len(request.to_boxes)]
    regions = [region for subject in moved for region in (subject.mask, subject.detail_mask)]
    is_box = MaskSource.BOX in (request.mask, request.detail_mask)
    if (moved and is_box) or any(region is not None for region in regions):
        raise InputError(
            "A mask cannot be combined with a box that moves: its region does not move. Leave one "
            "of the two out."
        )


def _check_between(
    start: PersonalizeRequest, first: SceneRow, state: PersonalizeRequest, key: SceneRow
) -> None:
    """Refuse a state that differs from the first one in more than time, weather and season."""
    own, other = ({*row.reading.unset} - FILLERS - PREPOSITIONS for row in (first, key))
    if first.name != key.name or own != other:
        raise InputError(
            f"The frames go from {start.prompt!r} to {state.prompt!r}, and only time, weather and "
            "season are drawn in between. Name the same subject and the same place in both."
        )


def _rows(keys: Sequence[SceneRow], shares: Sequence[Share]) -> tuple[SceneRow, ...]:
    """Return the scene of each frame, its place between those of the states."""
    rows = []
    for number, (state, share) in enumerate(shares):
        before, after = keys[state], keys[state + (share > 0)]
        noise = before.noise
        falls = {row.reading.shown_setting.weather for row in (before, after)} & FALLING
        if falls:
            noise = _fallen(noise, FALL_CELLS * number)
        place = Image.blend(before.place, after.place, share) if share else before.place
        later = (after._replace(noise=noise), share) if share else None
        rows.append(before._replace(place=place, noise=noise, later=later))
    return tuple(rows)


def _fallen(noise: Tensor, cells: int) -> Tensor:
    """Return noise (1, C, h, w) that has fallen so far; what follows above lies beside."""
    times, rest = divmod(cells, noise.shape[2])
    below, above = (noise.roll(BESIDE_CELLS * count, dims=3) for count in (times, times + 1))
    cut = noise.shape[2] - rest
    return torch.cat([above[:, :, cut:], below[:, :, :cut]], dim=2)


def _subjects(
    components: Components,
    request: AnimateRequest,
    states: Sequence[Staged],
    shares: Sequence[Share],
    boxes: Sequence[Sequence[Box | None]],
    postures: Sequence[Posture],
    suns: Sequence[Sequence[float] | None],
    mirrored: Sequence[bool],
) -> tuple[PersonalizeRequest, Place]:
    """Return the drawing of the subjects at `shares`, and what places them."""
    alone = [subjects_alone(state) for state in states]
    prompts = tuple(str(words.prompt) for words in alone)
    text = mixed_rows(read_prompts(components, prompts, rows=len(prompts)), shares)
    seeds = request.seeds * len(shares)
    whole = model_noise(components, states[0], seeds)
    still = replace(
        alone[0],
        seeds=seeds,
        size_px=max(words.size_px for words in alone if words.size_px),
        noise=coarse_noise(whole, max(state.drawn_cells for state in states)),
        subjects=tuple(
            # `boxes` has the box, and what had one is not turned onto its base.
            replace(each, box=None, view=each.view or (each.box and (0.0, 0.0)))
            for each in request.subjects
        ),
    )

    def stand(
        components: Components, _: PersonalizeRequest, noise: Tensor, text: TextCondition
    ) -> Placement:
        rows = [row[: len(shares)] for row in boxes] if any(map(any, boxes)) else None
        first = read_prompts(components, still.prompt, rows=len(noise))  # where words place them
        flips = [request.flip or is_mirrored for is_mirrored in mirrored]
        placed = {
            flip: place_subjects(
                *(components, replace(still, flip=flip), noise, first),
                postures=postures,
                boxes=rows,
                size=states[0].size,
                lit_by=text,
                read_noise=whole[0],
                suns=suns,
            )
            for flip in {*flips}
        }
        layouts = [
            _turned(placed[flip].layouts[number], request, number)
            for number, flip in enumerate(flips)
        ]
        return placed[flips[0]]._replace(layouts=layouts)

    return replace(still, prompt=text), stand


def _boxes(request: AnimateRequest, standing: Sequence[Box | None]) -> list[list[Box | None]]:
    """Return the box of each subject in each frame; None where the layout predictor places it."""
    rows: list[list[Box | None]] = []
    count = request.num_frames
    for number, subject in enumerate(request.subjects):
        start = subject.box or standing[number]
        if number >= len(request.to_boxes):
            rows.append([start] * count)
            continue
        if start is None:
            raise InputError(
                "A subject with a last box needs a first one, except on the ground of a place of "
                "the library. Give its first box."
            )
        rows.append([*request.path(number, start)])
    return rows


def _is_mirrored(
    components: Components, request: AnimateRequest, number: int, boxes: Sequence[Box | None]
) -> bool:
    """Whether a subject, which moves sideways, would walk backwards.

    What neither a name of the library nor the outline tells stays, and so do views and `flip`.
    """
    subject, first, last = request.subjects[number], boxes[0], boxes[-1]
    if first is None or last is None or request.flip or subject.view is not None:
        return False
    if number < len(request.to_views):
        return False
    identity, way = subject.identity, last[0] + last[2] - first[0] - first[2]
    name = "" if identity.named is None else identity.named.name
    facing = partial(facing_of, identity.mask[:1], name=name)
    return components.keep("facing", identity, facing) * way < 0


def _turned(layout: Layout, request: AnimateRequest, number: int) -> Layout:
    """Return the rows of a layout turned on to the last view of a subject."""
    if number >= len(request.to_views):
        return layout
    first, last = request.subjects[number].view or (0.0, 0.0), request.to_views[number]
    mirror = -1 if request.flip else 1  # `upright` mirrors yaw in the same way
    ways = zip((mirror, 1), first, last, strict=True)
    change = layout.pose.new_tensor([sign * math.radians(b - a) for sign, a, b in ways])
    share = torch.linspace(0, 1, request.num_frames).to(layout.pose)[:, None]
    pose = layout.pose.expand(len(share), -1)
    return layout._replace(pose=torch.cat([pose[:, :2] + share * change, pose[:, 2:]], dim=1))


ANIMATE = Technique(
    AnimateRequest,
    prepare_animation,
    stage=stage,
    draws_by_seed=True,
    drawn_size=lambda _, staged: staged.drawn_px,
)
