"""Prompts, alone or beside a picture, to token states of a language model that sees."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2VLImageProcessorPil

from swiftpie.errors import InputError
from swiftpie.imageio.images import to_pil
from swiftpie.models.language_text import LanguageText
from swiftpie.models.vocabulary import CUT
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)

PICTURE = "<|image_pad|>"  # the token of one patch of a picture
GREY = [0.5] * 3  # mean and deviation by which pictures were normalised
BLOCK = 64  # states come in multiples of so many tokens, so that compiled networks meet few shapes


class Wording(NamedTuple):
    """What a prompt is put into, as the model was trained with it."""

    template: str  # of a whole chat, with a place for the prompt
    dropped: int  # tokens at the start of it, whose states are not read
    longest: int  # tokens of the rest, which is cut there


@dataclass(frozen=True)
class SeeingText(LanguageText):
    """A tokenizer and a language model, whose last states are read without those of its orders."""

    alone: Wording
    beside: Wording
    seen_px: int  # side of the square that a picture is stretched to

    @property
    def width(self) -> int:
        """Of a token's state."""
        return int(self.encoder.config.text_config.hidden_size)

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`; longer ones than fit are cut, with a log.

        Shapes: states (B, T, D), mask (B, T); nothing is pooled, (B, 1). Each prompt is read by
        itself, so that no row depends on another one's length.
        """
        return TextCondition.joined([self._read(prompt, self.alone, {}) for prompt in prompts])

    def encode_beside(self, prompts: list[str], pixels: Tensor) -> TextCondition:
        """Return the states of `prompts` about a picture (1, 3, H, W) in [-1, 1]; see `encode`.

        Raises:
            InputError: A prompt holds the model's own mark of a picture.
        """
        if any(PICTURE in prompt for prompt in prompts):
            raise InputError(
                f"The prompt says {PICTURE!r}, by which this model marks a picture. Leave that out."
            )
        square = (self.seen_px, self.seen_px)
        shown = to_pil(pixels)[0].resize(square, Image.Resampling.LANCZOS)
        seen = dict(self._eyes(shown, return_tensors="pt"))
        count = int(seen["image_grid_thw"].prod()) // self._eyes.merge_size**2
        wording = self.beside._replace(
            template=self.beside.template.replace(PICTURE, PICTURE * count)
        )
        return TextCondition.joined([self._read(prompt, wording, seen) for prompt in prompts])

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, 1): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), 1)

    @cached_property
    def _eyes(self) -> Qwen2VLImageProcessorPil:
        """What cuts a picture into the patches of the model."""
        vision = self.encoder.config.vision_config
        return Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
            do_resize=False,
            image_mean=GREY,
            image_std=GREY,
        )

    def _read(self, prompt: str, wording: Wording, seen: dict[str, Tensor]) -> TextCondition:
        tokens = self.tokenizer(wording.template.format(prompt))["input_ids"]
        if len(tokens) > wording.dropped + wording.longest:
            logger.warning(CUT, wording.longest)
            tokens = tokens[: wording.dropped + wording.longest]
        network: Any = self.encoder.base_model  # without a head that predicts words
        device = network.device
        ids = torch.tensor([tokens], device=device)
        given = {name: tensor.to(device) for name, tensor in seen.items()}
        if given:
            is_picture = ids == self.encoder.config.image_token_id
            given["mm_token_type_ids"] = is_picture.int()
        output = network(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **given
        )
        states = output.last_hidden_state[:, wording.dropped :]
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=device)
        room = -states.shape[1] % BLOCK
        return TextCondition(
            F.pad(states, (0, 0, 0, room)), F.pad(mask, (0, room)), states.new_zeros(1, 1)
        )
