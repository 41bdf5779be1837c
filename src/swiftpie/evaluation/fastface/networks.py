"""CLIP and the aesthetic predictor, from files that the user gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.checkpoints.safe import read_tensors
from swiftpie.errors import WeightsError, short_reason
from swiftpie.evaluation.edits.pie.clip import ClipNetwork
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD

AESTHETIC_LAYERS = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")  # all linear
NEEDS_LARGE = "needs CLIP ViT-L/14; give its folder with --clip DIR"
NOT_COMPUTED: Mapping[str, str] = {
    "clip-large": NEEDS_LARGE,
    "clip-small": "needs CLIP ViT-B/32; give its folder with --clip-small DIR",
    "style": NEEDS_LARGE,
    "aesthetic": "needs the LAION predictor (--aesthetic FILE) and CLIP ViT-L/14 (--clip DIR)",
    "image-reward": "needs ImageReward-v1.0, whose network this version does not have",
    "identity": "needs a second face encoder; give its files with --judge-models DIR",
}


@dataclass(frozen=True, eq=False)
class ClipScorer(ClipNetwork):
    """Pictures and words as vectors of length 1."""

    @property
    def width(self) -> int:
        """Numbers in a vector, D."""
        return int(self.model.config.to_dict()["projection_dim"])

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the vector (1, D) of the middle square of an RGB picture."""
        square = ImageOps.fit(image, (self.side_px,) * 2, Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(square, dtype=np.float32)).permute(2, 0, 1) / 255
        mean, deviation = (values.new_tensor(one).view(3, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
        pixels = ((values - mean) / deviation)[None]
        hidden = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(hidden), dim=-1)

    @torch.no_grad()
    def words(self, text: str) -> Tensor:
        """Return the vector (1, D) of a text; what is too long is cut off."""
        tokens = self.tokens(text)
        hidden = self.model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return F.normalize(self.model.text_projection(hidden), dim=-1)

    def similarity(self, image: Image.Image, text: str) -> float:
        """Return their cosine, -1 to 1."""
        return float((self.picture(image) * self.words(text)).sum())


@dataclass(frozen=True, eq=False)
class Aesthetic:
    """How much people would like a picture, about 1 to 10, from CLIP's vector of it."""

    layers: tuple[tuple[Tensor, Tensor], ...]  # weight and bias of each

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> float:
        """Judge one vector (1, D) of length 1."""
        for weight, bias in self.layers:
            picture = F.linear(picture, weight, bias)
        return float(picture)


@dataclass(frozen=True, eq=False)
class Networks:
    """What the user gave; None leaves the figures out that need it."""

    clip: ClipScorer | None = None
    small_clip: ClipScorer | None = None
    aesthetic: Aesthetic | None = None

    def not_computed(self, *, has_judge: bool) -> dict[str, str]:
        """Return why figures are missing, by figure."""
        present = {
            "identity": has_judge,
            "clip-large": self.clip is not None,
            "clip-small": self.small_clip is not None,
            "style": self.clip is not None,
            "aesthetic": self.aesthetic is not None and self.clip is not None,
        }
        return {name: why for name, why in NOT_COMPUTED.items() if not present.get(name)}


def load_clip(folder: Path) -> ClipScorer:
    """Read a CLIP model as transformers saves it.

    Raises:
        WeightsError: There is none in `folder`.
    """
    return ClipScorer.read(folder, what="CLIP")


def load_aesthetic(path: Path, *, width: int, allow_pickle: bool = False) -> Aesthetic:
    """Read the predictor as released, or its tensors as safetensors.

    Args:
        path: The file.
        width: Of CLIP's vectors.
        allow_pickle: The release is a pickle of plain tensors.

    Raises:
        WeightsError: It is unreadable or another network.
    """
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    try:
        layers = tuple(
            (tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float())
            for name in AESTHETIC_LAYERS
        )
        Aesthetic(layers)(torch.zeros(1, width))
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"'{path}' does not fit ({short_reason(error)}). LAION's linear predictor for vectors "
            f"of {width} numbers is needed. Get the one for CLIP ViT-L/14, or leave it out."
        ) from error
    return Aesthetic(layers)
