"""ImageReward: how much people would prefer a picture for a prompt (arXiv:2304.05977).

The package image-reward needs releases of its own of transformers and timm, so its network is put
together here from the BLIP classes of transformers, and reads the weights that it published.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipVisionConfig, PreTrainedTokenizerBase
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.config import Option
from swiftpie.errors import WeightsError, short_reason
from swiftpie_lab.evaluation.case import Metric, judged_by
from swiftpie_lab.evaluation.judges import Judge, clip_pixels
from swiftpie_lab.evaluation.metrics.aesthetic import LinearHead, read_head

MAX_TOKENS = 35  # longer prompts are cut off, shorter ones padded
MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072  # rewards that it was trained on
HEAD = 64  # numbers of an attention head, in both networks

VISION, TEXT, REWARD = "blip.visual_encoder.", "blip.text_encoder.", "mlp."
VISION_NAMES = {  # in the release, and in transformers
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "blocks": "encoder.layers",
    "attn.proj": "self_attn.projection",
    "attn": "self_attn",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "norm": "post_layernorm",
}


@dataclass(frozen=True, eq=False)
class ImageReward:
    """The reward of pictures, about -2 to 2, 0 on average."""

    vision: BlipVisionModel
    text: BlipTextModel
    head: LinearHead
    tokenizer: PreTrainedTokenizerBase

    @property
    def side_px(self) -> int:
        """Side of the squares that it sees."""
        return int(self.vision.config.image_size)  # type: ignore[arg-type]  # BLIP is square

    @torch.no_grad()
    def __call__(self, pixels: Tensor, prompt: str) -> float:
        """Judge a picture (1, 3, S, S), normalised as CLIP's are; long prompts are cut off."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        hidden = self.text(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long),
        ).last_hidden_state[:, 0]
        return (self.head(hidden) - MEAN) / DEVIATION


def image_reward_of(
    tensors: Mapping[str, Tensor], tokenizer: PreTrainedTokenizerBase
) -> ImageReward:
    """Return the network of a release, `ImageReward.pt`, whose shapes tell its sizes.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: One has another shape, or does not belong there.
        ValueError: The layers that reward have other shapes.
    """
    vision, text = (
        BlipVisionModel(_vision_config(tensors)),
        BlipTextModel(_text_config(tensors), add_pooling_layer=False),
    )
    seen = _below(tensors, VISION)
    vision.load_state_dict({_renamed(name): one for name, one in seen.items()})
    text.load_state_dict(_below(tensors, TEXT))
    networks: tuple[nn.Module, ...] = (vision, text)
    for network in networks:
        network.eval().requires_grad_(requires_grad=False)
    return ImageReward(
        vision, text, read_head(tensors, REWARD, width=text.config.hidden_size), tokenizer
    )


def read_image_reward(
    folder: Path, _given: Mapping[str, object], *, allow_pickle: bool = False
) -> ImageReward:
    """Read ImageReward-v1.0 as released, or its tensors as safetensors, or raise WeightsError."""
    paths = [
        path for end in ("safetensors", "pt") if (path := folder / f"ImageReward.{end}").is_file()
    ]
    try:
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        return image_reward_of(read_tensors(paths[0], allow_pickle=allow_pickle), tokenizer)
    except (OSError, LookupError, RuntimeError, ValueError) as error:
        reason = short_reason(error) if paths else "it has no ImageReward.pt"
        raise WeightsError(
            f"'{folder}' cannot be read ({reason}). A folder with ImageReward.pt of "
            "THUDM/ImageReward and the tokenizer of bert-base-uncased is needed; a pickle needs "
            "--allow-pickle. Check --image-reward."
        ) from error


def reward(network: ImageReward, image: Image.Image, prompt: str) -> float:
    """Return how much people would prefer a picture for its prompt, 0 on average."""
    return network(clip_pixels(image, side_px=network.side_px), prompt)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor.float()
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.endswith("position_ids")
    }


def _renamed(name: str) -> str:
    """Return what transformers calls a tensor of the vision transformer."""
    parts = "|".join(map(re.escape, VISION_NAMES))  # longer names stand before their beginnings
    return re.sub(rf"\b({parts})\b", lambda found: VISION_NAMES[found[0]], name)


def _vision_config(released: Mapping[str, Tensor]) -> BlipVisionConfig:
    tensors = _below(released, VISION)
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    cells = tensors["pos_embed"].shape[1] - 1
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=len(tensors["blocks.0.mlp.fc1.weight"]),
        num_hidden_layers=_count(tensors, "blocks"),
        num_attention_heads=width // HEAD,
        image_size=patch * round(cells**0.5),
        patch_size=patch,
        layer_norm_eps=1e-6,
    )


def _text_config(released: Mapping[str, Tensor]) -> BlipTextConfig:
    tensors = _below(released, TEXT)
    words, width = tensors["embeddings.word_embeddings.weight"].shape
    return BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=tensors["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(tensors["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=_count(tensors, "encoder.layer"),
        num_attention_heads=width // HEAD,
        max_position_embeddings=len(tensors["embeddings.position_embeddings.weight"]),
        layer_norm_eps=1e-12,
        is_decoder=True,  # it looks at the picture; its own tokens see each other all the same
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        sep_token_id=None,
    )


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many layers stand below a name."""
    place = prefix.count(".") + 1
    return 1 + max(int(name.split(".")[place]) for name in tensors if name.startswith(f"{prefix}."))


JUDGE = Judge(
    Option("ImageReward-v1.0 with its tokenizer, for what people prefer.", "DIR"),
    "needs ImageReward-v1.0; give its folder with --image-reward DIR",
    read_image_reward,
)
METRICS = {
    "image-reward": Metric(
        "image quality: ImageReward",
        judged_by("image_reward", reward, "image", "prompt"),
        needs="image_reward",
    )
}
