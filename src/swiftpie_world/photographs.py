"""Subjects in photographs and other pictures that show no place of the world."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid
from swiftpie.geometry.relief import Turned, normals
from swiftpie.noise import layout_uniforms
from swiftpie_world.accessories import Wardrobe
from swiftpie_world.air import Setting
from swiftpie_world.captions import SceneSpec
from swiftpie_world.compositor import GroundTruth, PlacedSprite, base_of, composite, render_on
from swiftpie_world.frames import draw_frames, lowest_point
from swiftpie_world.grounds import DrawnGround, photographed_ground
from swiftpie_world.lighting import REFERENCE_NUMBERS, Light, opposite_numbers
from swiftpie_world.placement import FLOOR, SCALE, X
from swiftpie_world.references import draw_references, subject_frames, subject_relief

# Bystanders show what the light of a picture does to subjects, and so tell it.
BYSTANDER_SHARE = 0.8  # share of sides with room that get a bystander
BYSTANDER_SCALE, LEAST_BYSTANDER = (0.2, 0.18), 0.1  # smallest frame and how much more; if cramped
BYSTANDER_BACK = 0.12  # how much higher it may stand, in sides of the picture
PHOTO_SCALE = (0.34, 0.2)  # smallest frame in photographs and what is added: others have room
PHOTO_FLOOR = (0.74, 0.18)  # where subjects stand in photographs, and how much lower at most
GAP_ROOM = 0.4  # share of a subject's side that may be hidden around its place


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
) -> Insertion:
    """Put one subject into a photograph, upright, as a whole and seen as in its reference.

    Smaller bystanders are part of the photograph already.

    Args:
        photo: The picture (1, 3, R, R) in [0, 1].
        tiles: Sprites of the subject and of the bystanders, (G, 4, h, w) in 8 bit.
        wardrobe: The accessories, as `composite` needs them.
        setting: A place with a floor.
        noise: Standard normal, (2, 1, 32, 16, 16), for the subject's place and the bystanders'.
        numbers: Uniform in [0, 1], (G, 16): roundness, and the reference's wall and light.
        reference_px: Side of the reference.
        seed: Decides the light.
    """
    frames = subject_frames(tiles, numbers, augment=False)
    relief = subject_relief(frames, numbers)
    own = _photo_layout(noise[0], frames)
    layout = Layout(*(value.expand(len(tiles), *value.shape[1:]) for value in own))
    everyone = PlacedSprite(frames, relief, layout)
    others = noise[1].expand(len(tiles), -1, -1, -1)
    # The first row has all other subjects as bystanders; the other rows are not used.
    beside = [_first_of(figure) for figure in bystanders(everyone, others, 1, share=1.0)]
    subject = _first_of(everyone)
    ground = photographed_ground(photo, base=base_of(subject.frames, subject.layout), seed=seed)
    rendering = render_on(ground, subject, [SceneSpec(setting)], wardrobe, bystanders=beside)
    against = opposite_numbers(rendering.light, subject.layout)
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


def _photo_layout(noise: Tensor, frames: Tensor) -> Layout:
    """Return where one subject stands in a photograph, upright and whole."""
    u = layout_uniforms(noise)
    smallest, more = PHOTO_SCALE
    scale = smallest + more * u[:, SCALE]
    none, half = torch.zeros_like(scale), SUBJECT_FILL * scale / 2
    layout = Layout(u[:, :2], scale, rotation=none, flip=none, pose=u.new_zeros(1, 4))
    x = half + (1 - 2 * half) * u[:, X]
    y = PHOTO_FLOOR[0] + PHOTO_FLOOR[1] * u[:, FLOOR] - lowest_point(frames[:1], layout)
    return layout._replace(centre=torch.stack([x, y], dim=1))


def _first_of(subject: PlacedSprite) -> PlacedSprite:
    layout = Layout(*(value[:1] for value in subject.layout))
    return PlacedSprite(subject.frames[:1], subject.relief[:1], layout)
