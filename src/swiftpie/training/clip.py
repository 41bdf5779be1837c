"""How well pictures fit prompts, judged by any CLIP model of the user."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from swiftpie.errors import WeightsError, short_reason
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation


@dataclass(frozen=True, eq=False)
class PromptJudge:
    """A frozen model with a tower for pictures and one for texts.

    With `shortfall` of its cosine it makes the clamped loss of arXiv:2408.14176, whose threshold
    of 0.35 is for CLIP ViT-B/32; another model needs another one.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    mean: Tensor  # (1, 3, 1, 1) of pixels in [0, 1]
    std: Tensor  # (1, 3, 1, 1)

    def cosine(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return how alike picture and prompt are, (B,) in [-1, 1]; pixels get a gradient.

        Args:
            pixels: Square pictures (B, 3, H, W) in [-1, 1].
            prompts: One a picture; what is too long is cut off.
        """
        side = int(self.model.config.vision_config.image_size)
        picture = F.interpolate(
            pixels, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )
        picture = (picture / 2 + 0.5 - self.mean) / self.std
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=int(self.model.config.text_config.max_position_embeddings),
            return_tensors="pt",
        )
        output = self.model(pixel_values=picture, **tokens.to(pixels.device))
        return F.cosine_similarity(output.image_embeds.float(), output.text_embeds.float(), dim=1)


def read_judge(folder: Path, device: torch.device) -> PromptJudge:
    """Return the model that transformers saved in `folder`, in float32.

    Raises:
        WeightsError: There is none, or it has only one tower.
    """
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, LookupError) as error:
        raise WeightsError(
            f"There is no CLIP model in '{folder}' ({short_reason(error)}). A folder that "
            "transformers saved, with both towers as safetensors and the tokenizer, is needed to "
            "compare pictures with prompts. Check the path."
        ) from error
    if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
        raise WeightsError(
            f"The model in '{folder}' is a {type(model).__name__}, which does not compare pictures "
            "and texts. A model with both towers of CLIP is needed. Choose another folder."
        )
    network = model.float().to(device).eval().requires_grad_(requires_grad=False)
    mean, std = read_normalisation(folder, device, usual=(CLIP_MEAN, CLIP_STD))
    return PromptJudge(network, tokenizer, mean, std)


def read_normalisation(
    folder: Path, device: torch.device, *, usual: Normalisation
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (1, 3, 1, 1) that pictures of a vision model are brought to.

    `usual` is what holds where the folder does not say.
    """
    path = folder / "preprocessor_config.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    mean = torch.tensor(stored.get("image_mean", usual[0]), device=device)
    std = torch.tensor(stored.get("image_std", usual[1]), device=device)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
