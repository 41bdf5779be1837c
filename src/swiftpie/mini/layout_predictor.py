"""Where subjects go in a drawing, by their boxes or by a network; another network reads light."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.components import Components, Placement
from swiftpie.geometry.layout import (
    POSE_NUMBERS,
    Layout,
    fit_to_boxes,
    fitted,
    from_box,
    pixel_grid,
    to_affine,
    upright,
    warp,
)
from swiftpie.geometry.relief import height, normals, turn
from swiftpie.geometry.shading import (
    Illumination,
    Lighting,
    cast_on_ground,
    in_sun,
    lit,
    usual_shadow,
    without_light,
)
from swiftpie.masks import Box, resize_mask, subject_extent
from swiftpie.models.network import Network, keep_settings
from swiftpie.noise import NUM_STATISTICS, noise_statistics
from swiftpie.photo.stance import lay_on_ground, turned_upright
from swiftpie.pipelines.insertion import AS_SHOWN, Posture
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.places.placing import postures_of, stage
from swiftpie.places.reading import is_turned
from swiftpie.types import Identity, TextCondition

# Of several subjects without a ground: the height of their feet, in [0, 1] from the top, and the
# share of its column that each fills.
SPREAD_FLOOR, SPREAD_FILL = 0.9, 0.84
# Sides in pixels at which the networks read the picture of a subject, and that of a place.
REFERENCE_PX, SCENERY_PX = 64, 128
# A light is nine numbers: its direction, and the colours of its two parts.
NUMBERS = 9
AMBIENT_GAIN, TINT_GAIN = 0.5, 0.3
LEAST_AMBIENT = 0.02
# A light from one side that is as weak as this is about none, from wherever it comes.
CALM = 0.05
# As many cells must be sure of the light before they count as much as noise and prompt.
DOUBT = 0.5
# Names of outputs of graphs. SUBJECT is premultiplied RGBA without a scene, (1, 4, H, W) in [0, 1].
PLACE, SUBJECT, SHADOW = "place", "subject", "shadow"


def place_subjects(
    components: Components,
    request: PersonalizeRequest,
    noise: Tensor,
    text: TextCondition,
    *,
    postures: Sequence[Posture] | None = None,
    boxes: Sequence[Sequence[Box | None]] | None = None,
    size: tuple[int, int] | None = None,
    lit_by: TextCondition | None = None,
    read_noise: Tensor | None = None,
    suns: Sequence[Sequence[float] | None] = (),
) -> Placement:
    """Return where subjects go; see `Family.place`.

    `postures` are those of the subjects; None: as the prompts say. `boxes` of each subject in each
    picture place subjects without boxes of their own; None leaves that to the layout predictor.
    `size` is height and width of the picture in any unit, if its shape is not quite that of the
    noise. `lit_by` says what light there is; None: `text` does. `read_noise` is what the layout
    predictor reads; None: `noise`. `suns` are those of the places.
    """
    noise = noise if read_noise is None else read_noise.to(noise)
    shape = size or (noise.shape[2], noise.shape[3])
    if postures is None:
        postures = postures_of(components, stage(components, request))
    spread = side_by_side(request.subjects)
    subjects = tuple(spread) if boxes is None else request.subjects
    identities = [subject.identity for subject in subjects]
    layouts = [
        _placed(
            *(components, request, subject, identity, noise, text, shape),
            boxes=[box or beside.box for box in row],
            posture=AS_SHOWN if subject.box is not None else posture,
        )
        for subject, identity, beside, posture, row in zip(
            *(subjects, identities, spread, postures),
            boxes or [[None] * len(noise)] * len(spread),
            strict=True,
        )
    ]
    scene = components.own.layout_predictor.light_there(noise, (lit_by or text).pooled)
    scene = in_sun(scene, suns) if any(suns) else scene
    lights = tuple(
        Lighting(own_light(components, identity).expand(len(noise)), scene)
        for identity in identities
    )
    return Placement(subjects, layouts, lights)


def own_light(components: Components, identity: Identity) -> Illumination:
    """Return the light in the first picture of a subject, one row."""
    reader = components.own.layout_predictor.light_reader
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
    identity: Identity,
    noise: Tensor,
    text: TextCondition,
    size: tuple[int, int],
    *,
    boxes: Sequence[Box | None],
    posture: Posture,
) -> Layout:
    """Return the layout of the box for each picture, or else of the layout predictor."""
    # Drawings of the library are seen from any side, by seed.
    is_drawn = subject.box is None and identity.named is not None
    turned, extent = subject.view or (0.0, 0.0), subject_extent(identity.mask[:1])
    predicted = None
    if is_drawn or None in boxes:
        predicted = _predicted(components, request, subject, extent, noise, text, size)
    stance, lean = posture
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
            if lean is not None:
                row = lay_on_ground(row, foot=foot, share=(foot - box[1]) / high)
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
    extent: Tensor,
    noise: Tensor,
    text: TextCondition,
    size: tuple[int, int],
) -> Layout:
    """Return the layout of the layout predictor for a subject of an extent (1, 2)."""
    extent = extent.expand(len(noise), -1)
    layout = fitted(components.own.layout_predictor(noise, text.pooled, extent).layout, size)
    turned = layout.rotation.new_tensor([*map(is_turned, request.texts)] or [False])
    layout = upright(layout, is_turned=turned, flip=request.flip, tilt=request.tilt)
    if subject.view is None:
        return layout
    yaw, pitch = (torch.full_like(layout.flip, math.radians(degrees)) for degrees in subject.view)
    # The form that `seen_view` reads.
    view = torch.stack([yaw * (1 - 2 * layout.flip), pitch], dim=1)
    return layout._replace(pose=torch.cat([view, layout.pose[:, 2:]], dim=1))


def graph_inputs() -> dict[str, Tensor]:
    """Return samples of the inputs that graphs have beside: `has_box` is 1 if the box counts."""
    return {"box": torch.tensor([[0.2, 0.3, 0.8, 0.9]]), "has_box": torch.zeros(1)}


def graph_outputs(
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


def graph_place(
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
        condition = torch.cat([noise_statistics(noise), self.text_norm(text)], dim=1)
        given = None if given is None else given.expand(len(noise), -1, -1, -1)
        return self.light_reader.light_of_place(condition, given)


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
        # Pictures of 64 px a side as a whole.
        self.reference = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 96, width), nn.SiLU())
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
        frame = _at(torch.cat([pixels, mask], dim=1), REFERENCE_PX)
        numbers = self.own(self.reference(torch.cat([frame, normals(height(mask))], dim=1)))
        return illumination(numbers.float())

    def light_of_place(self, condition: Tensor, given: Tensor | None) -> Illumination:
        """Return the light of B pictures.

        Args:
            condition: Statistics of the noise and the pooled prompt, (B, D).
            given: The known part of the pictures, (B, 4, H, W): pixels in [-1, 1], grey elsewhere,
                and a mask. None if nothing is known.
        """
        scene = self.told(condition)
        if given is not None:
            features, votes = self.look(given)
            sure = torch.sigmoid(votes.confidence)
            sure = sure * resize_mask(given[:, 3:], (sure.shape[2], sure.shape[3]))
            voted = (sure * votes.numbers).sum((2, 3)) / (sure.sum((2, 3)) + DOUBT)
            scene = scene + self.mood(features.mean((2, 3))) + voted
        return illumination(scene.float())

    def look(self, given: Tensor) -> tuple[Tensor, LightVotes]:
        """Return features and votes of the cells of `given` pictures (B, 4, H, W)."""
        places = pixel_grid(SCENERY_PX, SCENERY_PX, like=given).movedim(-1, 0)
        frame = torch.cat([_at(given, SCENERY_PX), places.expand(len(given), -1, -1, -1)], dim=1)
        features = self.scenery(F.pixel_unshuffle(frame, 2))
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
