"""CLIP and DINO as PIE-Bench uses them, from folders that the user gives."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTModel

from swiftpie.errors import WeightsError
from swiftpie.evaluation.edits.pie.clip import ClipNetwork, unreadable
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD

logger = logging.getLogger(__name__)

DINO_SIDE_PX, DINO_MAX_PX = 224, 480  # of the shorter and the longer side
DINO_PATCH_PX, DINO_WIDTH = 8, 768  # ViT-B/8
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_PATCH_PX, CLIP_WIDTH = 14, 1024  # ViT-L/14
TINY = 1e-8


@dataclass(frozen=True, eq=False)
class Clip(ClipNetwork):
    """Similarity of picture and text."""

    @torch.no_grad()
    def similarity(self, image: Image.Image, prompt: str) -> float:
        """Return 100 times their cosine, 0 where that is negative."""
        words = self.tokens(prompt)
        output = self.model(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            pixel_values=_for_clip(image, side_px=self.side_px),
        )
        cosine = F.cosine_similarity(output.image_embeds, output.text_embeds)
        return 100 * max(float(cosine), 0.0)


@dataclass(frozen=True, eq=False)
class Dino:
    """Distance of two pictures' structure: how their parts resemble each other."""

    model: ViTModel

    def distance(self, first: Image.Image, second: Image.Image) -> float:
        """Return the mean squared difference of their self-similarities."""
        return float(F.mse_loss(self._self_similarity(second), self._self_similarity(first)))

    @torch.no_grad()
    def _self_similarity(self, image: Image.Image) -> Tensor:
        """Return cosines (T, T) between the last block's keys, heads side by side."""
        keys: list[Tensor] = []
        layer = _last_key_layer(self.model)
        handle = layer.register_forward_hook(lambda _layer, _inputs, output: keys.append(output))
        try:
            self.model(pixel_values=_for_dino(image), interpolate_pos_encoding=True)
        finally:
            handle.remove()
        tokens = keys[0][0]
        length = tokens.norm(dim=1, keepdim=True)
        similarity: Tensor = (tokens @ tokens.T) / (length @ length.T).clamp_min(TINY)
        return similarity


def load_clip(folder: Path) -> Clip:
    """Read a CLIP model as transformers saves it.

    Raises:
        WeightsError: There is none in `folder`.
    """
    clip = Clip.read(folder, what="CLIP ViT-L/14")
    vision = clip.model.config.to_dict()["vision_config"]
    if (vision["patch_size"], vision["hidden_size"]) != (CLIP_PATCH_PX, CLIP_WIDTH):
        logger.warning("'%s' is not CLIP ViT-L/14; its figures cannot be compared.", folder)
    return clip


def load_dino(folder: Path) -> Dino:
    """Read a DINO vision transformer as transformers saves it.

    Raises:
        WeightsError: There is none in `folder`.
    """
    try:
        model = ViTModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(unreadable(folder, "DINO ViT-B/8", error)) from error
    if (model.config.patch_size, model.config.hidden_size) != (DINO_PATCH_PX, DINO_WIDTH):
        logger.warning("'%s' is not DINO ViT-B/8; its figures cannot be compared.", folder)
    return Dino(model.float().eval().requires_grad_(False))


def _for_clip(image: Image.Image, *, side_px: int) -> Tensor:
    """Return the middle square (1, 3, S, S) as CLIP's own preparation cuts it."""
    scale = side_px / min(image.size)
    size = (max(side_px, int(image.width * scale)), max(side_px, int(image.height * scale)))
    left, top = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    middle = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    middle = middle.crop((left, top, left + side_px, top + side_px))
    values = torch.from_numpy(np.array(middle, dtype=np.float32)).permute(2, 0, 1)[None] / 255
    return _normalise(values, CLIP_MEAN, CLIP_STD)


def _for_dino(image: Image.Image) -> Tensor:
    """Return pixels (1, 3, h, w) normalised without a division by 255, as the benchmark does."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    shorter, longer = sorted(image.size)
    scale = min(DINO_SIDE_PX / shorter, DINO_MAX_PX / longer)
    size = [max(1, int(side * scale + TINY)) for side in (image.height, image.width)]
    resized = F.interpolate(
        values.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True
    )
    return _normalise(resized, IMAGENET_MEAN, IMAGENET_STD)


def _normalise(
    values: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    return (values - values.new_tensor(mean).view(1, 3, 1, 1)) / values.new_tensor(std).view(
        1, 3, 1, 1
    )


def _last_key_layer(model: ViTModel) -> nn.Module:
    """Return the layer that makes the keys of the last block; releases name it differently."""
    names = (".k_proj", ".key")
    layers = [layer for name, layer in model.named_modules() if name.endswith(names)]
    last: nn.Module = layers[-1]
    return last
