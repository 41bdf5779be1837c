"""What a caller may choose about loading, beyond the preset's name."""

from pathlib import Path
from typing import TypedDict

import torch

from swiftpie.attention.install import Plan
from swiftpie.models.projection import FaceVersion


class Choices(TypedDict, total=False):
    """Keywords of `swiftpie.load`; what is left out or None is the preset's own."""

    dtype: torch.dtype | None  # of networks of others; the mini model is float32 always
    steps: int | None  # of denoising; one of the counts that the weights were trained for
    weights: str | Path | None  # a folder, or a file for presets that are one
    base: str | Path | None  # a folder, or OWNER/NAME on the hub, that lends the other networks
    adapter: str | Path | None  # identity adapter: SwiftPie's, IP-Adapter's or SwiftEdit's file
    image_encoder: str | Path | None  # folder of the CLIP encoder that the adapter reads
    face_version: FaceVersion | None  # of FaceID Plus; None: what the published name says
    lora_scale: float | None  # of the LoRA in FaceID adapters, 0 to 2; None: 1
    inversion: str | Path | None  # folder of SwiftEdit's inversion network, for edits
    reference: str | Path | None  # folder of a U-Net that reads references; None: the denoiser
    plan: Plan | None  # which layers get which branch; None: what the adapter was made for
    allow_pickle: bool  # also read plain tensors out of pickles, without running code in them
    offline: bool  # read only what the hub's cache on this machine already holds
