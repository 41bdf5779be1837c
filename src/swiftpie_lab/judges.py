"""Networks that judge: which subject a picture shows, and further questions about it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.errors import WeightsError
from swiftpie.geometry.layout import pixel_grid

JUDGE_PX = 64  # side of the pictures that judges look at
WHOLE_PX = 128  # side of whole pictures of the larger world
CROP_MARGIN = 0.1  # share of the subject's longer side that keeps its outline inside the crop

_SOLID = 0.5  # mask above which a pixel belongs to the subject
_WIDER = 1.8  # than a subject is what lies around it
_MIN_SIDE = 0.1  # least share of the picture; a nearly hidden subject still gives a useful crop

TRAIN_JUDGES = "Train them with `swiftpie train world-judges` and pass the folder of the export."


class ConvBlock(nn.Module):
    """Two normalised 3 x 3 convolutions added to their input."""

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        added: Tensor = hidden + self.layers(hidden)
        return added


class Crops(NamedTuple):
    """Square regions of pictures; coordinates span [-1, 1] as in `swiftpie.geometry.layout`."""

    centre: Tensor  # (B, 2) x and y
    side: Tensor  # (B,) 2 = the whole picture


class SubjectEmbedder(ModelMixin, ConfigMixin):
    """Crops (B, 3, 64, 64) in [-1, 1] to unit vectors (B, D); one subject, one direction."""

    @register_to_config
    def __init__(
        self, dimensions: int = 96, widths: tuple[int, ...] = (32, 64, 88, 104), squeeze: int = 12
    ) -> None:
        super().__init__()
        self.trunk = _trunk(widths)
        self.part = nn.Conv2d(widths[-1], squeeze, 1)
        self.head = nn.Linear(2 * widths[-1] + squeeze * 16, dimensions)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return unit vectors (B, D)."""
        cells = self.trunk(pixels)
        # Parts are distinguished by what they are, and a little by where they are.
        parts = [cells.mean((2, 3)), cells.amax((2, 3)), self.part(cells).flatten(1)]
        return F.normalize(self.head(torch.cat(parts, dim=1)).float(), dim=1)


class PictureReader(ModelMixin, ConfigMixin):
    """Answers questions about pictures of the larger world.

    Places and skies need the whole picture; what a subject is made of, wears or does is looked for
    in its crop and around it, and compared with its reference, which shows it before any change.
    """

    @register_to_config
    def __init__(
        self,
        whole: Mapping[str, int],
        close: Mapping[str, int],
        widths: tuple[int, ...] = (32, 64, 96, 112),
    ) -> None:
        """Make an untrained judge of questions about whole and close pictures, by their answers."""
        super().__init__()
        self.scenery, self.subject = _trunk(widths, fold=4), _trunk(widths, channels=9)
        cells = 16 * widths[-1]
        self.seen_whole, self.seen_close = nn.Linear(cells, 128), nn.Linear(cells, 128)
        self.whole_heads = nn.ModuleDict(
            {name: nn.Linear(128, count) for name, count in whole.items()}
        )
        self.close_heads = nn.ModuleDict(
            {name: nn.Linear(128, count) for name, count in close.items()}
        )

    def forward(self, whole: Tensor, close: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """Return logits (B, answers) by question.

        `whole` (B, 3, 128, 128) are pictures in [-1, 1], `close` (B, 6, 64, 64) crops of them as
        `close_and_around` makes them, and `reference` (B, 3, 64, 64) those of the references.
        """
        scenery = F.silu(self.seen_whole(self.scenery(whole).flatten(1)))
        both = torch.cat([close, reference], dim=1)
        subject = F.silu(self.seen_close(self.subject(both).flatten(1)))
        answers = {name: head(scenery).float() for name, head in self.whole_heads.items()}
        return answers | {name: head(subject).float() for name, head in self.close_heads.items()}


def load_judges(
    folder: Path, whole: Mapping[str, Sequence[str]], close: Mapping[str, Sequence[str]]
) -> tuple[SubjectEmbedder, PictureReader]:
    """Read judges of whole pictures and of subjects from an export; WeightsError if they differ."""
    try:
        embedder = SubjectEmbedder.from_pretrained(
            folder / "subject_embedder", local_files_only=True
        )
        reader = PictureReader.from_pretrained(folder / "picture_reader", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"'{folder}' holds no judges of the larger world that can be read. The folders "
            f"subject_embedder and picture_reader are needed. {TRAIN_JUDGES}"
        ) from error
    for kind, questions in {"whole": whole, "close": close}.items():
        if reader.config[kind] != {name: len(answers) for name, answers in questions.items()}:
            raise WeightsError(
                f"The judges in '{folder}' answer other questions than this version asks. "
                f"Judges of this version are needed. {TRAIN_JUDGES}"
            )
    return embedder.float(), reader.float()


def subject_crops(mask: Tensor) -> Crops:
    """Return the square around the subject of each mask (B, 1, H, W), with a margin.

    An empty mask gives the whole picture.
    """
    solid = mask[:, 0] > _SOLID
    low, high = [], []
    for other_axis in (1, 2):
        line = solid.any(dim=other_axis)
        count = line.shape[1]
        edge = torch.arange(count, device=mask.device) * 2 / count - 1
        low.append(torch.where(line, edge, 1.0).amin(1))
        high.append(torch.where(line, edge + 2 / count, -1.0).amax(1))
    first, last = torch.stack(low, 1), torch.stack(high, 1)
    side = (last - first).amax(1) * (1 + 2 * CROP_MARGIN)
    is_empty = ~solid.flatten(1).any(1)
    return Crops(
        centre=torch.where(is_empty[:, None], 0.0, (first + last) / 2),
        side=torch.where(is_empty, 2.0, side.clamp_min(2 * _MIN_SIDE)),
    )


def cut(pixels: Tensor, crops: Crops) -> Tensor:
    """Return the crops (B, 3, 64, 64) of `pixels` (B, 3, H, W); its edge goes on outside."""
    grid = pixel_grid(JUDGE_PX, JUDGE_PX, like=pixels)
    points = crops.centre[:, None, None] + grid * (crops.side / 2)[:, None, None, None]
    return F.grid_sample(pixels, points, align_corners=False, padding_mode="border")


def close_and_around(pixels: Tensor, crops: Crops) -> Tensor:
    """Return the crops (B, 6, 64, 64) of `pixels` (B, 3, H, W), and wider ones behind them.

    The wider ones show whether the subject stands on something.
    """
    wider = Crops(crops.centre, crops.side * _WIDER)
    return torch.cat([cut(pixels, crops), cut(pixels, wider)], dim=1)


def shrink(pixels: Tensor, side_px: int = JUDGE_PX) -> Tensor:
    """Return whole pictures (B, 3, S, S), 64 px unless said, of `pixels` (B, 3, H, W)."""
    size = (side_px, side_px)
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)


def _trunk(widths: tuple[int, ...], *, fold: int = 2, channels: int = 3) -> nn.Sequential:
    # Of pictures of `fold` times 32 px a side, to 4 x 4 cells.
    first, second, third, last = widths
    return nn.Sequential(
        nn.PixelUnshuffle(fold),
        nn.Conv2d(channels * fold**2, first, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        ConvBlock(second),
        nn.Conv2d(second, third, 3, stride=2, padding=1),
        ConvBlock(third),
        nn.SiLU(),
        nn.Conv2d(third, last, 3, stride=2, padding=1),
        nn.GroupNorm(8, last),
        nn.SiLU(),
        nn.Conv2d(last, last, 3, padding=1),
        nn.SiLU(),
    )
