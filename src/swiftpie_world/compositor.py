"""Subjects composited into places, with light, shadow, accessories and foreground."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.geometry.relief import normals, turn
from swiftpie.geometry.shading import contact_points
from swiftpie.places.looks import recolour, remake
from swiftpie_world.accessories import Wardrobe, wear
from swiftpie_world.air import Setting, veil
from swiftpie_world.captions import NONE, SceneSpec
from swiftpie_world.fields import Fields, over, paste, read_fields, smoothstep
from swiftpie_world.frames import draw_frames, lowest_point
from swiftpie_world.grounds import DrawnGround
from swiftpie_world.lighting import Light, shaded
from swiftpie_world.materials import GLOSS, MATERIALS
from swiftpie_world.places import Background, draw_foregrounds, draw_places
from swiftpie_world.renditions import render_as
from swiftpie_world.shadows import cast_shadow

FOREGROUND_SHARE = 0.35  # share of pictures with a foreground, where the place has one
COVER, COVER_RANGE = 0.08, 0.06  # share of the subject's height behind the foreground
_GATE, _COVER = 11, 12  # layout numbers of the foreground


class PlacedSprite(NamedTuple):
    """A subject in each picture, before pose and look, and its layout."""

    frames: Tensor  # (B, 4, 128, 128)
    relief: Tensor  # (B, 1, h, w) its heights
    layout: Layout


class Rendering(NamedTuple):
    """Pictures and the exact masks and light that they were drawn with."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    mask: Tensor  # (B, 1, R, R) visible share of subject and accessory, in [0, 1]
    background: Tensor  # (B, 3, R, R) the same picture without subject, shadow and foreground
    worn: Tensor  # (B, 1, R, R) accessories where they stand out of the subject
    companion_mask: Tensor  # (B, 1, R, R) visible share of the second subject; 0 without one
    light: Light


class GroundTruth(NamedTuple):
    """The picture that each noise determines, and the reference that a model receives for it."""

    rendering: Rendering
    layout: Layout
    reference: Tensor  # (B, 3, R, R) in [-1, 1]
    reference_mask: Tensor  # (B, 1, R, R) in [0, 1]


def render(
    noise: Tensor,
    subject: PlacedSprite,
    specs: Sequence[SceneSpec],
    wardrobe: Wardrobe,
    *,
    size_px: int,
    companion: PlacedSprite | None = None,
) -> Rendering:
    """Draw one picture a row; `companion` subjects stand behind the first, and plainly."""
    fields = read_fields(noise, size_px=size_px)
    places = [spec.setting for spec in specs]
    background = draw_places(fields, places)
    picture, companion_mask = background.pixels, torch.zeros_like(background.pixels[:, :1])
    if companion is not None:
        plain = [SceneSpec(spec.setting) for spec in specs]
        drawn = composite(picture, companion, plain, wardrobe, background)
        picture, companion_mask = drawn.picture, drawn.mask
    drawn = composite(picture, subject, specs, wardrobe, background)
    picture, mask = drawn.picture, drawn.mask
    worn = (mask - drawn.bare).clamp(min=0)
    if companion is None:
        colour, coverage = _foreground(fields, places, subject)
        picture, mask = over(picture, colour, coverage), mask * (1 - coverage)
    names = [spec.rendition for spec in specs]
    picture = render_as(veil(picture, fields, places), fields, names, edges=mask)
    empty = render_as(veil(background.pixels, fields, places), fields, names)
    return Rendering(
        pixels=picture.clamp(0, 1) * 2 - 1,
        mask=mask,
        background=empty.clamp(0, 1) * 2 - 1,
        worn=worn,
        companion_mask=companion_mask * (1 - mask),
        light=background.light,
    )


def render_on(
    ground: DrawnGround,
    subject: PlacedSprite,
    specs: Sequence[SceneSpec],
    wardrobe: Wardrobe,
    *,
    bystanders: Sequence[PlacedSprite] = (),
) -> Rendering:
    """Put subjects onto grounds, one a row, after the bystanders."""
    background = ground.background
    empty, plain = background.pixels, [SceneSpec(spec.setting) for spec in specs]
    for figure in bystanders:
        empty = composite(empty, figure, plain, wardrobe, background).picture
    drawn = composite(empty, subject, specs, wardrobe, background)
    pixels, without = (ground.develop(picture.clamp(0, 1)) for picture in (drawn.picture, empty))
    return Rendering(
        pixels=pixels * 2 - 1,
        mask=drawn.mask,
        background=without * 2 - 1,
        worn=(drawn.mask - drawn.bare).clamp(min=0),
        companion_mask=torch.zeros_like(drawn.mask),
        light=background.light,
    )


class Composite(NamedTuple):
    """Pictures with one more subject in them."""

    picture: Tensor  # (B, 3, R, R) in [-1, 1]
    mask: Tensor  # (B, 1, R, R) subject and what it wears
    bare: Tensor  # (B, 1, R, R) subject


def composite(
    picture: Tensor,
    subject: PlacedSprite,
    specs: Sequence[SceneSpec],
    wardrobe: Wardrobe,
    background: Background,
) -> Composite:
    """Put a subject into each picture (B, 3, R, R) in [0, 1], with its shadow and accessories."""
    side, layout, light = picture.shape[-1], subject.layout, background.light
    looked = recolour(subject.frames, [spec.colour for spec in specs])
    made = [spec.material for spec in specs]
    surface = remake(looked, normals(subject.relief), made, MATERIALS)
    turned = turn(surface, subject.relief, layout.pose)
    gloss = surface.new_tensor([GLOSS[name] for name in made])
    sprite = draw_frames(shaded(turned, light.illumination(), layout, gloss), layout, size_px=side)
    contacts = contact_points(sprite[:, 3:], layout.scale, base_of(turned.frame, layout))
    shadow = cast_shadow(contacts, light.cast())
    picture, whole = picture * (1 - shadow), sprite
    kinds = [None if spec.accessory == NONE else spec.accessory for spec in specs]
    pieces = wear(subject.frames, subject.relief, layout, kinds, wardrobe)
    worn = []
    for piece in pieces:
        own = Light(*(value[piece.rows] for value in light))
        lit = shaded(piece.turned, own.illumination(), piece.layout, torch.zeros_like(own.strength))
        worn.append((piece, draw_frames(lit, piece.layout, size_px=side)))
    for piece, drawn in worn:
        if piece.is_behind:
            picture = _pasted(picture, drawn, piece.rows)
            whole = whole.index_copy(0, _index(piece.rows, whole), paste(drawn, whole[piece.rows]))
    picture = paste(picture, sprite)
    for piece, drawn in worn:
        if not piece.is_behind:
            picture, whole = _pasted(picture, drawn, piece.rows), _pasted(whole, drawn, piece.rows)
    return Composite(picture, whole[:, 3:], sprite[:, 3:])


def _pasted(picture: Tensor, sprite: Tensor, rows: list[int]) -> Tensor:
    return picture.index_copy(0, _index(rows, picture), paste(picture[rows], sprite))


def _index(rows: list[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)


def _foreground(
    fields: Fields, places: Sequence[Setting], subject: PlacedSprite
) -> tuple[Tensor, Tensor]:
    layout = subject.layout
    base, scale = base_of(subject.frames, layout), layout.scale.view(-1, 1, 1, 1)
    edge = base - (COVER + COVER_RANGE * fields.u(_COVER)) * scale
    colour, coverage = draw_foregrounds(fields, places, edge=edge, base=base)
    has_one = (fields.u(_GATE) < FOREGROUND_SHARE).to(coverage)
    away = (fields.x - layout.centre[:, 0].view(-1, 1, 1, 1)).abs() / scale
    return colour, coverage * has_one * smoothstep(0.75, 0.55, away)  # ends next to the subject


def base_of(frames: Tensor, layout: Layout) -> Tensor:
    """Return where subjects touch the floor, (B, 1, 1, 1) in sides of the picture from its top."""
    return (layout.centre[:, 1] + lowest_point(frames, layout)).view(-1, 1, 1, 1)
