"""Networks in OpenVINO: in bfloat16 where the processor computes in it, or in 8-bit integers."""

import copy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import Notes
from swiftpie.backbones.components import Components, Engine
from swiftpie.engine.graphs.cache import GraphCache, GraphStore
from swiftpie.engine.graphs.int8 import Quantizer
from swiftpie.engine.graphs.runtime import (
    DECODER,
    DENOISER,
    ENCODER,
    INVERSION,
    TEXT,
    TOWER,
    Function,
    Precision,
    digest_of,
)
from swiftpie.engine.layers import with_openvino_layers
from swiftpie.engine.wrappers import shared_copy, with_text_encoders
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import Denoiser, DenoiserCall, WrappedDenoiser, module_of, predict
from swiftpie.models.flux2 import LanguageText
from swiftpie.models.inversion import finds_noise_alone
from swiftpie.models.text import PromptEncoder
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.types import Autoencoder, Posterior, TextCondition

CLIP = "clip_text_model"  # how settings of transformers name its text encoders


def to_openvino(
    components: Components,
    *,
    quantizes: bool = False,
    precision: Precision | None = None,
    folder: Path | None = None,
) -> Components:
    """Return components whose networks compute in OpenVINO; the given ones are not changed.

    A network is exported at its first call and kept on disk, in `folder`, so this returns at once.
    The layout predictor and the subject encoder of `mini` and language models stay with torch, the
    last on all threads. If it `quantizes`, denoiser, inversion network and autoencoder compute in
    whole numbers of 8 bits, and text encoders of CLIP hold their weights in them; all else is
    computed in `precision`, by default the processor's best.

    Raises:
        CapabilityError: The networks are elsewhere, offloaded, or quantised already.
        MissingExtra: OpenVINO, or NNCF for whole numbers, is not installed.
    """
    if components.device.type != "cpu":
        raise CapabilityError(
            f"The networks are on {components.device}, and SwiftPie uses OpenVINO on the CPU. Load "
            'the preset with `device="cpu"`.'
        )
    if components.engine.device is not None:
        raise CapabilityError(
            "OpenVINO and 'offload' cannot be combined. OpenVINO's graphs are made of weights that "
            "stay where they are. Leave one of the two out."
        )
    quantizer = Quantizer(components) if quantizes else None
    graphs = GraphCache(
        GraphStore(folder) if folder else GraphStore(),
        settings=components.fingerprint,
        quantizer=quantizer,
        precision=precision,
    )
    encoder, inversion = components.image_encoder, components.inversion
    if type(encoder) is ClipIdentityEncoder:  # others stay in torch
        tower, encoder = OpenvinoTower(encoder.tower, graphs), shared_copy(encoder)
        encoder.tower = tower  # type: ignore[assignment]  # stands for it
        if quantizer is not None:
            quantizer.components = replace(components, image_encoder=encoder)  # sees sooner

    @cache
    def computed(network: nn.Module) -> OpenvinoNetwork:
        return OpenvinoNetwork(network, graphs, type(network).__name__.lower())

    return replace(
        components,
        text=openvino_text(components.text, graphs),
        autoencoder=OpenvinoAutoencoder(with_openvino_layers(components.autoencoder), graphs),
        denoiser=OpenvinoDenoiser(with_openvino_layers(components.denoiser), graphs),
        image_encoder=encoder,
        inversion=OpenvinoNetwork(inversion, graphs, INVERSION)
        if finds_noise_alone(inversion)
        else inversion,
        engine=Engine(
            run=lambda network, *tensors: computed(network)(*tensors),
            scope=graphs.threads.for_openvino,
            has_fixed_sizes=True,
        ),
    )


class OpenvinoDenoiser(WrappedDenoiser):
    """A denoiser that predicts and reads references in OpenVINO; torch places them."""

    def __init__(self, inner: Denoiser, graphs: GraphCache, *, weights: str | None = None) -> None:
        super().__init__(inner)
        self._graphs = graphs
        weights = weights or digest_of(self.inner)  # those of a copy are known
        self._function = Function(DENOISER, self.inner, predict, weights)
        self._reader = Function("reader", self.inner, _read_noted, weights)

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        return self._graphs.call(self._function, *call)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        noted = self._graphs.call(self._reader, encoded, text)
        return dict(zip(self.installation.detail, noted, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a shared copy whose attention may be changed; graphs are found in one place."""
        inner = copy.deepcopy(self.inner, memo)
        return type(self)(inner, self._graphs, weights=self._function.weights)


class OpenvinoAutoencoder:
    """An autoencoder that computes in OpenVINO."""

    def __init__(self, inner: Autoencoder, graphs: GraphCache) -> None:
        network = module_of(inner)
        weights = digest_of(network)
        self._encode = partial(graphs.call, Function(ENCODER, network, _encode, weights))
        self._decode = partial(graphs.call, Function(DECODER, network, _decode, weights))

    def encode(self, pixels: Tensor) -> Tensor:
        return self.posterior(pixels).mean

    def posterior(self, pixels: Tensor) -> Posterior:
        return Posterior(*self._encode(pixels))

    def decode(self, latents: Tensor) -> Tensor:
        return self._decode(latents)[0]


class OpenvinoNetwork:
    """A network with one output that computes in OpenVINO, called as that."""

    def __init__(self, inner: object, graphs: GraphCache, name: str) -> None:
        network = with_openvino_layers(inner)
        self._call = partial(graphs.call, Function(name, network, _called, digest_of(network)))

    def __call__(self, *arguments: object) -> Tensor:
        return self._call(*arguments)[0]


class _OpenvinoClip(nn.Module):
    """A network of CLIP in OpenVINO, called as transformers' own, whose import takes 150 MiB."""

    device = torch.device("cpu")  # where its inputs shall be

    def __init__(self, inner: nn.Module, graphs: GraphCache) -> None:
        super().__init__()
        self.config = inner.config
        self.inner = inner
        self._call = graphs.call
        self._weights = digest_of(inner)


class OpenvinoEncoder(_OpenvinoClip):
    """A text encoder."""

    def __init__(self, inner: nn.Module, graphs: GraphCache) -> None:
        super().__init__(inner, graphs)
        self._last = Function(TEXT, inner, _last, self._weights)
        self._all = Function(TEXT, inner, _all, self._weights)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
    ) -> SimpleNamespace:
        """Return the last states (B, T, D) of tokens (B, T), or those of the last two layers.

        Most models read the former, Stable Diffusion XL the latter, and the first output.
        """
        if not output_hidden_states:
            last, pooled = self._call(self._last, input_ids, attention_mask)
            return SimpleNamespace(last_hidden_state=last, pooler_output=pooled)
        first, *states = self._call(self._all, input_ids)
        return SimpleNamespace(text_embeds=first, hidden_states=tuple(states))


def openvino_text(text: PromptEncoder, graphs: GraphCache) -> PromptEncoder:
    """Return `text` with encoders of CLIP in OpenVINO; language models stay in torch.

    They are billions of numbers, read once for a prompt, and their graphs as many again.
    """
    if isinstance(text, LanguageText):
        return replace(text, scope=graphs.threads.for_torch)

    def changed(encoder: nn.Module) -> nn.Module:
        is_clip = getattr(getattr(encoder, "config", None), "model_type", None) == CLIP
        return OpenvinoEncoder(encoder, graphs) if is_clip else encoder

    return with_text_encoders(text, changed)


class OpenvinoTower(_OpenvinoClip):
    """An image tower."""

    def __init__(self, inner: nn.Module, graphs: GraphCache) -> None:
        super().__init__(inner, graphs)
        self._function = Function(TOWER, inner, _all, self._weights)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.inner.parameters()).dtype

    def forward(self, pixel_values: Tensor, *, output_hidden_states: bool) -> SimpleNamespace:
        """Return embeddings (R, D) and the last two layers' states of pictures (R, 3, H, W)."""
        assert output_hidden_states, "encoders of identity need them"
        outputs = self._call(self._function, pixel_values)
        embeds, *states = (output.to(self.dtype) for output in outputs)
        return SimpleNamespace(image_embeds=embeds, hidden_states=tuple(states))


def _read_noted(denoiser: Any, encoded: Tensor, text: TextCondition) -> tuple[Tensor, ...]:  # noqa: ANN401 - see `predict`
    notes: Notes = denoiser.read_reference(encoded, text)
    return tuple(notes[name] for name in denoiser.installation.detail)


def _encode(autoencoder: Autoencoder, pixels: Tensor) -> tuple[Tensor, ...]:
    return tuple(autoencoder.posterior(pixels))


def _decode(autoencoder: Autoencoder, latents: Tensor) -> tuple[Tensor, ...]:
    return (autoencoder.decode(latents),)


def _called(network: nn.Module, *arguments: object) -> tuple[Tensor, ...]:
    return (network(*arguments),)


def _last(
    encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, ...]:
    output = encoder(input_ids=input_ids, attention_mask=attention_mask)
    return output.last_hidden_state, output.pooler_output


def _all(encoder: nn.Module, tokens_or_pixels: Tensor) -> tuple[Tensor, ...]:
    output = encoder(tokens_or_pixels, output_hidden_states=True)
    return output[0], output.hidden_states[-2], output.hidden_states[-1]
