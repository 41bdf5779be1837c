"""Where subjects go, and the layout predictor, a network that places them and reads light."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import MAX_SIDE_PX, Components, Placement
from swiftpie.geometry.ground import (
    SMALL_M,
    Ground,
    Member,
    heights_in,
    stand_together,
    times_larger,
)
from swiftpie.geometry.layout import (
    POSE_NUMBERS,
    THINNEST,
    Layout,
    fitted,
    from_box,
    pixel_grid,
    upright,
)
from swiftpie.geometry.relief import height, normals
from swiftpie.geometry.shading import Illumination, Lighting, in_sun
from swiftpie.imageio.images import bounding_box
from swiftpie.library import subject_library
from swiftpie.masks import HALF, Box, resize_mask, subject_extent
from swiftpie.mini.reading import Reading, read_all
from swiftpie.models.network import Network, keep_settings
from swiftpie.noise import NUM_STATISTICS, noise_statistics, share_of
from swiftpie.photo.stance import laid_flat, turned_upright
from swiftpie.pipelines.insertion import AS_SHOWN, Posture, posture_of, proposed_box
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject, cells_of
from swiftpie.places.relight import SIDE_PX
from swiftpie.places.scenes import scene_library
from swiftpie.places.words import tokens_in
from swiftpie.types import Identity, TextCondition

SPREAD_FLOOR = 0.9  # where several subjects stand, in [0, 1] from the top
SPREAD_FILL = 0.84  # share of its column that one of several subjects fills
REFERENCE_PX, SCENERY_PX = 64, 128  # sides at which pictures are read
NUMBERS = 9  # numbers of a light: its direction, and the colours of its two parts
AMBIENT_GAIN, TINT_GAIN = 0.5, 0.3
LEAST_AMBIENT = 0.02
CALM = 0.05  # a light from one side as weak as this is about none, from wherever it comes
# Where and how large subjects stand that words place, chosen by eye in twelve photographed places.
ACROSS = {"left": 0.0, "middle": 0.5, "right": 1.0}
ALONG = {"near": 1.0, "far": 0.1}
TIMES = {"tiny": 0.5, "small": 0.7, "big": 1.3, "huge": 1.7, "near": 1.5}
LEAPS = frozenset(("jumping", "in mid air"))
GROUP_M = {4: 0.1, 6: 0.2, 7: 0.2}  # metres of food, games and objects that no table has
# Where drawn places have ground; a metre is as high as the picture in front.
EDGES = ((0.0, 0.7), (1.0, 0.7), (1.0, SPREAD_FLOOR), (0.0, SPREAD_FLOOR))
FLOOR = Ground(EDGES, ((0.7, 0.4), (SPREAD_FLOOR, 1.0)), is_near=False)
DOG_M, DOG_HIGH, SOFTENED = 0.6, 0.45, 0.35  # there a dog is so high, others less unlike it
DOUBT = 0.5  # cells that must be sure of what they say before they count as much as all else


def place_subjects(
    components: Components,
    request: PersonalizeRequest,
    noise: Tensor,
    text: TextCondition,
    *,
    boxes: Sequence[Sequence[Box | None]] | None = None,
    size: tuple[int, int] | None = None,
    lit_by: TextCondition | None = None,
    read_noise: Tensor | None = None,
    suns: Sequence[Sequence[float] | None] = (),
) -> Placement:
    """Return where subjects go; see `Family.place`.

    `boxes` of each subject in each picture place subjects without boxes of their own; None leaves
    that to the layout predictor. `size` is height and width of the picture in any unit, if its
    shape is not quite that of the noise. `lit_by` says what light there is; None: `text` does.
    `read_noise` is what the layout predictor reads; None: `noise`. `suns` are those of the places.
    """
    noise = noise if read_noise is None else read_noise.to(noise)
    shape = size or (noise.shape[2], noise.shape[3])
    spread = side_by_side(request.subjects)
    subjects = tuple(spread) if boxes is None else request.subjects
    layouts = [
        _placed(components, request, subject, noise, text, shape, [box or apart.box for box in row])
        for subject, apart, row in zip(
            subjects, spread, boxes or [[None] * len(noise)] * len(spread), strict=True
        )
    ]
    scene = components.own.layout_predictor.light_there(noise, (lit_by or text).pooled)
    scene = in_sun(scene, suns) if any(suns) else scene
    lights = tuple(
        Lighting(own_light(components, each.identity).expand(len(noise)), scene)
        for each in subjects
    )
    return Placement(subjects, layouts, lights)


def own_light(components: Components, identity: Identity) -> Illumination:
    """Return the light in the first picture of a subject, one row."""
    reader: LightReader = components.own.layout_predictor.light_reader
    return components.keep(
        "own light", identity, partial(reader.light_on, identity.pixels[:1], identity.mask[:1])
    )


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
    text: TextCondition,
    size: tuple[int, int],
    boxes: Sequence[Box | None],
) -> Layout:
    """Return the layout of the box for each picture, or else of the layout predictor."""
    is_boxed = subject.box is not None
    is_drawn = not is_boxed and subject.identity.named is not None  # by seed from any side
    is_free = is_drawn or None in boxes
    predicted = _predicted(components, request, subject, noise, text, size) if is_free else None
    turned, extent = subject.view or (0.0, 0.0), subject_extent(subject.identity.mask[:1])
    stance, lean = AS_SHOWN if is_boxed else _stance(components, request, subject)
    if stance is not None:
        extent = extent.new_tensor([stance.extent])
    rows = []
    for index, box in enumerate(boxes):
        if box is not None:
            left, top, right, foot = box
            high = (right - left) * size[1] / size[0] * float(extent[0, 1] / extent[0, 0])
            place = (left, top if lean is None else foot - high, right, foot)
            row = from_box(place, size=size, view=turned, extent=extent)
            row = upright(row, flip=request.flip, tilt=request.tilt)
            row = row if stance is None else turned_upright(row, stance)
            row = row if lean is None else laid_flat(row, foot=foot, share=(foot - box[1]) / high)
            if is_drawn and predicted is not None:
                turned_by = predicted.pose[index : index + 1, :2].to(row.pose)
                row = row._replace(pose=torch.cat([turned_by, row.pose[:, 2:]], dim=1))
        else:
            assert predicted is not None, "a picture has no box"
            row = Layout(*(values[index : index + 1] for values in predicted))
        rows.append(Layout(*(values.to(noise) for values in row)))
    return Layout(*map(torch.cat, zip(*rows, strict=True)))


def _predicted(
    components: Components,
    request: PersonalizeRequest,
    subject: Subject,
    noise: Tensor,
    text: TextCondition,
    size: tuple[int, int],
) -> Layout:
    """Return the layout of the layout predictor."""
    extent = subject_extent(subject.identity.mask[:1]).expand(len(noise), -1)
    layout = fitted(components.own.layout_predictor(noise, text.pooled, extent).layout, size)
    turned = [reading.is_turned for reading in read_all(components, request)] or [False]
    is_turned = layout.rotation.new_tensor(turned)
    layout = upright(layout, is_turned=is_turned, flip=request.flip, tilt=request.tilt)
    if subject.view is None:
        return layout
    yaw, pitch = (torch.full_like(layout.flip, math.radians(degrees)) for degrees in subject.view)
    # The form that `seen_view` reads.
    view = torch.stack([yaw * (1 - 2 * layout.flip), pitch], dim=1)
    return layout._replace(pose=torch.cat([view, layout.pose[:, 2:]], dim=1))


def picture_size(components: Components, request: PersonalizeRequest) -> tuple[int, int]:
    """Return height and width in pixels: the request's, else the place's own, else the preset's.

    Pictures of one request have one size: that of the smallest photograph of their places, shrunk
    to `MAX_SIDE_PX`. A model that was loaded for smaller pictures than its own draws those.
    """
    is_open = request.size_px is None and components.preset.image_size_px >= SIDE_PX
    if is_open and isinstance(request.scene, str) and request.scene != WORDS_ALONE:
        known = scene_library()
        sizes = [
            known.size_of(place_of(request, reading))
            for reading in read_all(components, request)
            if known.is_photographed(place_named(request, reading))
        ]
        if sizes:
            return min(sizes)[::-1]
    if request.size_px is None and isinstance(request.scene, Image.Image):
        width, height = request.scene.size
        shrunk = min(1, MAX_SIDE_PX / max(width, height))
        return round(shrunk * height), round(shrunk * width)
    rows, columns = cells_of(components.preset, request.size_px)
    return rows * components.preset.latent_cell_px, columns * components.preset.latent_cell_px


def place_of(request: PersonalizeRequest, reading: Reading, share: float = 0.0) -> str:
    """Return the place of the library that a picture shows; `share` in [0, 1) chooses among some.

    Subjects of the library are drawings, so a place that only the prompt names is one, too.

    Raises:
        InputError: There is no such place.
    """
    place = place_named(request, reading, share)
    named = [subject.identity.named for subject in request.subjects]
    is_drawn = not request.scene and named and None not in named
    return scene_library().drawing_of(place) if is_drawn else place


def place_named(request: PersonalizeRequest, reading: Reading, share: float = 0.0) -> str:
    """Return the place that a request names, drawn or not; see `place_of`."""
    assert isinstance(request.scene, str), "a picture is no place of the library"
    if request.scene:
        return scene_library().find(request.scene)
    return reading.place_for(share, is_small=are_small(request, reading))


def are_small(request: PersonalizeRequest, reading: Reading) -> bool:
    """Whether there are subjects, all of them known to be small."""
    heights = _heights_of(request, reading)
    return bool(heights) and all(each is not None and each < SMALL_M for each in heights)


def _stance(components: Components, request: PersonalizeRequest, subject: Subject) -> Posture:
    """Return how a thing stands upright that its photograph shows leaning, and how it lies."""
    identity = subject.identity
    if request.tilt or subject.view or identity.named or identity.is_cut:
        return AS_SHOWN
    said = [word for reading in read_all(components, request)[:1] for word in reading.said]
    runs = groupby(said, key=lambda word: bool(heights_in([word])))
    things = [" ".join(run) for is_known, run in runs if is_known]  # as `heights_in` counts them
    order = [each.identity is identity for each in request.subjects]
    is_one_each = len(things) == len(order) > 1
    thing = things[order.index(True)] if is_one_each else " ".join(request.texts[:1])
    text = " ".join(tokens_in(subject.name or thing))
    return components.keep(f"stance {text}", identity, lambda: posture_of(identity, text))


def _heights_of(request: PersonalizeRequest, reading: Reading) -> list[float | None]:
    """Return the usual height of each subject in metres; None for names that no table has."""
    mentioned, heights = heights_in(reading.said), list[float | None]()
    for number, subject in enumerate(request.subjects):
        named = getattr(subject.identity.named, "name", "")
        known = heights_in(tokens_in(subject.name or named)) or mentioned[number : number + 1]
        group = subject_library().entry(named).group if named else 0
        heights.append(known[0] if known else GROUP_M.get(group))
    return heights


def staged(
    components: Components,
    request: PersonalizeRequest,
    reading: Reading,
    noise: Tensor,
    ground: Ground | None,
    size: tuple[int, int],
    *,
    view: Box,
    is_ground: bool,
) -> tuple[Box | None, ...]:
    """Return the boxes in which the subjects of a picture stand.

    A wide picture shows the part `view` of a drawn place: subjects stand on the same rows there, so
    many times as large, as far as it has room.

    A region of the user's own is one. None where the model places them: where a subject has a box
    or is turned, one in a drawn place that leaps, bends or has no ground, and several before a
    picture of the user's own, all but those that a border of their photograph cuts off.
    """
    subjects = request.subjects
    if any(each.box is not None for each in subjects) or reading.is_turned:
        return (None,) * len(subjects)
    regions = [mask if isinstance(mask := each.mask, Tensor) else None for each in subjects]
    if any(mask is not None and mask.min() < HALF for mask in regions):
        return tuple(None if mask is None else bounding_box(mask) for mask in regions)
    own = request.scene if isinstance(request.scene, Image.Image) else None
    if own is not None and max(own.size) > SIDE_PX and len(subjects) == 1:
        # In a photograph of the user's own it stands where an insertion puts it. What is no larger
        # than the model's own pictures is a place like those that it draws.
        identity, is_free = subjects[0].identity, subjects[0].view is None and not request.tilt
        posture = posture_of(identity, reading.text) if is_free else AS_SHOWN
        return (proposed_box(own, identity, reading.text, posture),)
    near, aside = share_of(noise, 1), share_of(noise, 2)
    members = _members(components, request, reading, ground, near=near, size=size)
    if ground is None:
        members = [each._replace(times=each.times / (view[3] - view[1])) for each in members]
    floor = ground or _floor_in(view)
    across = [ACROSS[name] for name in reading.placed if name in ACROSS]
    way = next((ALONG[name] for name in reading.placed if name in ALONG), None)
    count, x = len(subjects), across[0] if len(across) == 1 else 0.3 + 0.4 * aside
    if count > 1 and not own and {each.cut_at for each in members} <= {"", "left", "right"}:
        side = round(1 - sum(floor.span_at(1.0)), 1)  # where busts leave ground free
        order = across if len(across) == count else [side * each.is_bust for each in members]
        ends = [(each.cut_at == "right") - (each.cut_at == "left") for each in members]
        row = sorted(range(count), key=lambda number: (ends[number], order[number]))
        found = stand_together(floor, [members[n] for n in row], share=near, x=x, way=way)
        return tuple(found[row.index(number)] for number in range(count))
    is_ground &= not (reading.posed("torn") or LEAPS & {*reading.posed("kept")})
    boxes, is_said = list[Box | None](), bool(is_ground or reading.placed or any(reading.sizes))
    for number, each in enumerate(members):
        x = x if count == 1 else (number + 0.5) / count
        is_placed = ground or each.is_bust or each.cut_at or (is_said and not own)
        alone = is_placed and stand_together(floor, [each], share=near, x=x, way=way)
        boxes.append(alone[0] if alone else None)
    return tuple(boxes)


def _floor_in(view: Box) -> Ground:
    """Return the rows where drawn places have ground, in a part of them, with heights as in all."""
    shown = FLOOR.seen_in(view)
    (far, _), (near, _) = shown.metre
    (_, low), (_, high) = FLOOR.metre
    return shown._replace(metre=((far, low), (near, high)))


def _members(
    components: Components,
    request: PersonalizeRequest,
    reading: Reading,
    ground: Ground | None,
    *,
    near: float,
    size: tuple[int, int],
) -> list[Member]:
    """Return what is known of the subjects of a picture of height and width before they stand."""
    heights, members = _heights_of(request, reading), list[Member]()
    tallest = max((each for each in heights if each is not None), default=None)
    if tallest is not None:
        usual = DOG_HIGH * (tallest / DOG_M) ** SOFTENED
        times = times_larger(ground, tallest, share=near) if ground else usual / tallest
        heights = [None if each is None else times * each for each in heights]
    for number, subject in enumerate(request.subjects):
        identity, (stance, lean) = subject.identity, _stance(components, request, subject)
        wide, high = stance.extent if stance else subject_extent(identity.mask[:1])[0].tolist()
        shape = max(wide, THINNEST) * size[1] / (max(high, THINNEST) * size[0])
        if lies := ground is not None and lean is not None:
            depth = ground.depth_at(sum(ground.near_and_far()) / 2, lean)
            shape, deep = shape / depth, depth if lean else depth * high / wide
            heights[number] = (heights[number] or 0.0) * deep or None
        turned = {"left": "right", "right": "left"} if request.flip else {}
        cut_at = " ".join(turned.get(border, border) for border in identity.cut_at.split())
        said = (*reading.placed, *reading.sizes[number : number + 1])
        times = math.prod(TIMES[name] for name in said if name in TIMES)
        members.append(Member(shape, heights[number], times, identity.is_cut, cut_at, lies))
    return members


class LayoutScores(NamedTuple):
    """A layout and the raw score of its flip, which a loss needs."""

    layout: Layout
    flip_logit: Tensor  # (B,)


class LayoutPredictor(Network):
    """A three-layer perceptron over pooled conditions, and a reader of light."""

    @keep_settings
    def __init__(self, text_width: int = 160, hidden: int = 256) -> None:
        """Make an untrained network."""
        super().__init__()
        self.text_norm = nn.LayerNorm(text_width)
        self.layers = nn.Sequential(
            nn.Linear(NUM_STATISTICS + text_width + 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden // 2),
            nn.SiLU(),
            nn.Linear(hidden // 2, 5 + POSE_NUMBERS),
        )
        self.light_reader = LightReader(NUM_STATISTICS + text_width)

    def forward(self, noise: Tensor, text: Tensor, extent: Tensor) -> LayoutScores:
        """Return a layout a row for noise (B, C, h, w) and the pooled prompt (B, D).

        `extent` (B, 2) is width and height of the subject in its frame.
        """
        features = torch.cat([2 * noise_statistics(noise), self.text_norm(text), 4 * extent], 1)
        raw = self.layers(features).float()
        flip_logit = 6 * raw[:, 4]
        layout = Layout(
            centre=0.5 + 0.2 * raw[:, :2],
            scale=torch.exp(0.3 * raw[:, 2] - 0.6),
            # Lying and upside down are far beyond the sway of what stands.
            rotation=math.pi / 2 * raw[:, 3],
            flip=(flip_logit > 0).float(),
            pose=0.3 * raw[:, 5:],
        )
        return LayoutScores(layout=layout, flip_logit=flip_logit)

    def light(
        self,
        noise: Tensor,
        text: Tensor,
        *,
        pixels: Tensor,
        mask: Tensor,
        given: Tensor | None = None,
    ) -> Lighting:
        """Return the light on references and in their new places.

        `noise` and `text` are those of the layout; other arguments as in `LightReader`, where one
        row may stand for all.
        """
        own = self.light_reader.light_on(pixels, mask)
        scene = self.light_there(noise, text, given=given)
        return Lighting(own.expand(len(noise)), scene)

    def light_there(
        self, noise: Tensor, text: Tensor, *, given: Tensor | None = None
    ) -> Illumination:
        """Return the light in the new places of references; see `light`."""
        known = torch.cat([noise_statistics(noise), self.text_norm(text)], dim=1)
        given = None if given is None else given.expand(len(noise), -1, -1, -1)
        return self.light_reader.light_of_place(known, given)


class LightVotes(NamedTuple):
    """A prediction of the light by each cell of a picture."""

    numbers: Tensor  # (B, 9, 16, 16)
    confidence: Tensor  # (B, 1, 16, 16) logits: whether the cell shows the light


class LightReader(nn.Module):
    """Predicts the light on a reference from its relief, and that of a place from its conditions.

    The conditions are the prompt, the noise, which places the sun, and the known part of a picture,
    whose cells vote. An untrained network predicts the same even light for both.
    """

    def __init__(self, known_width: int, *, width: int = 128) -> None:
        """Make an untrained network; `known_width` is that of noise and prompt together."""
        super().__init__()
        layers = _trunk(7, (32, 48, 64, 96), strides=(2, 2, 2, 2))
        self.reference = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(16 * 96, width), nn.SiLU()
        )  # pictures of 64 px a side as a whole
        self.own = nn.Linear(width, NUMBERS)
        self.told = nn.Sequential(
            nn.Linear(known_width, width), nn.SiLU(), nn.Linear(width, NUMBERS)
        )
        layers = _trunk(24, (48, 64, 96), strides=(1, 2, 2), is_calm=True)
        for _ in range(2):
            layers += [nn.Conv2d(96, 96, 3, padding=1), nn.SiLU()]
        self.scenery = nn.Sequential(*layers)  # blocks of two by two pixels, in 16 x 16 cells
        self.mood = nn.Linear(96, NUMBERS)
        self.vote = nn.Conv2d(96, NUMBERS + 1, 1)
        with torch.no_grad():
            for last in (self.own, self.told[2], self.mood, self.vote):
                assert isinstance(last, nn.Linear | nn.Conv2d)
                assert last.bias is not None
                last.weight.mul_(0.1)
                last.bias.zero_()

    def light_on(self, pixels: Tensor, mask: Tensor) -> Illumination:
        """Return the light on the subjects of reference frames.

        Args:
            pixels: The frames (B, 3, H, W) in [-1, 1], grey (0) outside of the subject.
            mask: The subject in them, (B, 1, H, W).
        """
        seen = _at(torch.cat([pixels, mask], dim=1), REFERENCE_PX)
        own = self.own(self.reference(torch.cat([seen, normals(height(mask))], dim=1)))
        return illumination(own.float())

    def light_of_place(self, known: Tensor, given: Tensor | None) -> Illumination:
        """Return the light of B pictures.

        Args:
            known: Statistics of the noise and the pooled prompt, (B, D).
            given: The known part of the pictures, (B, 4, H, W): pixels in [-1, 1], grey elsewhere,
                and a mask. None if nothing is known.
        """
        scene = self.told(known)
        if given is not None:
            features, votes = self.look(given)
            sure = torch.sigmoid(votes.confidence)
            sure = sure * resize_mask(given[:, 3:], (sure.shape[2], sure.shape[3]))
            said = (sure * votes.numbers).sum((2, 3)) / (sure.sum((2, 3)) + DOUBT)
            scene = scene + self.mood(features.mean((2, 3))) + said
        return illumination(scene.float())

    def look(self, given: Tensor) -> tuple[Tensor, LightVotes]:
        """Return features and votes of the cells of `given` pictures (B, 4, H, W)."""
        places = pixel_grid(SCENERY_PX, SCENERY_PX, like=given).movedim(-1, 0)
        seen = torch.cat([_at(given, SCENERY_PX), places.expand(len(given), -1, -1, -1)], dim=1)
        features = self.scenery(F.pixel_unshuffle(seen, 2))
        numbers, confidence = self.vote(features).float().split((NUMBERS, 1), dim=1)
        return features, LightVotes(numbers, confidence)


def illumination(numbers: Tensor) -> Illumination:
    """Return the lights that nine numbers (B, 9) describe; zeros are an even light."""
    towards, ambient, tint = numbers.split(3, dim=1)
    strength = (towards.square().sum(dim=1, keepdim=True) + CALM**2).sqrt()
    return Illumination(
        ambient=(1 + AMBIENT_GAIN * ambient - strength).clamp_min(LEAST_AMBIENT),
        colour=(strength * (1 + TINT_GAIN * tint)).clamp_min(0),
        direction=towards / strength,
    )


def _at(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-2:] == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)


def _trunk(
    channels: int, widths: Sequence[int], *, strides: Sequence[int], is_calm: bool = False
) -> list[nn.Module]:
    """Return blocks of two convolutions; `is_calm` normalises both, not the first alone."""
    layers: list[nn.Module] = []
    for width, stride in zip(widths, strides, strict=True):
        layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.GroupNorm(8, width), nn.SiLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), *[nn.GroupNorm(8, width)] * is_calm]
        layers.append(nn.SiLU())
        channels = width
    return layers
