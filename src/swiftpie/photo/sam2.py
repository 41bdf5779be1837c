"""Segment Anything 2 (arXiv:2408.00714): what a box and points of a photograph show."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import WeightsError, short_reason
from swiftpie.photo.networks import PhotoNetwork
from swiftpie.photo.search import Search


@torch.no_grad()
def segment(network: PhotoNetwork, picture: Tensor, search: Search) -> Tensor:
    """Return how likely pixels (1, 1, H, W) show what the box or points of a search are on.

    The picture (1, 3, H, W) in [0, 1] is squeezed to a square.
    """
    network.check_place()
    weights, settings = (file.place for file in network.files)
    model = _opened(weights, settings, weights.stat().st_mtime_ns)
    side = model.config.prompt_encoder_config.image_size
    small = F.interpolate(picture, (side, side), mode="bilinear", antialias=True)
    mean, deviation = torch.tensor([network.mean, network.deviation]).view(2, 1, 3, 1, 1)
    hints = dict[str, Tensor]()
    if points := [*search.points, *search.background]:
        labels = [1] * len(search.points) + [0] * len(search.background)
        hints["input_points"] = side * torch.tensor([[points]])
        hints["input_labels"] = torch.tensor([[labels]])
    if search.box is not None:
        hints["input_boxes"] = side * torch.tensor([[search.box]])
    odds = model((small - mean) / deviation, **hints, multimask_output=False).pred_masks[:, 0]
    return F.interpolate(odds, picture.shape[2:], mode="bilinear").sigmoid()


@functools.lru_cache(maxsize=1)
def _opened(weights: Path, settings: Path, _changed: int) -> Any:  # noqa: ANN401 - of a later import
    from transformers import Sam2Config, Sam2Model

    try:
        config = Sam2Config(**json.loads(settings.read_text(encoding="utf-8")))
        loaded: Any = Sam2Model.from_pretrained(
            None, config=config, state_dict=load_file(weights), output_loading_info=True
        )
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"no {missing[0]}")
    except (SafetensorError, ValueError, RuntimeError) as error:
        reason = f"'{weights}' and '{settings.name}' are not its files: {short_reason(error)}"
        raise WeightsError(f"{reason} Remove both and run `swiftpie fetch sam2`.") from error
    return model.eval()
