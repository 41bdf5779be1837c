"""Parts of pictures like photographs: surfaces, furniture, things out of focus, and a camera."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid
from swiftpie_world.fields import paste, smoothstep
from swiftpie_world.frames import draw_frames, pose_subjects

SNAPSHOT_PX = 128

_FLAT_SHARE = 0.4  # share of pictures that look down on one surface; others show ground and wall
_PLAIN_SHARE = 0.15  # share of surfaces that are a plain backdrop
_NUM_PIECES, _PIECE_SHARE = 2, 0.35  # furniture, rocks or curtains behind the subject
_BACKDROP_SHARE = 0.3  # have something large and out of focus at the edge
_BLUR_SHARE, _GREY_SHARE = 0.4, 0.04


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

    def at_edge(self, size: Tensor) -> Layout:
        """Return a place of things of this `size` (B,) across an edge of the picture."""
        turn = self.rows(0, 2 * math.pi)
        reach = self.uniform(0.8, 1.1, 1)
        direction = torch.stack([turn.cos(), turn.sin()], dim=1)
        square = direction / direction.abs().amax(1, keepdim=True)  # on the edge of the picture
        centre = 0.5 + 0.5 * reach * square
        return _layout(centre, size, rotation=0.5 * self.normal(1).flatten())

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
