"""Any picture at a size that the networks take, and back, keeping its shape."""

import math
from dataclasses import dataclass

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX
from swiftpie.images import to_tensor
from swiftpie.masks import resize_mask

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Canvas:
    """The three sizes of one picture; padding is below and to the right."""

    full: Size  # as given
    content: Size  # scaled
    padded: Size  # whole cells, what the networks see

    def enter(self, image: Image.Image) -> Tensor:
        """Return pixels (1, 3, H, W) at the padded size; the last row and column are repeated."""
        height, width = self.content
        return self._pad(to_tensor(image.resize((width, height), Image.Resampling.BICUBIC)))

    def enter_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, H, W) of the picture at the padded size."""
        return self._pad(resize_mask(mask, self.content))

    def leave(self, image: Image.Image) -> Image.Image:
        """Return a picture of the padded size at that of the given one."""
        height, width = self.content
        content = image.crop((0, 0, width, height))
        return content.resize((self.full[1], self.full[0]), Image.Resampling.LANCZOS)

    def leave_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, h, w) of the padded picture at the scaled size, without padding."""
        return resize_mask(mask, self.padded)[..., : self.content[0], : self.content[1]]

    def _pad(self, pixels: Tensor) -> Tensor:
        below, right = (self.padded[side] - self.content[side] for side in (0, 1))
        return F.pad(pixels, (0, right, 0, below), mode="replicate")


def canvas_for(size: Size, *, side_px: int, unit_px: int) -> Canvas:
    """Return the canvas of a picture of `size` with about the area of a square of `side_px`.

    Args:
        size: Height and width in pixels.
        side_px: The side of the squares that the networks were trained on.
        unit_px: What both padded sides have to be multiples of.
    """
    scale = min(side_px / math.sqrt(size[0] * size[1]), MAX_SIDE_PX / max(size))
    content = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    padded = tuple(math.ceil(max(side, MIN_SIDE_PX) / unit_px) * unit_px for side in content)
    return Canvas(full=size, content=content, padded=(padded[0], padded[1]))
