"""Subjects in photographs and other pictures that show no place of the world."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.ground import Ground
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid, to_affine, warp
from swiftpie.geometry.relief import Turned, normals
from swiftpie.geometry.shading import LEVEL, WRAP
from swiftpie.noise import layout_uniforms
from swiftpie_world.accessories import Wardrobe
from swiftpie_world.air import Setting
from swiftpie_world.captions import SceneSpec
from swiftpie_world.compositor import GroundTruth, PlacedSprite, Rendering, base_of, composite
from swiftpie_world.frames import draw_frames, lowest_point
from swiftpie_world.grounds import DrawnGround, photographed_ground
from swiftpie_world.lighting import REFERENCE_NUMBERS, Light, opposite_numbers
from swiftpie_world.placement import FLOOR, SCALE, X
from swiftpie_world.places import Background
from swiftpie_world.rays import Plane, Source, ground_light
from swiftpie_world.references import draw_references, subject_frames, subject_relief

# Bystanders show what the light of a picture does to subjects, and so tell it.
BYSTANDER_SHARE = 0.8  # share of sides with room that get a bystander
BYSTANDER_SCALE, LEAST_BYSTANDER = (0.2, 0.18), 0.1  # smallest frame and how much more; if cramped
BYSTANDER_BACK = 0.12  # how much higher it may stand, in sides of the picture
PHOTO_SCALE = (0.34, 0.2)  # smallest frame in photographs and what is added: others have room
PHOTO_FLOOR = (0.74, 0.18)  # where subjects stand in photographs, and how much lower at most
HORIZON = 0.4  # of photographs whose ground is not known, in sides
LEAST_FOOT, MOST_FOOT = 0.6, 0.96  # rows on which subjects stand on known ground, in sides
GAP_ROOM = 0.4  # share of a subject's side that may be hidden around its place


class Sight(NamedTuple):
    """What is known of a square photograph: where a subject stands in it, and the light there."""

    across: float  # of the middle of the subject, in sides of the picture
    plane: Plane
    light: Light


class Photograph(NamedTuple):
    """A photograph to put subjects into, and its ground if that is known."""

    pixels: Tensor  # (3, H, W) in 8 bit
    ground: Ground | None = None

    def cut(
        self, numbers: tuple[float, float, float], *, size_px: int
    ) -> tuple[Tensor, Sight | None]:
        """Return a square of it, (1, 3, R, R) in [0, 1], and where a subject stands there.

        `numbers` are left and top as shares of what is free, and the side over the shorter one. A
        photograph with a ground is cut at its full height, and the first two say where on the
        ground a subject stands.
        """
        left, top, share = numbers
        tall, wide = self.pixels.shape[1:]
        if self.ground is None:
            side, sight = round(share * min(tall, wide)), None
            row, column = round(top * (tall - side)), round(left * (wide - side))
        else:
            x, y = _point_on(self.ground, left, top)
            side, row = tall, 0
            column = round(min(max(0.0, x * wide - side * (0.3 + 0.4 * left)), wide - side))
            plane = Plane(y, self.ground.horizon, (wide / 2 - column) / side)
            sight = Sight((x * wide - column) / side, plane, _light_of(self.ground))
        part = self.pixels[None, :, row : row + side, column : column + side] / 255
        size = (size_px, size_px)
        return F.interpolate(part, size, mode="bilinear", antialias=True).clamp(0, 1), sight


class Insertion(NamedTuple):
    """A subject in a photograph, and all that decides how it looks there."""

    answer: GroundTruth  # its reference is lit strongly from the opposite side
    unlit: Tensor  # (B, 3, R, R) in [0, 1], the subject in its place before any light; 0 around


class Scenery(NamedTuple):
    """Off-distribution pictures with a gap for a subject, and the objects that show their light."""

    given: Tensor  # (B, 4, R, R) pixels in [-1, 1], 0 in the gap, and 1 around it
    shows: Tensor  # (B, 1, R, R) in [0, 1], objects that the light shades, outside the gap
    light: Light


def insert_subject(
    photo: Tensor,
    tiles: Tensor,
    wardrobe: Wardrobe,
    *,
    setting: Setting,
    noise: Tensor,
    numbers: Tensor,
    reference_px: int,
    seed: int,
    sight: Sight | None = None,
) -> Insertion:
    """Put one subject into a photograph, upright, as a whole and seen as in its reference.

    Its light is that of `sight`. Without one, a light is dealt, and smaller bystanders that are
    part of the photograph already show it. The ground gets the light that rays leave it.

    Args:
        photo: The picture (1, 3, R, R) in [0, 1].
        tiles: Sprites of the subject and of the bystanders, (G, 4, h, w) in 8 bit.
        wardrobe: The accessories, as `composite` needs them.
        setting: A place with a floor.
        noise: Standard normal, (2, 1, 32, 16, 16), for the subject's place and the bystanders'.
        numbers: Uniform in [0, 1], (G, 16): roundness, and the reference's wall and light.
        reference_px: Side of the reference.
        seed: Decides a dealt light.
        sight: Where on its ground the subject stands, and in what light.
    """
    frames = subject_frames(tiles, numbers, augment=False)
    relief = subject_relief(frames, numbers)
    own = _photo_layout(noise[0], frames, sight)
    layout = Layout(*(value.expand(len(tiles), *value.shape[1:]) for value in own))
    everyone = PlacedSprite(frames, relief, layout)
    subject, figures = _first_of(everyone), []
    base = base_of(subject.frames, subject.layout)
    if sight is None:
        others = noise[1].expand(len(tiles), -1, -1, -1)
        # The first row has all other subjects as bystanders; the other rows are not used.
        figures = [_first_of(figure) for figure in bystanders(everyone, others, 1, share=1.0)]
        background = photographed_ground(photo, base=base, seed=seed).background
    else:
        background = Background(photo, sight.light, base)
    pixels, light = background.pixels, background.light
    plain = background._replace(light=light._replace(shadow=torch.zeros_like(light.shadow)))
    for figure in (*figures, subject):
        empty, shaded = pixels, pixels * _shade(figure, light, sight, side=photo.shape[-1])
        drawn = composite(shaded, figure, [SceneSpec(setting)], wardrobe, plain)
        pixels = drawn.picture.clamp(0, 1)
    rendering = Rendering(
        pixels=pixels * 2 - 1,
        mask=drawn.mask,
        background=empty * 2 - 1,
        worn=torch.zeros_like(drawn.mask),
        companion_mask=torch.zeros_like(drawn.mask),
        light=light,
    )
    against = opposite_numbers(light, subject.layout)
    numbers = torch.cat([numbers[:1, :-REFERENCE_NUMBERS], against], dim=1)
    turned = Turned(subject.frames, subject.relief, normals(subject.relief))
    reference = draw_references(turned, numbers, size_px=reference_px)
    unlit = draw_frames(subject.frames, subject.layout, size_px=photo.shape[-1])[:, :3]
    return Insertion(GroundTruth(rendering, subject.layout, *reference), unlit)


def draw_scenery(
    ground: DrawnGround,
    subject: PlacedSprite,
    specs: Sequence[SceneSpec],
    wardrobe: Wardrobe,
    *,
    noise: Tensor,
    numbers: Tensor,
) -> Scenery:
    """Draw grounds with bystanders and with a gap where each subject would stand.

    Args:
        ground: The pictures (B, 3, R, R).
        subject: The subjects, which are not drawn.
        specs: The settings of the bystanders.
        wardrobe: The accessories, as `composite` needs them.
        noise: Standard normal, (B, 32, 16, 16), for the places of the bystanders.
        numbers: Uniform in [0, 1], (B, 16); the tenth decides the size of the gap.
    """
    picture = ground.background.pixels
    shows = torch.zeros_like(picture[:, :1])
    for figure in bystanders(subject, noise, 1):
        drawn = composite(picture, figure, specs, wardrobe, ground.background)
        picture, shows = drawn.picture, torch.maximum(shows, drawn.mask)
    side = picture.shape[-1]
    grid = pixel_grid(side, side, like=picture).movedim(-1, 0)
    away = (grid - (2 * subject.layout.centre - 1)[..., None, None]).abs().amax(1)
    gap = SUBJECT_FILL * subject.layout.scale * (1 + GAP_ROOM * numbers[:, 9])
    is_given = (away > gap[:, None, None]).to(picture)[:, None]
    pixels = 2 * ground.develop(picture.clamp(0, 1)) - 1
    given = torch.cat([pixels * is_given, is_given], dim=1)
    return Scenery(given, shows * is_given, ground.background.light)


def bystanders(
    subject: PlacedSprite, noise: Tensor, views: int, *, share: float = BYSTANDER_SHARE
) -> list[PlacedSprite]:
    """Return other subjects of the batch, small and whole, one on each side of this one.

    Each is there in a `share` of the pictures that have room. None overlaps the subject, because
    a picture without the subject could not show what it hides.
    """
    u, near = layout_uniforms(noise), subject.layout
    foot, half = base_of(subject.frames, near).flatten(), SUBJECT_FILL * near.scale / 2
    rooms = (near.centre[:, 0] - half, 1 - near.centre[:, 0] - half)
    none, standing = torch.zeros_like(half), []
    for number, room in enumerate(rooms):
        along, back, size, gate = u[:, 4 * number : 4 * number + 4].unbind(1)
        frames, relief = (value.roll((number + 1) * views, 0) for value in subject[:2])
        smallest, more = BYSTANDER_SCALE
        scale = torch.minimum(smallest + more * size, room.clamp_min(0) / SUBJECT_FILL)
        is_there = (gate < share) & (scale > LEAST_BYSTANDER)
        scale = scale.clamp_min(LEAST_BYSTANDER)
        free = (room - SUBJECT_FILL * scale).clamp_min(0)
        away = half + SUBJECT_FILL * scale / 2 + free * along
        across = near.centre[:, 0] + (away if number else -away)
        layout = Layout(
            centre=torch.stack([across, none], dim=1),
            scale=scale,
            rotation=none,
            flip=(size > 0.5).to(u),
            pose=torch.zeros_like(near.pose),
        )
        # Absent ones stand far below the picture.
        stand = torch.where(is_there, foot - BYSTANDER_BACK * back, foot + 3)
        height = stand - lowest_point(frames, layout)
        centre = torch.stack([layout.centre[:, 0], height], dim=1)
        standing.append(PlacedSprite(frames, relief, layout._replace(centre=centre)))
    return standing


def _shade(figure: PlacedSprite, light: Light, sight: Sight | None, *, side: int) -> Tensor:
    """Return the factor (1, 1, R, R) of the ground beside a figure."""
    layout = figure.layout
    solid = draw_frames(figure.frames, layout, size_px=side)[:, 3:]
    reach = F.interpolate(figure.relief, figure.frames.shape[2:], mode="bilinear")
    depth = warp(reach, to_affine(layout), (side, side)) * layout.scale.view(-1, 1, 1, 1) / 2
    plane = Plane(0.0, HORIZON) if sight is None else sight.plane
    plane = plane._replace(foot=float(base_of(figure.frames, layout)))
    share = float(light.strength / (light.ambient.mean() / light.colour.mean() + light.strength))
    return ground_light(solid, depth, plane, Source(light.direction[0], share))


def _light_of(ground: Ground) -> Light:
    """Return the light of a place, in which a grey ball is as bright as was measured there."""
    assert ground.sun is not None, "its light was measured"
    *towards, share = ground.sun
    direction, colour = torch.tensor([towards]), torch.tensor(ground.light).expand(1, 3)
    direction = F.normalize(direction, dim=1)
    ball = pixel_grid(32, 32, like=direction)
    ball = ball[ball.norm(dim=-1) < 1]
    seen = torch.cat([ball, (1 - ball.square().sum(1, keepdim=True)).sqrt()], dim=1)
    lit = ((seen @ direction[0] + WRAP).clamp_min(0) / (LEVEL + WRAP)).mean()
    colour, none = colour / (1 - share + share * lit), torch.zeros(1)
    return Light(direction, colour, (1 - share) * colour, torch.tensor([share]), none, none)


def _point_on(ground: Ground, across: float, down: float) -> tuple[float, float]:
    """Return a point of the ground by two numbers in [0, 1], in its lower two thirds."""
    ys = [y for _, y in ground.corners]
    low, high = max(LEAST_FOOT, min(ys)), min(MOST_FOOT, max(ys))
    y = low + (high - low) * (1 + 2 * down) / 3
    left, right = ground.span_at(y)
    return left + (right - left) * (0.2 + 0.6 * across), y


def _photo_layout(noise: Tensor, frames: Tensor, sight: Sight | None) -> Layout:
    """Return where one subject stands in a photograph, upright and whole."""
    u = layout_uniforms(noise)
    smallest, more = PHOTO_SCALE
    scale = smallest + more * u[:, SCALE]
    none, half = torch.zeros_like(scale), SUBJECT_FILL * scale / 2
    layout = Layout(u[:, :2], scale, rotation=none, flip=none, pose=u.new_zeros(1, 4))
    if sight is None:
        x, foot = half + (1 - 2 * half) * u[:, X], PHOTO_FLOOR[0] + PHOTO_FLOOR[1] * u[:, FLOOR]
    else:
        x, foot = half.maximum(none + sight.across).minimum(1 - half), none + sight.plane.foot
    return layout._replace(centre=torch.stack([x, foot - lowest_point(frames[:1], layout)], dim=1))


def _first_of(subject: PlacedSprite) -> PlacedSprite:
    layout = Layout(*(value[:1] for value in subject.layout))
    return PlacedSprite(subject.frames[:1], subject.relief[:1], layout)
