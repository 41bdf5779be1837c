"""CLIP encoders of text and pictures with their computation in OpenVINO."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from swiftpie.engine.openvino.export import Function, digest_of
from swiftpie.engine.openvino.workshop import Workshop
from swiftpie.engine.twin import twin
from swiftpie.models.vision import ClipIdentityEncoder, ConvImageEncoder

TEXT, TOWER = "text encoder", "image encoder"  # what a quantizer looks for


class LastStates(NamedTuple):
    """What most models read of a CLIP encoder, named as transformers does."""

    last_hidden_state: Tensor  # (B, T, D)
    pooler_output: Tensor  # (B, D)


class AllStates(NamedTuple):
    """What Stable Diffusion XL reads; of the states before the last it asks for one layer."""

    pooled: Tensor  # the first output, whatever the encoder has there
    hidden_states: tuple[Tensor, Tensor]  # (B, T, D) before the last layer and after it


class OpenvinoEncoder(nn.Module):
    """A CLIP encoder that computes in OpenVINO, called as transformers' own."""

    def __init__(self, inner: nn.Module, workshop: Workshop) -> None:
        super().__init__()
        self.config = inner.config
        self.inner = inner
        self._workshop = workshop
        weights = digest_of(inner)
        self._last = Function(TEXT, inner, compute=_last, weights=weights)
        self._all = Function(TEXT, inner, compute=_all, weights=weights)

    @property
    def device(self) -> torch.device:
        """Where token numbers shall be."""
        return torch.device("cpu")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
    ) -> LastStates | AllStates:
        """Return the states of tokens (B, T)."""
        if not output_hidden_states:
            return LastStates(*self._workshop.call(self._last, input_ids, attention_mask))
        pooled, before, after = self._workshop.call(self._all, input_ids)
        return AllStates(pooled, (before, after))


class SeenStates(NamedTuple):
    """What adapters read of a CLIP tower, named as transformers does."""

    image_embeds: Tensor  # (R, D)
    hidden_states: tuple[Tensor, Tensor]  # (R, T, W) before the last layer and after it


class OpenvinoTower(nn.Module):
    """A CLIP image tower that computes in OpenVINO, called as transformers' own."""

    def __init__(self, inner: nn.Module, workshop: Workshop) -> None:
        super().__init__()
        self.config = inner.config
        self.inner = inner
        self._workshop = workshop
        self._function = Function(TOWER, inner, compute=_see, weights=digest_of(inner))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, in which results come too."""
        return next(self.inner.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where pictures shall be."""
        return torch.device("cpu")

    def forward(self, pixel_values: Tensor, *, output_hidden_states: bool) -> SeenStates:
        """Return the states of normalised pictures (R, 3, H, W)."""
        assert output_hidden_states, "encoders of identity ask for them"
        found = self._workshop.call(self._function, pixel_values)
        embeds, before, after = (one.to(self.dtype) for one in found)
        return SeenStates(embeds, (before, after))


class OpenvinoConvEncoder(nn.Module):
    """The small encoder of `mini` in OpenVINO, a reference at a time: one graph for any number."""

    def __init__(self, inner: nn.Module, workshop: Workshop) -> None:
        super().__init__()
        self.inner = inner
        self._workshop = workshop
        self._function = Function(
            "subject encoder", inner, compute=_describe, weights=digest_of(inner)
        )

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W)."""
        pairs = zip(pixels.split(1), mask.split(1), strict=True)
        return torch.cat([self._workshop.call(self._function, *pair)[0] for pair in pairs])


def openvino_image_encoder(inner: nn.Module, workshop: Workshop) -> nn.Module:
    """Return `inner`, or its CLIP tower, in OpenVINO; encoders of another kind stay in torch."""
    if type(inner) is ConvImageEncoder:
        return OpenvinoConvEncoder(inner, workshop)
    if type(inner) is not ClipIdentityEncoder:
        return inner
    made = twin(inner)
    made.tower = OpenvinoTower(inner.tower, workshop)  # type: ignore[assignment]  # stands for it
    return made


def _last(
    encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, ...]:
    output = encoder(input_ids=input_ids, attention_mask=attention_mask)
    return output.last_hidden_state, output.pooler_output


def _all(encoder: nn.Module, input_ids: Tensor) -> tuple[Tensor, ...]:
    output = encoder(input_ids=input_ids, output_hidden_states=True)
    return output[0], output.hidden_states[-2], output.hidden_states[-1]


def _see(tower: nn.Module, pixel_values: Tensor) -> tuple[Tensor, ...]:
    output = tower(pixel_values, output_hidden_states=True)
    return output.image_embeds, output.hidden_states[-2], output.hidden_states[-1]


def _describe(encoder: nn.Module, pixels: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    return (encoder(pixels, mask),)
