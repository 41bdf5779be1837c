"""What the pipelines return, in the forms that diffusers knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

Images = list[Image.Image] | np.ndarray[Any, Any] | Tensor


@dataclass
class SwiftPiePipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not annotated
    """Pictures and what is known about them; everything is empty after an interrupt."""

    images: Images  # a list, an array (B, H, W, 3), a tensor (B, 3, H, W), or latents (B, C, h, w)
    masks: list[Image.Image] | None  # mode L, 255 = subject or edit; None if not asked for
    seeds: tuple[int, ...]  # empty where generators or latents were given
    timings: Mapping[str, float]  # milliseconds by stage


def nothing() -> SwiftPiePipelineOutput:
    """Return the output of an interrupted call."""
    return SwiftPiePipelineOutput(images=[], masks=[], seeds=(), timings={})


def to_output(pixels: Tensor, output_type: str) -> Tensor | np.ndarray[Any, Any]:
    """Return `pixels` (B, 3, H, W) in [-1, 1] as a tensor or array (B, H, W, 3) in [0, 1]."""
    scaled = (pixels.float().clamp(-1, 1) + 1) / 2
    if output_type == "pt":
        return scaled
    array: np.ndarray[Any, Any] = torch.movedim(scaled, 1, -1).cpu().numpy()
    return array
