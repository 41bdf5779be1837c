"""Prompts, alone or beside a picture, to token states of a language model that sees."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2VLImageProcessorPil

from swiftpie.errors import InputError
from swiftpie.imageio.images import to_pil
from swiftpie.models.language_text import LanguageText, Reading
from swiftpie.models.vocabulary import CUT
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)

PICTURE = "<|image_pad|>"  # the token of one patch of a picture
GREY = [0.5] * 3  # mean and deviation by which pictures were normalised
BLOCK = 64  # states come in multiples of so many tokens, so that compiled networks meet few shapes


class PatchProjection(nn.Conv3d):
    """The convolution that enters patches, as the product of matrices that it is.

    A patch is as large as the kernel, and PyTorch's convolutions are slow where they have no room
    to move.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """Return (P, D, 1, 1, 1) of patches (P, C, t, h, w), each as large as the kernel."""
        entered = F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
        return entered[:, :, None, None, None]


class Wording(NamedTuple):
    """What a prompt is put into, as the model was trained with it."""

    template: str  # of a whole chat, with a place for the prompt
    dropped: int  # tokens at its start, the same for all prompts, whose states are not read
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
        return TextCondition.joined([self._read(prompt, self.alone) for prompt in prompts])

    def look(self, pixels: Tensor) -> Reading:
        """Read the order and a picture (1, 3, H, W) in [-1, 1], for prompts that follow it."""
        square = (self.seen_px, self.seen_px)
        shown = to_pil(pixels)[0].resize(square, Image.Resampling.LANCZOS)
        device = self.network.device
        seen = {k: v.to(device) for k, v in self._eyes(shown, return_tensors="pt").items()}
        merge = self._eyes.merge_size
        count = int(seen["image_grid_thw"].prod()) // merge**2
        mark = self.encoder.config.image_token_id
        words = self._tokens("", self.beside)
        place = words.index(mark)
        tokens = [*words[:place], *[mark] * count]
        before = self.opening(tokens[: self.beside.dropped])
        tokens = tokens[self.beside.dropped :]
        kinds = (torch.tensor([tokens], device=device) == mark).int()
        positions, _ = self.network.get_rope_index(
            torch.tensor([tokens], device=device),
            mm_token_type_ids=kinds,
            image_grid_thw=seen["image_grid_thw"],
        )
        return self.follow(tokens, before, positions, mm_token_type_ids=kinds, **seen)

    def encode_beside(self, prompts: list[str], seen: Reading) -> TextCondition:
        """Return the states of `prompts` about what `look` has `seen`; see `encode`.

        Raises:
            InputError: A prompt holds the model's own mark of a picture.
        """
        if any(PICTURE in prompt for prompt in prompts):
            raise InputError(
                f"The prompt says {PICTURE!r}, by which this model marks a picture. Leave that out."
            )
        return TextCondition.joined([self._read(prompt, self.beside, seen) for prompt in prompts])

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

    def _tokens(self, prompt: str, wording: Wording) -> list[int]:
        tokens: list[int] = self.tokenizer(wording.template.format(prompt))["input_ids"]
        return tokens

    def _read(self, prompt: str, wording: Wording, seen: Reading | None = None) -> TextCondition:
        tokens = self._tokens(prompt, wording)
        if seen is not None:  # in the place of the mark
            place = tokens.index(self.encoder.config.image_token_id)
            tokens = [*seen.tokens, *tokens[place + 1 :]]
        if len(tokens) > wording.dropped + wording.longest:
            logger.warning(CUT, wording.longest)
            tokens = tokens[: wording.dropped + wording.longest]
        before = self.opening(tokens[: wording.dropped]) if seen is None else seen
        states = self.follow(tokens[len(before.tokens) :], before).states
        if seen is not None:
            states = torch.cat([seen.states, states], dim=1)
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        room = -states.shape[1] % BLOCK
        return TextCondition(
            F.pad(states, (0, 0, 0, room)), F.pad(mask, (0, room)), states.new_zeros(1, 1)
        )
