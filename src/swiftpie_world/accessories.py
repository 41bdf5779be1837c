"""What subjects wear and carry: where it is held, and how it turns with them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry import relief
from swiftpie.geometry.layout import Layout, pixel_grid, rotation_of
from swiftpie.geometry.relief import Turned
from swiftpie_world.fields import paste, smoothstep
from swiftpie_world.frames import FRAME_PX, pose_subjects

Anchor = Literal["head", "temple", "eyes", "neck", "back", "hand"]
_ANCHORS: tuple[Anchor, ...] = ("head", "temple", "eyes", "neck", "back", "hand")
_GROUPS = ("back", "scarf", "front", "eyes")  # the order in which they are pasted

_STEP = 2 / relief.RELIEF_CELLS  # side of a cell in half sides of the frame
_CORES, _CORE = (7, 13), 0.7  # what covers this share of so many cells is no tail, stem or ear
_STANDS_OUT = 0.55  # a slim part that is so much higher than the stout ones is a head
_HEAD_DEEP, _HEAD_WIDE = 0.3, 0.7  # what is measured of a head, from its top and to either side
_SMALLEST_HEAD, _LARGEST_HEAD = 0.45, 1.1
_SMALLEST_WORN = 0.8  # what is worn on smaller heads is made for this width, to be seen
_EYES_BELOW, _NECK_BELOW = 0.75, 1.3  # distance from the top of the head, in its widths
_EYES_LOWEST, _NECK_LOWEST = 0.42, 0.84  # limits for a head without a body, as shares of its height
_EYES_APART, _SMALLEST_APART = 0.3, 0.16  # half of what lies between eyes, of the width of the head
_EYE_PRIOR = (0.12, 0.22, 0.11)  # how far eyes are from the expected x, y and half distance
_APART_CELLS = range(3, 14)  # half distances of eyes that are tried
_DOT_CELLS = (3, 13)  # an eye, and what is about it
_BRIGHT = 0.35  # weight of bright dots, such as eyes that glow; dark ones have 1
_SEEN_EYES = (0.02, 0.06)  # contrast of a pair of dots that may be and that must be eyes
_LEANING = (0.25, 0.38)  # a top so far from the middle is a leaf or a stem, or it is a head
_TRUNK = 0.8  # a row is broad from this share of the greatest breadth
_HAND_HEIGHT = 0.58  # distance from the top as a share of the subject's height
_BACK_OUT, _BACK_DEPTH = 0.9, 0.5  # shares of half the width and of the relief


@dataclass(frozen=True)
class Accessory:
    """One thing to wear or to hold, with its place on the subject."""

    name: str
    code: str | None  # code of its sprite in the pack; None: it is drawn
    anchor: Anchor
    size: float  # half its frame's side, in the measure of its anchor
    grip: tuple[float, float] = (0, 0)  # the point of its frame that comes to lie on the anchor
    hue: float = 0.0  # turns the colours of its sprite by this angle
    known_as: tuple[str, ...] = ()  # what captions call it; empty: its name with an article

    @property
    def nouns(self) -> tuple[str, ...]:
        """What captions call it."""
        return self.known_as or (f"a {self.name}",)

    @property
    def room(self) -> float:
        """What a subject's scale is multiplied by so that it all stays in the picture."""
        return _ROOM.get(self.anchor, 1.0)


_ROOM: dict[Anchor, float] = {"head": 0.86, "back": 0.9, "hand": 0.76}
_SCARF, _STRIPES = (0.12, 0.42, 0.86), (0.98, 0.94, 0.86)
_PURPLE = -1.2  # the ribbon is red, as many subjects are

ACCESSORIES = (
    Accessory("crown", "1f451", "head", 0.5, (0, 0.5)),
    Accessory("top hat", "1f3a9", "head", 0.56, (0, 0.6)),
    Accessory("cap", "1f9e2", "head", 0.56, (0, 0.3), known_as=("a cap", "a blue cap")),
    Accessory("graduation cap", "1f393", "head", 0.66, (0, 0.25)),
    Accessory("glasses", "1f453", "eyes", 2.1, known_as=("glasses", "sunglasses")),
    Accessory("scarf", None, "neck", 1, known_as=("a scarf", "a blue scarf")),
    Accessory("bow", "1f380", "neck", 0.46, (0, -0.4), _PURPLE, known_as=("a bow", "a purple bow")),
    Accessory("flower", "1f33a", "temple", 0.42, known_as=("a flower", "a pink flower")),
    Accessory("backpack", "1f392", "back", 0.66, known_as=("a backpack", "a pink backpack")),
    Accessory(
        "balloon", "1f388", "hand", 0.95, (-0.4, 0.95), known_as=("a balloon", "a red balloon")
    ),
    Accessory("flag", None, "hand", 0.72, (-0.55, 0.5), known_as=("a flag", "a green flag")),
)
NAMES = tuple(accessory.name for accessory in ACCESSORIES)


class Wardrobe(NamedTuple):
    """The frames of all accessories in the order of `ACCESSORIES`, with their relief."""

    frames: Tensor  # (A, 4, 128, 128)
    heights: Tensor  # (A, 1, 64, 64)


class Piece(NamedTuple):
    """Accessories of one kind of place: pasted behind or before the subjects of some rows."""

    rows: list[int]
    turned: Turned  # (b, ...) their frames and normals, to be lit as the subject is
    layout: Layout  # (b, ...)
    is_behind: bool


class Body(NamedTuple):
    """Where things are held, in the frame before it is turned, in half sides of it."""

    points: Tensor  # (B, 6, 3) x, y and z of the anchors
    measures: Tensor  # (B, 6) at each anchor: of the head, the distance of the eyes, or 1
    girth: Tensor  # (B,) half the width of the neck
    side: Tensor  # (B,) 1 where things are held on the right of the frame, -1 on its left


def open_wardrobe(sprite: Callable[[str], Tensor], device: str | torch.device = "cpu") -> Wardrobe:
    """Return the frames of all accessories.

    Args:
        sprite: Returns the sprite of a code: premultiplied RGBA, (4, h, w), as uint8.
        device: Where the frames shall be.
    """
    read = [accessory for accessory in ACCESSORIES if accessory.code is not None]
    tiles = torch.stack([sprite(str(accessory.code)) for accessory in read]).to(device)
    still = torch.zeros(len(read), device=device)
    hue = still.new_tensor([accessory.hue for accessory in read])
    posed = pose_subjects(tiles, rotation=still, flip=still, hue=hue)
    frame = {accessory.name: sprite for accessory, sprite in zip(read, posed, strict=True)}
    blank = torch.zeros_like(posed[0])
    # A scarf is drawn anew round each neck; the frame that stands for it is never shown.
    frame |= {"scarf": blank, "flag": _flag(blank), "balloon": _balloon(frame["balloon"])}
    frames = torch.stack([frame[name] for name in NAMES])
    return Wardrobe(frames, relief.height(frames[:, 3:]))


def wear(
    frames: Tensor, heights: Tensor, layout: Layout, kinds: Sequence[str | None], wardrobe: Wardrobe
) -> list[Piece]:
    """Return what the subjects wear and carry, in the order in which it is pasted.

    Args:
        frames: Subjects before they are turned, (B, 4, 128, 128).
        heights: Their relief, (B, 1, 64, 64).
        layout: Where they go, and the pose they are turned to.
        kinds: Name of the accessory of each row, or None.
        wardrobe: Of `open_wardrobe`.
    """
    groups: dict[str, list[int]] = {group: [] for group in _GROUPS}
    for row, kind in enumerate(kinds):
        if kind is not None:
            groups[_group(kind)].append(row)
    pieces = []
    for group, rows in groups.items():
        if not rows:
            continue
        wearer = Layout(*(value[rows] for value in layout))
        body = _measure(frames[rows], heights[rows], wearer, finds_eyes=group == "eyes")
        if group == "scarf":
            piece = _scarf(frames[rows, 3:], heights[rows], body, wearer.pose), wearer
        else:
            chosen = [NAMES.index(str(kinds[row])) for row in rows]
            piece = _hold(chosen, body, heights[rows], wearer, wardrobe)
        pieces.append(Piece(rows, *piece, is_behind=group == "back"))
    return pieces


def _group(kind: str) -> str:
    anchor = ACCESSORIES[NAMES.index(kind)].anchor
    return kind if kind == "scarf" else anchor if anchor in {"back", "eyes"} else "front"


def _hold(
    chosen: list[int], body: Body, heights: Tensor, wearer: Layout, wardrobe: Wardrobe
) -> tuple[Turned, Layout]:
    things = [ACCESSORIES[index] for index in chosen]
    rows, anchors = range(len(things)), [_ANCHORS.index(accessory.anchor) for accessory in things]
    at, measure = body.points[rows, anchors], body.measures[rows, anchors]
    is_worn = torch.tensor([accessory.anchor != "hand" for accessory in things], device=at.device)
    mirror = torch.where(is_worn, 1.0, body.side)
    tilt, zoom = _bending(at, heights, wearer.pose)
    tilt, zoom = torch.where(is_worn, tilt, 0.0), torch.where(is_worn, zoom, 1.0)
    half = at.new_tensor([accessory.size for accessory in things]) * measure * zoom
    grip = at.new_tensor([(*accessory.grip, 0) for accessory in things]) * half[:, None]
    grip = torch.cat([grip[:, :1] * mirror[:, None], grip[:, 1:]], dim=1)
    # What is worn turns with its wearer; what is held hangs upright in the air.
    worn = follow(at - grip / zoom[:, None], heights, wearer.pose)
    held = follow(at, heights, wearer.pose) - grip
    x, y, _ = torch.where(is_worn[:, None], worn, held).unbind(1)
    pose = wearer.pose * wearer.pose.new_tensor([1, 1, 0, 0]) * is_worn[:, None]
    is_mirrored = (mirror < 0).view(-1, 1, 1, 1)
    frames, relief_of = wardrobe.frames[chosen], wardrobe.heights[chosen]
    frames = torch.where(is_mirrored, frames.flip(3), frames)
    relief_of = torch.where(is_mirrored, relief_of.flip(3), relief_of)
    cos, sin, flip = torch.cos(wearer.rotation), torch.sin(wearer.rotation), 1 - 2 * wearer.flip
    offset = torch.stack([cos * flip * x - sin * y, sin * flip * x + cos * y], dim=1)
    place = wearer._replace(
        centre=wearer.centre + wearer.scale.view(len(at), -1) / 2 * offset,
        scale=(wearer.scale.view(len(at), -1) * half[:, None]).view_as(wearer.scale),
        rotation=wearer.rotation + flip * tilt,
        pose=torch.zeros_like(pose),
    )
    return relief.turn(frames, relief_of, pose), place


def follow(points: Tensor, height: Tensor, pose: Tensor) -> Tensor:
    """Return where points (B, 3) in or near the subjects lie after these are turned.

    Args:
        points: x, y and z in the coordinates of the frames; z = 0 is the plane of the rim.
        height: Relief of the subjects, (B, 1, h, w).
        pose: As for `relief.turn`, (B, 4).
    """
    zoom, bow, factor, feet = relief.bows(height, pose)
    x, y, z = points.unbind(1)
    radius, turned = 1 - bow * factor * x, bow * (feet - y) / factor
    bent_x = zoom / bow * (1 - radius * turned.cos())
    bent_y = feet - zoom / bow * radius * turned.sin()
    is_bent = pose[:, 2:].any(dim=1)
    bent = torch.stack([torch.where(is_bent, bent_x, x), torch.where(is_bent, bent_y, y), z], dim=1)
    return (rotation_of(pose[:, 0], pose[:, 1]) @ bent[..., None])[..., 0]


def _bending(at: Tensor, heights: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Return by which angle, and by which factor, a bend turns and scales what is at a point."""
    bend = pose * pose.new_tensor([0, 0, 1, 1])
    steps = at.new_tensor([[0, 0, 0], [_STEP, 0, 0], [0, -_STEP, 0]])
    middle, right, up = (follow(at + step, heights, bend)[:, :2] for step in steps)
    right, up = right - middle, up - middle
    area = right[:, 1] * up[:, 0] - right[:, 0] * up[:, 1]
    return torch.atan2(up[:, 0], -up[:, 1]), area.clamp_min(1e-8).sqrt() / _STEP


def _measure(frames: Tensor, heights: Tensor, layout: Layout, *, finds_eyes: bool) -> Body:
    alpha = F.avg_pool2d(frames[:, 3:], FRAME_PX // relief.RELIEF_CELLS)
    head_x, top, bottom, width = _head(alpha)
    tall, zero, one = bottom - top, torch.zeros_like(top), torch.ones_like(top)

    eye_y = top + torch.minimum(_EYES_BELOW * width, _EYES_LOWEST * tall)
    face_x, _ = _centred(alpha, eye_y, head_x, width)
    eyes = face_x, eye_y, _EYES_APART * width
    eye_x, eye_y, apart = _find_eyes(frames, *eyes) if finds_eyes else eyes

    neck_y = top + torch.minimum(_NECK_BELOW * width, _NECK_LOWEST * tall)
    neck_y = torch.minimum(neck_y, _trunk(alpha) - 0.05)
    neck_x, girth = _span(alpha, neck_y, head_x, reach=width)
    neck_x, girth = _centred(alpha, neck_y, neck_x, girth)

    middle = top + _HAND_HEIGHT * tall
    centre, half = _span(alpha, middle, zero, reach=2 * one)
    side = torch.where(layout.centre[:, 0] < 0.5, 1.0, -1.0) * (1 - 2 * layout.flip)
    away = torch.where(layout.pose[:, 0] < -0.05, 1.0, -1.0)  # the back is where the face is not
    depth = _BACK_DEPTH * heights.amax(dim=(1, 2, 3))
    points = (
        torch.stack([head_x, top, zero], dim=1),
        _on_surface(heights, head_x + 0.36 * width, top + 0.16 * width),
        _on_surface(heights, eye_x, eye_y),
        _on_surface(heights, neck_x, neck_y),
        torch.stack([centre + _BACK_OUT * half * away, middle - 0.1, -depth], dim=1),
        torch.stack([centre + 0.9 * half * side, middle, zero], dim=1),
    )
    worn, apart = width.clamp_min(_SMALLEST_WORN), apart.clamp_min(_SMALLEST_APART)
    measures = torch.stack([worn, worn, apart, worn, one, one], dim=1)
    return Body(torch.stack(points, dim=1), measures, girth, side)


def _head(alpha: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x and y of the head's top, the subject's lowest y, and the head's width, (B,)."""
    x, y = pixel_grid(*alpha.shape[-2:], like=alpha).unbind(-1)
    (slim_x, slim), (head_x, top) = (_crown(alpha, x, y, cells) for cells in _CORES)
    is_slim = slim < top - _STANDS_OUT
    head_x, top = torch.where(is_slim, slim_x, head_x), torch.where(is_slim, slim, top)
    bottom = torch.where(alpha[:, 0] > 0.3, y, -1.0).amax(dim=(1, 2))
    below = y - top.view(-1, 1, 1)
    around = (below > 0) & (below < _HEAD_DEEP) & ((x - head_x.view(-1, 1, 1)).abs() < _HEAD_WIDE)
    width = (alpha[:, 0] * around).sum(dim=(1, 2)) * _STEP**2 / _HEAD_DEEP
    return head_x, top, bottom, width.clamp(_SMALLEST_HEAD, _LARGEST_HEAD)


def _trunk(alpha: Tensor) -> Tensor:
    """Return the lowest y (B,) that is above legs or wheels."""
    breadth = alpha[:, 0].sum(dim=2)
    is_broad = breadth > _TRUNK * breadth.amax(dim=1, keepdim=True)
    y = pixel_grid(*alpha.shape[-2:], like=alpha)[:, 0, 1]
    return torch.where(is_broad, y, -1.0).amax(dim=1)


def _crown(alpha: Tensor, x: Tensor, y: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Return x and y (B,) of the top of what is at least about so many cells thick."""
    solid = _blur(alpha, cells)[:, 0]
    core = solid > _CORE * solid.amax(dim=(1, 2), keepdim=True)
    top = torch.where(core, y, 1.0).amin(dim=(1, 2))
    crown = core & (y < (top + _HEAD_DEEP).view(-1, 1, 1))
    middle = (crown * x).sum(dim=(1, 2)) / crown.sum(dim=(1, 2))
    return middle, top - cells * _STEP / 4  # a core begins a quarter of the cells inside


def _find_eyes(
    frames: Tensor, x: Tensor, y: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Look for two dots side by side near the place expected; without them, return that place."""
    dots = _dots(frames)
    pairs = [torch.minimum(dots.roll(cells, 2), dots.roll(-cells, 2)) for cells in _APART_CELLS]
    grid = pixel_grid(*dots.shape[1:], like=dots)
    distance = dots.new_tensor(_APART_CELLS) * _STEP
    across = (grid[..., 0] - x.view(-1, 1, 1, 1)) / _EYE_PRIOR[0]
    down = (grid[..., 1] - y.view(-1, 1, 1, 1)) / _EYE_PRIOR[1]
    wide = (distance.view(1, -1, 1, 1) - apart.view(-1, 1, 1, 1)) / _EYE_PRIOR[2]
    likely = torch.exp(-0.5 * (across.square() + down.square() + wide.square()))
    best, place = (torch.stack(pairs, dim=1) * likely).flatten(1).max(dim=1)
    found = grid.flatten(0, 1)[place % dots[0].numel()]
    sure = smoothstep(*_SEEN_EYES, best)
    return (
        torch.lerp(x, found[:, 0], sure),
        torch.lerp(y, found[:, 1], sure),
        torch.lerp(apart, distance[place // dots[0].numel()], sure),
    )


def _dots(frames: Tensor) -> Tensor:
    """Return how much each cell (B, 64, 64) inside of the outline differs from what is about it."""
    luminance, alpha = (
        F.avg_pool2d(plane, FRAME_PX // relief.RELIEF_CELLS)
        for plane in (frames[:, :3].mean(dim=1, keepdim=True), frames[:, 3:])
    )
    luminance = luminance + (1 - alpha) * luminance.amax(dim=(2, 3), keepdim=True)
    fine, broad = (_blur(luminance, cells, counts_outside=False) for cells in _DOT_CELLS)
    inside = -F.max_pool2d(-alpha, 5, stride=1, padding=2)
    return (torch.maximum(broad - fine, _BRIGHT * (fine - broad)) * inside)[:, 0]


def _blur(field: Tensor, cells: int, *, counts_outside: bool = True) -> Tensor:
    """Return means over squares of so many cells; those beyond the border are 0, or left out."""
    for size in ((1, cells), (cells, 1)):  # one after the other is far less work than at once
        padding = (size[0] // 2, size[1] // 2)
        field = F.avg_pool2d(field, size, 1, padding, count_include_pad=counts_outside)
    return field


def _centred(alpha: Tensor, y: Tensor, x: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return middle and half width (B,) of all of the subject at heights `y`, if `x` is near."""
    middle, whole = _span(alpha, y, torch.zeros_like(x), reach=torch.full_like(x, 2))
    share = smoothstep(_LEANING[1], _LEANING[0], (middle - x).abs())
    return torch.lerp(x, middle, share), torch.lerp(half, whole, share)


def _span(alpha: Tensor, y: Tensor, x: Tensor, *, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return middle and half width (B,) of the subject at heights `y`, within reach of `x`."""
    grid = pixel_grid(*alpha.shape[-2:], like=alpha)
    near = (grid[..., 1] - y.view(-1, 1, 1)).abs() < 2 * _STEP
    near &= (grid[..., 0] - x.view(-1, 1, 1)).abs() < reach.view(-1, 1, 1)
    weight = alpha[:, 0] * near
    mass = weight.sum(dim=(1, 2))
    middle = (weight * grid[..., 0]).sum(dim=(1, 2)) / mass.clamp_min(1e-3)
    return torch.where(mass > 1, middle, x), mass * _STEP / 8  # four rows high, half a width


def _on_surface(heights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    at = torch.stack([x, y], dim=1).view(-1, 1, 1, 2)
    z = F.grid_sample(heights, at, align_corners=False, padding_mode="border").view(-1)
    return torch.stack([x, y, z], dim=1)


def _scarf(alpha: Tensor, heights: Tensor, body: Body, pose: Tensor) -> Turned:
    """Draw a scarf round each neck and its end on the chest, within the subject."""
    grid = pixel_grid(*alpha.shape[-2:], like=alpha)
    neck = _ANCHORS.index("neck")
    x, y, _ = body.points[:, neck].unbind(1)
    columns = (each.view(-1, 1, 1, 1) for each in (x, y, body.measures[:, neck], body.girth))
    neck_x, neck_y, width, girth = columns
    x, y = (grid[..., 0] - neck_x) / width, (grid[..., 1] - neck_y) / width
    side = x * width / girth
    across = (y - 0.14 * (1 - side.square()).clamp_min(-0.3)) / 0.16
    round_neck = smoothstep(1, 0.85, across.abs()) * smoothstep(1.35, 1.25, side.abs())
    along = (x - 0.2 - 0.1 * y) / 0.15
    end = smoothstep(1, 0.85, along.abs()) * smoothstep(0.72, 0.69, y) * smoothstep(0.0, 0.03, y)
    coverage = torch.maximum(round_neck, end)
    cream = smoothstep(-0.2, 0.2, torch.sin(y * 26)) * (1 - round_neck)
    ribs = 0.92 + 0.08 * torch.sin(x * 60) - 0.35 * across.square().clamp(max=1)
    shade = torch.lerp(0.9 - 0.3 * along.square().clamp(max=1), ribs, round_neck)
    # Turning closes gaps in what it turns, so these three numbers are painted on the whole subject.
    painted = torch.cat([coverage, cream, shade, torch.ones_like(shade)], dim=1) * alpha
    turned = relief.turn(painted, heights, pose)
    coverage, cream, shade, alpha = turned.frame.split(1, dim=1)
    blue, white = (alpha.new_tensor(colour).view(1, 3, 1, 1) for colour in (_SCARF, _STRIPES))
    colour = torch.lerp(blue, white, cream / alpha.clamp_min(1e-3)) * (
        shade / alpha.clamp_min(1e-3)
    )
    return turned._replace(frame=torch.cat([colour * coverage, coverage], dim=1))


def _flag(blank: Tensor) -> Tensor:
    """Draw a waving flag on a pole (4, H, W)."""
    x, y = pixel_grid(*blank.shape[-2:], like=blank).unbind(-1)
    x = x + 0.55  # distance from the pole
    brown, green, white = (
        blank.new_tensor(colour).view(3, 1, 1)
        for colour in ([0.55, 0.36, 0.2], [0.1, 0.66, 0.4], [0.97, 0.97, 0.95])
    )
    pole = smoothstep(0.045, 0.025, x.abs()) * (y.abs() < 0.9)
    wood = torch.cat([brown * (1 - 6 * x.clamp(-0.05, 0.05)) * pole, pole[None]])
    across = ((y + 0.42 - 0.07 * torch.sin(4.2 * x)) / 0.42).abs()
    cloth = smoothstep(0.0, 0.02, x) * smoothstep(1.4, 1.37, x) * smoothstep(1.0, 0.94, across)
    colour = torch.lerp(green, white, smoothstep(0.36, 0.32, across))
    colour = (colour * (0.9 + 0.16 * torch.cos(4.2 * x))).clamp(0, 1)
    return paste(wood[None], torch.cat([colour * cloth, cloth[None]])[None])[0]


def _balloon(sprite: Tensor) -> Tensor:
    """Give the balloon a long string: in its frame (4, H, W) it is small and at the top."""
    frame = F.interpolate(sprite[None], scale_factor=0.6, mode="bilinear", antialias=True)[0]
    side = frame.shape[-1]
    left, whole = FRAME_PX - side, torch.zeros_like(sprite)
    whole[:, :side, left:] = frame
    x, y = pixel_grid(FRAME_PX, FRAME_PX, like=sprite).unbind(-1)
    start, end = 0.1, 0.97
    down = ((y - start) / (end - start)).clamp(0, 1)
    line = 0.1 - 0.5 * down + 0.06 * torch.sin(2 * math.pi * down)
    string = smoothstep(0.028, 0.012, (x - line).abs()) * (y > start) * (y < end)
    blue = sprite.new_tensor([0.2, 0.45, 0.9]).view(3, 1, 1)
    return paste(torch.cat([blue * string, string[None]])[None], whole[None])[0]
