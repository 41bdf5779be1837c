"""Pictures that are hard to cut out: subjects on busy grounds, as a camera would take them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.frames import draw_frames, lowest_point, pose_subjects
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid
from swiftpie_world.fields import paste, smoothstep

SNAPSHOT_PX = 128

_MIN_SIZE, _MAX_SIZE = 0.25, 0.95  # of the picture's side: the longer side of most subjects
_CLOSE_SHARE, _CLOSE_SIZE = 0.2, 1.4  # some come so close that the edge of the picture cuts them
_CUT_SHARE, _MIN_CUT_SIZE = 0.25, 0.5  # some larger ones are cut by its lower edge, as portraits
_PATCHED_SHARE = 0.4  # of the subjects have a part of other colours, as clothes and labels are
_FLAT_SHARE = 0.4  # of the pictures look down on one surface; the others show ground and wall
_PLAIN_SHARE = 0.15  # of the surfaces are a plain backdrop
_PEDESTAL_SHARE = 0.3
_NUM_PIECES, _PIECE_SHARE = 2, 0.35  # of furniture, rocks or curtains behind the subject
_SHADOW_SHARE = 0.8
_FOREGROUND_SHARE = 0.12
_EMPTY_SHARE = 0.04  # of the pictures have no subject
_NUM_DISTRACTORS = 3
_DISTRACTOR_SHARE = 0.35  # of the pictures have the first one, the second one, the third one
_BACKDROP_SHARE = 0.3  # have something large and out of focus at the edge
_JPEG_SHARE, _NOISE_SHARE, _BLUR_SHARE, _GREY_SHARE = 0.5, 0.5, 0.4, 0.04
_PHOTO_SHARE = 0.65  # of the subjects are photographs, if there are any
_OWN_COLOUR_SHARE = 0.75  # of these keep their colours and surface
_SCENE_SHARE = 0.5  # of the pictures stand before a whole photograph, if there are any


class Snapshots(NamedTuple):
    """Pictures with the exact masks of their subjects."""

    pixels: Tensor  # (B, 3, 128, 128) in [-1, 1]
    mask: Tensor  # (B, 1, 128, 128) in [0, 1], what is visible of the subject


class Photographs(NamedTuple):
    """What pictures may show beside sprites and surfaces, 8 bit."""

    cutouts: Tensor  # (N, 4, 128, 128) photographed subjects, premultiplied
    scenes: Tensor  # (P, 3, t, t) photographs of places


def draw_snapshots(
    tiles: Tensor,
    textures: Tensor,
    *,
    count: int,
    seed: int,
    photographs: Photographs | None = None,
) -> Snapshots:
    """Draw pictures of one subject each, or rarely none; the seed decides everything.

    Colours, sizes and surfaces have nothing to do with what a thing is, so that only its outline,
    its shading and its place tell the subject.

    Args:
        tiles: Sprites (S, 4, h, w) in 8 bit, premultiplied.
        textures: Surfaces (T, 3, t, t) in 8 bit.
        count: Number B of pictures.
        seed: The same seed gives the same pictures.
        photographs: Subjects and places that share the pictures with sprites and surfaces.
    """
    draw = SnapshotParts(tiles, textures, count, torch.Generator().manual_seed(seed))
    size = draw.sizes()
    frames, own_colours = draw.frames(), torch.zeros(count, 1, 1, 1)
    layout = draw.place(size)
    if photographs is not None:
        is_photo = draw.chance(_PHOTO_SHARE)
        frames = torch.where(is_photo > 0, draw.frames(photographs.cutouts), frames)
        own_colours = is_photo * draw.chance(_OWN_COLOUR_SHARE)
    base = (layout.centre[:, 1] + lowest_point(frames, layout)).view(-1, 1, 1, 1)
    placed = draw_frames(frames, layout, size_px=SNAPSHOT_PX)
    sprite = draw.painted(placed, strength=0.5)
    if photographs is not None:
        sprite = torch.where(own_colours > 0, draw.lit(placed), sprite)
    sprite = sprite * draw.chance(1 - _EMPTY_SHARE)
    mask = sprite[:, 3:]
    others = draw.painted(draw.frames(), strength=0.8)
    picture = draw.with_furniture(draw.surroundings(base, size))
    if photographs is not None:
        things = draw.lit(draw.frames(photographs.cutouts))
        others = torch.where(draw.chance(_PHOTO_SHARE) > 0, things, others)
        scene, is_scene = draw.scene(photographs.scenes), draw.chance(_SCENE_SHARE)
        sprite = torch.where(is_scene > 0, draw.matched(sprite, scene), sprite)
        picture = torch.where(is_scene > 0, scene, picture)

    picture = draw.with_backdrop(picture, others)
    picture = draw.with_pedestal(picture, layout, base)
    picture = draw.with_distractors(picture, others, size)
    picture = draw.with_shadow(picture, mask, layout, base)
    picture, cover = draw.with_foreground(paste(picture, sprite), layout, base)
    return Snapshots(draw.photographed(picture) * 2 - 1, mask * (1 - cover))


class SnapshotParts:
    """Draws the parts of one batch, one after the other, from one generator, on its device."""

    def __init__(
        self,
        tiles: Tensor,
        textures: Tensor,
        count: int,
        generator: torch.Generator,
        *,
        size_px: int = SNAPSHOT_PX,
    ) -> None:
        """Take sprites (S, 4, h, w) and surfaces (T, 3, t, t), in 8 bit, for `count` pictures."""
        self.tiles, self.textures = tiles, textures
        self.count, self.generator, self.size_px = count, generator, size_px
        grid = pixel_grid(size_px, size_px, like=torch.zeros((), device=generator.device))
        self.grid = grid  # (R, R, 2) in [-1, 1]
        self.x = (grid[..., 0] + 1)[None, None] / 2
        self.y = (grid[..., 1] + 1)[None, None] / 2

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        """Return numbers (B, 1, 1, 1), or (B, *shape)."""
        size, device = (self.count, *(shape or (1, 1, 1))), self.generator.device
        number = torch.rand(size, generator=self.generator, device=device)
        return low + (high - low) * number

    def rows(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers (B,)."""
        return self.uniform(low, high, 1).flatten()

    def normal(self, *shape: int) -> Tensor:
        """Return normal numbers (B, 1, 1, 1), or (B, *shape)."""
        size, device = (self.count, *(shape or (1, 1, 1))), self.generator.device
        return torch.randn(size, generator=self.generator, device=device)

    def chance(self, share: float) -> Tensor:
        """Return 1 in this share of rows and 0 in the others, (B, 1, 1, 1)."""
        return (self.uniform() < share).float()

    def chosen(self, count: int) -> Tensor:
        """Return one of `count` numbers for each row, (B,)."""
        generator = self.generator
        return torch.randint(count, (self.count,), generator=generator, device=generator.device)

    # --- subjects -------------------------------------------------------------------------------

    def sizes(self) -> Tensor:
        """Return the longer side of each subject (B,), in sides of the picture."""
        size = _MIN_SIZE + (_MAX_SIZE - _MIN_SIZE) * self.rows() ** 0.8
        close = _MAX_SIZE + (_CLOSE_SIZE - _MAX_SIZE) * self.rows()
        return torch.where(self.chance(_CLOSE_SHARE).flatten() > 0, close, size)

    def frames(self, tiles: Tensor | None = None) -> Tensor:
        """Return posed sprites, or other `tiles`, (B, 4, 128, 128), bent and stretched."""
        still = torch.zeros(self.count, device=self.generator.device)
        tiles = self.tiles if tiles is None else tiles
        frames = pose_subjects(
            tiles[self.chosen(len(tiles))],
            rotation=self.normal(1).flatten() * 0.15,
            flip=self.chance(0.5).flatten(),
            hue=still,
        )
        stretch = torch.exp(0.35 * self.uniform(-1, 1, 2))
        stretch = stretch / stretch.amin(1, keepdim=True)  # never beyond the frame
        lean = self.uniform(-0.12, 0.12, 2)
        linear = torch.diag_embed(stretch) + torch.diag_embed(lean).flip(1)
        grid = self.grid @ linear.transpose(1, 2)[:, None]
        waves = self.uniform(0, 2 * math.pi, 1, 1, 2), self.uniform(1.5, 4, 1, 1, 2)
        grid = grid + self.uniform(0, 0.05, 1, 1, 1) * torch.sin(
            waves[1] * self.grid.flip(-1) + waves[0]
        )
        return F.grid_sample(frames, grid, align_corners=False)

    def place(self, size: Tensor) -> Layout:
        """Return where subjects go: near the middle, the more so the larger they are."""
        room = (1.05 - size).clamp(0.05, 1)[:, None]
        centre = 0.5 + (0.2 * room * self.normal(2)).clamp(-0.3, 0.3)
        low = 1 - size * self.rows(0.05, 0.5)
        is_cut = (self.rows() < _CUT_SHARE) & (size > _MIN_CUT_SIZE) | (size > _MAX_SIZE)
        centre[:, 1] = torch.where(is_cut, low.clamp_min(0.4), centre[:, 1])
        return _layout(centre, size, rotation=0.1 * self.normal(1).flatten())

    def painted(self, sprite: Tensor, *, strength: float) -> Tensor:
        """Give a premultiplied `sprite` (B, 4, R, R) other colours, a texture and light."""
        alpha = sprite[:, 3:]
        colour = sprite[:, :3] / alpha.clamp_min(1e-3)
        luma = colour.mean(dim=1, keepdim=True)
        # Channels mixed at random keep what is drawn on it, in colours that it never has.
        matrix = torch.softmax(2 * self.normal(3, 3), dim=2)
        mixed = (matrix @ colour.flatten(2)).view_as(colour)
        mixed = torch.where(self.chance(0.3) > 0, 1 - mixed, mixed)
        dark, light = self.tone(), self.tone()
        toned = torch.lerp(dark, light, luma)
        kind = self.uniform()
        colour = torch.where(kind < 0.35, colour, torch.where(kind < 0.7, mixed, toned))
        texture = self.texture()
        shaded = texture * (0.4 + 0.9 * luma)
        amount = strength * self.uniform() ** 2 * 2 * self.chance(0.7)
        colour = torch.lerp(colour, shaded, amount.clamp(0, 1))
        turn = self.uniform(0, 2 * math.pi)
        along = (self.x - 0.5) * turn.cos() + (self.y - 0.5) * turn.sin()
        there = smoothstep(-0.02, 0.02, along + self.uniform(0, 0.4) * (texture[:, :1] - 0.5))
        patch = torch.lerp(self.tone(), self.tone(), luma)
        colour = torch.lerp(colour, patch, there * self.chance(_PATCHED_SHARE))
        fur = (texture.mean(1, keepdim=True) - 0.5) * self.uniform(0, 0.6)
        side = self.uniform(-0.5, 0.5) * (self.x - 0.5) + self.uniform(-0.5, 0.3) * (self.y - 0.5)
        colour = colour * (1 + side) * self.uniform(0.7, 1.2) + fur * self.chance(0.5)
        return torch.cat([colour.clamp(0, 1) * alpha, alpha], dim=1)

    def lit(self, sprite: Tensor) -> Tensor:
        """Light a premultiplied photograph (B, 4, R, R) from a side, in its own colours."""
        alpha = sprite[:, 3:]
        across = torch.linspace(-0.5, 0.5, sprite.shape[3]).view(1, 1, 1, -1)
        down = torch.linspace(-0.5, 0.5, sprite.shape[2]).view(1, 1, -1, 1)
        side = self.uniform(-0.5, 0.5) * across + self.uniform(-0.5, 0.3) * down
        colour = sprite[:, :3] * (1 + side) * self.uniform(0.6, 1.25)
        return torch.cat([colour.minimum(alpha), alpha], dim=1)

    def matched(self, sprite: Tensor, scene: Tensor) -> Tensor:
        """Bring the mean colour of a premultiplied `sprite` nearer to that of its scene."""
        alpha, size = sprite[:, 3:], sprite[:, 3:].mean((2, 3), keepdim=True).clamp_min(1e-3)
        mean = sprite[:, :3].mean((2, 3), keepdim=True) / size
        wanted = scene.mean((2, 3), keepdim=True) / mean.clamp_min(0.02)
        gain = wanted.clamp(0.4, 2.5) ** self.uniform(0, 0.8)
        return torch.cat([(sprite[:, :3] * gain).minimum(alpha), alpha], dim=1)

    def scene(self, scenes: Tensor) -> Tensor:
        """Return parts of photographs (B, 3, R, R) in [0, 1], some of them out of focus."""
        seen = scenes[self.chosen(len(scenes))] / 255.0
        share, turn = self.uniform(0.5, 1, 1, 1, 1), torch.sign(self.uniform(-1, 1, 1, 1))
        room = 1 - share[..., 0]
        grid = self.grid * share
        across = grid[..., 0] * turn + room * self.uniform(-1, 1, 1, 1)
        down = grid[..., 1] + room * self.uniform(-1, 1, 1, 1)
        place = torch.stack([across, down], dim=-1)
        part = F.grid_sample(seen, place, align_corners=False, padding_mode="reflection")
        return _unsharp(part, self.rows(-0.6, 0.5))

    def tone(self) -> Tensor:
        """Return colours (B, 3, 1, 1), most of them dull."""
        vividness = self.uniform() ** 2
        return self.uniform(0.1, 1) * (1 - vividness * self.uniform(0, 1, 3, 1, 1))

    # --- surfaces -------------------------------------------------------------------------------

    def texture(self) -> Tensor:
        """Return textures (B, 3, R, R) in [0, 1], turned and enlarged or made small."""
        turn = self.normal(1).flatten() * 0.5
        zoom = torch.exp(self.rows(-1.3, 0.4))
        rows = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], 1).view(-1, 2, 2)
        grid = self.grid @ (rows * zoom[:, None, None])[:, None]
        return self.sampled(grid + self.uniform(-0.5, 0.5, 1, 1, 2))

    def sampled(self, grid: Tensor) -> Tensor:
        """Return textures (B, 3, R, R) in [0, 1] at the places `grid` (B, R, R, 2)."""
        textures = self.textures[self.chosen(len(self.textures))] / 255.0
        return F.grid_sample(textures, grid, align_corners=False, padding_mode="reflection")

    def adjusted(self, picture: Tensor) -> Tensor:
        """Change contrast, brightness and colour, so that textures do not repeat."""
        mean = picture.mean(dim=(2, 3), keepdim=True)
        picture = mean + (picture - mean) * self.uniform(0.3, 1.3)
        tint = torch.where(self.chance(0.4) > 0, 2 * self.tone(), 1.0)
        return (picture * tint * self.uniform(0.5, 1.3) + self.uniform(-0.1, 0.2)).clamp(0, 1)

    def surface(self) -> Tensor:
        """Return surfaces seen from the front, (B, 3, R, R); some are plain."""
        textured = self.adjusted(self.texture())
        slope = self.uniform(-1, 1) * (self.x - 0.5) + self.uniform(-1, 1) * (self.y - 0.5)
        plain = self.tone().lerp(self.tone(), (0.5 + 0.5 * slope).clamp(0, 1) * self.uniform())
        return torch.where(self.chance(_PLAIN_SHARE) > 0, plain, textured)

    def surroundings(self, base: Tensor, size: Tensor) -> Tensor:
        """Return a surface, or a ground in perspective before an unsharp wall, (B, 3, R, R)."""
        is_flat = self.chance(_FLAT_SHARE)
        amount = self.rows()
        # What one looks down on is about as sharp as what lies on it.
        wall = _unsharp(self.surface(), torch.where(is_flat.flatten() > 0, amount**3, amount))
        lift = size.view(-1, 1, 1, 1) * self.uniform(0.05, 0.9)
        horizon = (base - lift).clamp(0.1, 0.95) + self.uniform(-0.1, 0.1) * (self.x - 0.5)
        down = (self.y - horizon).clamp_min(0) + self.uniform(0.05, 0.6)
        across = (self.x - 0.5) / down
        zoom = self.uniform(0.2, 0.6)
        place = torch.cat([across, 0.8 / down], dim=1) * zoom
        ground = self.adjusted(self.sampled(place.movedim(1, -1) + self.uniform(-1, 1, 1, 1, 2)))
        ground = _unsharp(ground, self.rows() ** 3)
        soft = self.uniform(0.005, 0.06)
        near = smoothstep(horizon - soft, horizon + soft, self.y) * (1 - is_flat)
        return torch.lerp(wall, ground, near)

    def block(
        self, y: Tensor, centre_x: Tensor, *, top: Tensor, half: Tensor, wave: Tensor
    ) -> Tensor:
        """Return a block, table or rock (B, 1, R, R) where `y` exceeds `top`; its edge is rough."""
        slant = self.uniform(-0.15, 0.15) * (self.x - centre_x)
        rough = self.uniform(0, 0.1) * (wave - 0.5)
        power = torch.exp(self.uniform(0.7, 2.5))
        across = ((self.x - centre_x).abs() / half).clamp_max(2)
        edge = top + slant + rough + half * self.uniform(0, 0.4) * across**power
        inside = smoothstep(1.02, 0.98, across + rough)
        return smoothstep(edge - 0.01, edge + 0.01, y) * inside

    # --- what else is in the picture ------------------------------------------------------------

    def with_pedestal(self, picture: Tensor, layout: Layout, base: Tensor) -> Tensor:
        """Put something under the subject that is as rough as stone."""
        x, scale = _column(layout.centre[:, :1]), _column(layout.scale[:, None])
        top = base - scale * self.uniform(0.02, 0.25)
        texture = self.texture()
        middle, half = x + 0.2 * self.normal() * scale, scale * self.uniform(0.4, 1.6)
        shape = self.block(self.y, middle, top=top, half=half, wave=texture[:, :1])
        stone = self.adjusted(texture) * (1 + self.uniform(-0.5, 0.3) * (self.y - top))
        has_one = self.chance(_PEDESTAL_SHARE)
        return torch.lerp(picture, stone.clamp(0, 1), shape * has_one)

    def with_furniture(self, picture: Tensor) -> Tensor:
        """Put blocks with surfaces of their own behind the subject; some hang from above."""
        for _ in range(_NUM_PIECES):
            surface = self.surface()
            y = torch.where(self.chance(0.3) > 0, 1 - self.y, self.y)
            middle, half = self.uniform(-0.1, 1.1), self.uniform(0.05, 0.4)
            top = self.uniform(0, 0.8)
            shape = self.block(y, middle, top=top, half=half, wave=surface[:, :1])
            has_one = self.chance(_PIECE_SHARE)
            piece = torch.cat([surface * shape, shape], dim=1)
            piece = _unsharp(piece, self.rows(-0.4, 0.8) * has_one.flatten())
            picture = paste(picture, piece * has_one)
        return picture

    def with_backdrop(self, picture: Tensor, others: Tensor) -> Tensor:
        """Put something large and out of focus across an edge of the picture."""
        layout = self.at_edge(self.rows(0.5, 1.3))
        sprite = draw_frames(others, layout, size_px=self.size_px)
        has_one = self.chance(_BACKDROP_SHARE)
        unsharp = _unsharp(sprite, self.rows(0.1, 1) * has_one.flatten())
        return paste(picture, unsharp * has_one)

    def with_distractors(self, picture: Tensor, others: Tensor, size: Tensor) -> Tensor:
        """Put smaller things beside and behind the subject, each taken from another row."""
        for number in range(_NUM_DISTRACTORS):
            small = size.clamp_max(0.8) * self.rows(0.15, 0.55)
            frames = others.roll(number + 1, 0)
            sprite = draw_frames(frames, self.at_edge(small), size_px=self.size_px)
            has_one = self.chance(_DISTRACTOR_SHARE)
            sprite = _unsharp(sprite, self.rows(-0.5, 0.6) * has_one.flatten())
            picture = paste(picture, sprite * has_one)
        return picture

    def at_edge(self, size: Tensor) -> Layout:
        """Return a place of things of this `size` (B,) across an edge of the picture."""
        turn = self.rows(0, 2 * math.pi)
        reach = self.uniform(0.8, 1.1, 1)
        direction = torch.stack([turn.cos(), turn.sin()], dim=1)
        square = direction / direction.abs().amax(1, keepdim=True)  # on the edge of the picture
        centre = 0.5 + 0.5 * reach * square
        return _layout(centre, size, rotation=0.5 * self.normal(1).flatten())

    def with_shadow(self, picture: Tensor, alpha: Tensor, layout: Layout, base: Tensor) -> Tensor:
        """Darken the ground under the subject and, softly, beside it."""
        x, scale = _column(layout.centre[:, :1]), _column(layout.scale[:, None])
        across = ((self.x - x) / (scale * self.uniform(0.3, 0.55))).square()
        down = ((self.y - base) / (scale * self.uniform(0.04, 0.12))).square()
        contact = torch.exp(-((across + down) ** 1.5))
        # The cast shadow is the subject's own shape, laid down to one side.
        lean, flatness = self.uniform(-1.5, 1.5, 1, 1), self.uniform(1.3, 4, 1, 1)
        y = (self.y - base)[:, 0] * flatness + base[:, 0]
        place = torch.stack([self.x[:, 0] + lean * (self.y - base)[:, 0], y], dim=-1)
        cast = F.grid_sample(alpha, 2 * place - 1, align_corners=False)
        has_one = self.chance(0.5)
        cast = _unsharp(cast, self.rows(0.2, 0.7) * has_one.flatten()) * has_one
        shade = 1 - (1 - self.uniform(0, 0.8) * contact) * (1 - self.uniform(0, 0.6) * cast)
        return picture * (1 - shade * self.chance(_SHADOW_SHARE))

    def with_foreground(
        self, picture: Tensor, layout: Layout, base: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put something before the foot of the subject, as grass does, and return what it hides."""
        scale, texture = _column(layout.scale[:, None]), self.texture()
        rough = (texture[:, :1] - 0.5) * self.uniform(0, 0.5) * scale
        edge = base - scale * self.uniform(0.02, 0.2) + rough
        cover = smoothstep(edge - 0.01, edge + 0.01, self.y) * self.chance(_FOREGROUND_SHARE)
        return torch.lerp(picture, self.adjusted(texture), cover), cover

    # --- the camera -----------------------------------------------------------------------------

    def camera(self, picture: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what a camera set for `picture` makes of it: light, colour cast and blur."""
        fall = ((self.x - 0.5) ** 2 + (self.y - 0.5) ** 2) * self.uniform(-0.2, 0.9)
        side = self.uniform(-0.4, 0.4) * (self.x - 0.5)
        brightness = picture.mean(dim=(1, 2, 3), keepdim=True).clamp_min(0.05)
        exposure = self.uniform(0.25, 0.65) / brightness
        light = exposure.clamp(0.6, 3) * (1 - fall + side)
        warmth = self.uniform(-0.12, 0.12)
        cast = torch.cat([1 + warmth, 1 + self.uniform(-0.06, 0.06), 1 - warmth], dim=1)
        contrast = torch.exp(self.uniform(-0.35, 0.35))
        vivid = self.uniform(0.5, 1.3) * (1 - self.chance(_GREY_SHARE))
        blur = self.rows(0, 0.3) * self.chance(_BLUR_SHARE).flatten()

        def developed(seen: Tensor) -> Tensor:
            seen = (seen * light * cast).clamp(1e-3, 1) ** contrast
            mean = seen.mean(dim=1, keepdim=True)
            return _unsharp(mean + (seen - mean) * vivid, blur)

        return developed

    def photographed(self, picture: Tensor) -> Tensor:
        """Add what a camera does to a picture, its noise and its compression."""
        picture = self.camera(picture)(picture)
        grain = self.normal(3, self.size_px, self.size_px)
        picture = picture + grain * self.uniform(0, 0.05) * self.chance(_NOISE_SHARE)
        return self.compressed(picture).clamp(0, 1)

    def compressed(self, picture: Tensor) -> Tensor:
        """Round the cosine coefficients of 8 x 8 blocks, the high ones more, as JPEG does."""
        index = torch.arange(8.0, device=picture.device)
        dct = torch.cos(math.pi / 8 * (index + 0.5) * index[:, None]) / 2
        dct[0] /= math.sqrt(2)
        blocks = picture.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
        step = (1 + index + index[:, None]) * self.uniform(0.002, 0.03)[..., None, None]
        rounded = (dct @ blocks @ dct.T / step).round() * step
        back = (dct.T @ rounded @ dct).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return torch.where(self.chance(_JPEG_SHARE) > 0, back, picture)


def _layout(centre: Tensor, size: Tensor, *, rotation: Tensor) -> Layout:
    """Return the place of subjects whose longer side is `size` (B,) sides of the picture."""
    still = torch.zeros_like(size)
    pose = still[:, None].expand(-1, 4)
    return Layout(centre, size / SUBJECT_FILL, rotation=rotation, flip=still, pose=pose)


def _unsharp(picture: Tensor, amount: Tensor) -> Tensor:
    """Blur each of `picture` (B, C, R, R) by `amount` (B,); 0 or less not at all, 1 very much."""
    blurred, full = picture.clone(), picture.shape[-1]
    for row, share in enumerate(amount.tolist()):
        if share > 0.02:
            sigma = 0.4 + 6 * share**1.5
            # The coarser the picture, the wider the blur: smooth at a third of sigma's scale.
            side = max(12, round(full / max(1.0, 1.2 * sigma * full / SNAPSHOT_PX)))
            small = F.interpolate(
                picture[row : row + 1], (side, side), mode="bilinear", antialias=True
            )
            blurred[row] = F.interpolate(small, full, mode="bicubic", align_corners=False)[0]
    return blurred.clamp(0, 1)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
