"""Values that travel between the layers, and the protocols that networks obey.

Shape letters used in every docstring: `B` batch, `R` reference pictures, `K` identity tokens,
`T` text tokens, `N` image tokens of an attention layer, `D` width, `C` channels, `H W` pixels,
`h w` latent cells. Pixels are in [-1, 1], masks in [0, 1] with 1 = subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from PIL import Image

from swiftpie.imageio.cutout import DOUBTFUL, Way

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from swiftpie.geometry.layout import Layout
    from swiftpie.library import Named


class TextCondition(NamedTuple):
    """A batch of encoded prompts."""

    hidden_states: "Tensor"  # (B, T, D)
    attention_mask: "Tensor"  # (B, T) 1 = token, 0 = padding
    pooled: "Tensor"  # (B, D) one vector a prompt

    def repeat(self, batch: int) -> Self:
        """Return a single prompt as `batch` rows."""
        return type(self)(*(one.expand(batch, *one.shape[1:]) for one in self))


Prompts = str | tuple[str, ...] | TextCondition
"""One prompt for all pictures, one a picture, or such rows already encoded."""


class Cutout(NamedTuple):
    """How the subject was told from the rest of one reference picture."""

    way: str  # one of `swiftpie.imageio.cutout.Way`, with the model's name for rembg
    confidence: float | None  # in [0, 1]; None where nobody can say

    def __str__(self) -> str:
        return self.way if self.confidence is None else f"{self.way} {self.confidence:.2f}"

    @property
    def is_doubtful(self) -> bool:
        """Whether most found this way are bad; of other networks than ours nobody measured it."""
        is_unsure = self.confidence is not None and self.confidence < DOUBTFUL
        return self.way == Way.COLOUR or (self.way == Way.NETWORK and is_unsure)


@dataclass(frozen=True)
class Identity:
    """One subject, encoded once and reusable for any number of pictures.

    `keys` and `values` belong to the detail branch: for every self-attention layer, by its module
    path, the projected features of all reference pictures, one behind the other.
    """

    preset: str  # the preset whose networks encoded it
    fingerprint: str  # sha256 over the networks, the pictures and their masks
    tokens: "Tensor"  # (1, K, D) semantic branch
    pooled: "Tensor"  # (1, D)
    keys: "Mapping[str, Tensor]"  # each (1, R*N, D_layer)
    values: "Mapping[str, Tensor]"  # each (1, R*N, D_layer)
    pixels: "Tensor"  # (R, 3, H, W) canonical reference frames, grey outside the subject
    mask: "Tensor"  # (R, 1, H, W) the subject in them
    cutouts: tuple[Cutout, ...] = ()  # of each; none where they were not looked for in pictures
    named: "Named | None" = None  # by which word it was taken from the library, if it was
    large: "Tensor | None" = None  # (1, 4, S', S') in 8 bit, on the processor: the first frame,
    # premultiplied over black, as large as its picture shows it; None if that is no larger than
    # `pixels`, or the preset places no subjects

    def without_detail(self) -> Self:
        """Return the same subject for the semantic branch alone."""
        return replace(self, keys={}, values={})

    def to(self, device: "torch.device | str") -> Self:
        """Return the same subject with the tensors that networks read on a device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            pooled=self.pooled.to(device),
            keys={name: one.to(device) for name, one in self.keys.items()},
            values={name: one.to(device) for name, one in self.values.items()},
            pixels=self.pixels.to(device),
            mask=self.mask.to(device),
        )


class IdentityBranch(StrEnum):
    """A way on which a subject reaches a picture."""

    SEMANTIC = "semantic"  # cross-attention to identity tokens
    DETAIL = "detail"  # self-attention to features of references, as trained
    JOINT_DETAIL = "joint detail"  # the same in one softmax with the layer's own features
    ALIGNED = "aligned detail"  # the subject in its place, as input of the denoiser


class Denoised(NamedTuple):
    """The end of denoising."""

    latents: "Tensor"  # (B, C, h, w) clean
    subject_mask: "Tensor"  # (B, 1, h', w') in [0, 1], where the denoiser sees subjects
    region: "Tensor"  # (B, S, h, w) in [0, 1], what rescaling used in the end


@dataclass(frozen=True)
class GenerationResult:
    """Finished pictures and what is known about them."""

    images: tuple[Image.Image, ...]  # empty if a tensor was asked for
    subject_masks: tuple[Image.Image, ...]  # mode L, 255 = subject, same size as the pictures
    regions: "Tensor"  # (B, S, h, w) in [0, 1], what rescaling used for each subject
    seeds: tuple[int, ...]
    layouts: "tuple[Layout, ...]"  # where each subject was placed, one row a picture
    branches: tuple[IdentityBranch, ...]  # those that spoke; a scale of another did nothing
    cutouts: tuple[tuple[Cutout, ...], ...]  # of each subject's pictures
    timings_ms: Mapping[str, float]  # by stage: text, place, denoise, decode, total
    origin: Mapping[str, str]  # a recipe, a decoder that nobody asked for, names of the library
    tensor: "Tensor | None" = None  # pixels (B, 3, H, W) or latents (B, C, h, w), if asked for
    named: "tuple[Named, ...]" = ()  # those subjects that are of the library


class Posterior(NamedTuple):
    """What an encoder says about the scaled latents of pictures, each (B, C, h, w)."""

    mean: "Tensor"
    deviation: "Tensor"  # 0 where an encoder knows one value only


class Autoencoder(Protocol):
    """Pixels to latents and back."""

    def posterior(self, pixels: "Tensor") -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""

    def encode(self, pixels: "Tensor") -> "Tensor":
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""

    def decode(self, latents: "Tensor") -> "Tensor":
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
