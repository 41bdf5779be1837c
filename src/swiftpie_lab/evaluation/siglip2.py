"""SigLIP2 NaFlex as MaSC reads it: the patches of a picture, pools of some of them, and words."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import BaseImageProcessor, PreTrainedTokenizerBase, Siglip2Model

MAX_PATCHES = 1024  # of a picture, as in MaSC's own figures (arXiv:2605.22469)


@dataclass(frozen=True, eq=False)
class Siglip2:
    """Patches, pools and words in one space."""

    model: Siglip2Model
    processor: BaseImageProcessor
    tokenizer: PreTrainedTokenizerBase

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the patches (h, w, D) of a whole picture, which keeps its shape."""
        inputs = self.processor.preprocess(
            [image.convert("RGB")], max_num_patches=MAX_PATCHES, return_tensors="pt"
        )
        rows, columns = inputs["spatial_shapes"][0].tolist()
        # By position: releases of transformers call the second one differently.
        names = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
        hidden = self.model.vision_model(*(inputs[name] for name in names)).last_hidden_state
        patches: Tensor = hidden[0, : rows * columns].unflatten(0, (rows, columns))
        return patches

    @torch.no_grad()
    def pooled(self, patches: Tensor, keep: Tensor) -> Tensor:
        """Return the unit vector (1, D) that the trained pooling makes of patches.

        Args:
            patches: Of a picture, (h, w, D).
            keep: Which of them take part, (h, w), at least one.
        """
        return F.normalize(self.model.vision_model.head(patches[keep][None]), dim=-1)

    @torch.no_grad()
    def words(self, text: str) -> Tensor:
        """Return the unit vector (1, D) of a text; what is too long is cut off.

        In small letters and padded to the full length, as the network was trained; the padding
        has no mask, and the last token speaks for all.
        """
        length = self.model.config.to_dict()["text_config"]["max_position_embeddings"]
        tokens = self.tokenizer(
            text.lower(),
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=length,
        )
        hidden = self.model.text_model(input_ids=tokens["input_ids"]).pooler_output
        return F.normalize(hidden, dim=-1)
