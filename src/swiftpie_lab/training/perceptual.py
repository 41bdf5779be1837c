"""How alike pictures look, and how well they fit prompts, in the features of networks."""

import importlib.resources
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from swiftpie.errors import WeightsError, short_reason
from swiftpie.masks import resize_mask
from swiftpie.models.autoencoder import LatentAutoencoder, PatchAutoencoder
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie_lab.judges import SubjectEmbedder, shrink
from swiftpie_lab.training.losses import gradient_l1

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL_SIZE_PX = 224


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
        """Return how alike square pictures and prompts are, (B,) in [-1, 1].

        Pixels (B, 3, H, W) in [-1, 1] get a gradient; what is too long of a prompt is cut off.
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


NORMALISATION = ("image_mean", "image_std")  # in the file that says how pictures are prepared


def read_normalisation(
    folder: Path, device: torch.device, *, usual: Normalisation
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (1, 3, 1, 1) that pictures of a vision model are brought to.

    `usual` is what holds where the folder does not say.

    Raises:
        WeightsError: The folder says something else.
    """
    path = folder / "preprocessor_config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        said = [stored.get(name, one) for name, one in zip(NORMALISATION, usual, strict=True)]
        mean, std = (torch.tensor(one, device=device).view(1, 3, 1, 1) for one in said)
    except Exception as error:  # unchecked JSON can have any type
        raise WeightsError(f"'{path}' is damaged ({short_reason(error)}). Get it again.") from error
    return mean, std


Compare: TypeAlias = Callable[[Tensor, Tensor], list[Tensor]]
"""Takes two batches of pixels (B, 3, H, W) in [-1, 1], returns distance maps (B, 1, h, w) >= 0 of
any sizes; the first batch gets the gradient."""

Extract: TypeAlias = Callable[[Tensor], list[Tensor]]


def feature_distance(extract: Extract) -> Compare:
    """Return the squared distance of features (B, C, h, w) brought to unit length in each place."""

    def compare(prediction: Tensor, target: Tensor) -> list[Tensor]:
        with torch.no_grad():
            wanted = extract(target)
        pairs = zip(extract(prediction), wanted, strict=True)
        units = [[F.normalize(x.float(), dim=1, eps=1e-6) for x in pair] for pair in pairs]
        return [(a - b).square().sum(1, keepdim=True) for a, b in units]

    return compare


def masked_mean(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w) where `mask` (B, 1, H, W) is, averaged over maps."""
    means = []
    for one in maps:
        weight = resize_mask(mask, (one.shape[2], one.shape[3]))
        means.append((one * weight).sum() / weight.sum().clamp_min(1e-6))
    return torch.stack(means).mean()


def perceptual_distance(
    folder: Path | None, autoencoder: LatentAutoencoder, device: torch.device
) -> Compare:
    """Compare in the features of the vision model in `folder`; of the autoencoder if none.

    Raises:
        WeightsError: There is no model.
    """
    if folder is None:
        encoder = autoencoder.network.encoder
        if autoencoder.is_tiny:
            every = _outputs_of(encoder.layers, prepare=nn.Identity())
            return feature_distance(lambda pixels: _last_of_each_size(every(pixels)))
        return feature_distance(_outputs_of(encoder.down_blocks, prepare=encoder.conv_in))
    return feature_distance(model_features(folder, device))


def model_features(folder: Path, device: torch.device) -> Extract:
    """Return the hidden states of a vision model that transformers saved in `folder`.

    Raises:
        WeightsError: There is none.
    """
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, LookupError) as error:
        raise WeightsError(
            f"There is no vision model in '{folder}' ({short_reason(error)}). A folder that "
            "transformers saved, with safetensors, is needed for stage.perceptual. Check the path."
        ) from error
    network: nn.Module = getattr(model, "vision_model", model)
    network = network.to(device).eval().requires_grad_(requires_grad=False)
    mean, std = read_normalisation(folder, device, usual=(IMAGENET_MEAN, IMAGENET_STD))
    size = getattr(network.config, "image_size", None) or USUAL_SIZE_PX
    side = int(size[0] if isinstance(size, list | tuple) else size)

    def extract(pixels: Tensor) -> list[Tensor]:
        picture = F.interpolate(
            pixels, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )
        output = network((picture / 2 + 0.5 - mean) / std, output_hidden_states=True)
        return [_as_map(states) for states in output.hidden_states[1:]]

    return extract


def _last_of_each_size(features: list[Tensor]) -> list[Tensor]:
    return list({feature.shape[-1]: feature for feature in features}.values())


def _as_map(states: Tensor) -> Tensor:
    """Return tokens (B, N, D) as (B, D, h, w), without class and register tokens."""
    if states.ndim == 4:
        return states
    side = math.isqrt(states.shape[1])
    places = states[:, -side * side :].transpose(1, 2)
    return torch.unflatten(places, 2, (side, side))


def picture_distance(pixels: Tensor, truth: Tensor, compares: Sequence[Compare] = ()) -> Tensor:
    """Return how far `pixels` (B, 3, H, W) are from `truth`: in value, in edges and in features.

    SwiftEdit's paper takes DISTS (`training.dists`), whose VGG16 is too large to ship.
    """
    plain = F.l1_loss(pixels, truth) + gradient_l1(pixels, truth)
    maps = [one.mean() for compare in compares for one in compare(pixels, truth)]
    return plain + torch.stack(maps).mean() if maps else plain


def compare_in_autoencoder(autoencoder: PatchAutoencoder) -> Compare:
    """Compare in everything that the small autoencoder's encoder sees."""
    return feature_distance(_outputs_of(autoencoder.residual_encoder, prepare=nn.Identity()))


def compare_in_judge(device: torch.device) -> Compare:
    """Compare in what the packaged judge of subjects sees."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie_lab")) as package:
        judge = SubjectEmbedder.from_pretrained(package / "assets/judges/subject_embedder")
    frozen = judge.float().to(device).eval().requires_grad_(requires_grad=False)
    return feature_distance(_outputs_of(frozen.trunk, prepare=shrink))


def _outputs_of(layers: Iterable[nn.Module], *, prepare: Callable[[Tensor], Tensor]) -> Extract:

    def extract(pixels: Tensor) -> list[Tensor]:
        hidden, features = prepare(pixels), []
        for layer in layers:
            hidden = layer(hidden)
            features.append(hidden)
        return features

    return extract
