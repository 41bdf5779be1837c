"""What full-size models are asked for in benchmarks, the same for everyone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from benchmarks._models import reference

SUBJECT = "a red cube"
PLACES = ("on the moon", "on a beach", "in a forest", "at night", "in the snow", "under water")


@dataclass(frozen=True)
class Scene:
    """A model on disk and the size of its pictures."""

    folder: Path
    family: str
    dtype: torch.dtype
    device: torch.device
    side_px: int
    batch: int = 1
    can_edit: bool = True

    @property
    def subject(self) -> Image.Image:
        """The reference, on a transparent ground."""
        return reference(self.side_px)

    @property
    def on_white(self) -> Image.Image:
        """The reference without transparency, which others do not read."""
        ground = Image.new("RGBA", (self.side_px, self.side_px), "white")
        return Image.alpha_composite(ground, self.subject).convert("RGB")

    def picture(self, number: int) -> Image.Image:
        """Return a picture to edit, another one for each round."""
        ground = Image.new("RGBA", (self.side_px, self.side_px), (40, 90, 40 * (number % 6), 255))
        return Image.alpha_composite(ground, self.subject).convert("RGB")


def prompt(number: int, *, ahead: int = 0) -> str:
    """Return a prompt, another one for each round; `ahead` moves its subject elsewhere."""
    return f"{SUBJECT} {PLACES[(number + ahead) % len(PLACES)]}"
