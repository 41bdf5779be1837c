"""LAION's aesthetic predictor: how much people would like a picture, from CLIP's vector of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.config import Option
from swiftpie.errors import ConfigError, WeightsError
from swiftpie_lab.evaluation.case import Metric, judged_by
from swiftpie_lab.evaluation.judges import Clip, Judge

WIDTH = 768  # numbers of a vector of CLIP ViT-L/14
WIDTHS = (1024, 128, 64, 16, 1)  # numbers that each linear layer gives
PLACES = (0, 2, 4, 6, 7)  # of the layers, among dropouts; nothing bends between them


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Linear layers one after the other."""

    layers: tuple[tuple[Tensor, Tensor], ...]  # weight and bias of each

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> float:
        """Return the number that a vector (1, D) gets."""
        for weight, bias in self.layers:
            vector = F.linear(vector, weight, bias)
        return float(vector)


def read_head(tensors: Mapping[str, Tensor], prefix: str = "", *, width: int = WIDTH) -> LinearHead:
    """Return the predictor under a prefix of names; ImageReward's has the same layers.

    Raises:
        KeyError: A layer is missing.
        ValueError: One has another shape.
    """
    found = []
    for place, (inner, outer) in zip(PLACES, pairwise((width, *WIDTHS)), strict=True):
        weight, bias = (tensors[f"{prefix}layers.{place}.{kind}"] for kind in ("weight", "bias"))
        if (weight.shape, bias.shape) != ((outer, inner), (outer,)):
            raise ValueError(f"layer {place} maps other than {inner} numbers to {outer}")
        found.append((weight.float(), bias.float()))
    return LinearHead(tuple(found))


def read_aesthetic(
    path: Path, given: Mapping[str, object], *, allow_pickle: bool = False
) -> LinearHead:
    """Read the predictor as released, or its tensors as safetensors.

    Raises:
        ConfigError: CLIP is not given, or is a smaller one.
        WeightsError: The file is unreadable or another network.
    """
    clip = given.get("clip")
    if not isinstance(clip, Clip) or clip.model.visual_projection.out_features != WIDTH:
        raise ConfigError(
            "--aesthetic judges vectors of CLIP ViT-L/14, which is not given. Its folder is "
            "needed. Give it with --clip DIR."
        )
    try:
        return read_head(read_tensors(path, allow_pickle=allow_pickle))
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is another network ({error}). LAION's linear predictor for CLIP ViT-L/14, "
            "ava+logos-l14-linearMSE.pth, is needed. Check --aesthetic."
        ) from error


def aesthetic(head: LinearHead, clip: Clip, image: Image.Image) -> float:
    """Return how much people would like a picture, about 1 to 10."""
    return head(clip.picture(image))


JUDGE = Judge(
    Option("LAION's aesthetic predictor, with --clip.", "FILE"),
    "needs LAION's predictor (--aesthetic FILE) and CLIP ViT-L/14 (--clip DIR)",
    read_aesthetic,
)
METRICS = {
    "aesthetic": Metric(
        "image quality: LAION aesthetic score",
        judged_by("aesthetic", aesthetic, "networks.clip", "image"),
        needs="aesthetic",
    )
}
