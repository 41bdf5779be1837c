"""Denoiser and decoder as compiled graphs: one for all values, one for each of their sizes."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit

from swiftpie.backbones.components import Components
from swiftpie.engine.transforms import Phase, Transform
from swiftpie.engine.wrappers import JoinedAutoencoder
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import Denoiser, DenoiserCall, WrappedDenoiser, module_of, predict
from swiftpie.types import Autoencoder

RECORDED = "reduce-overhead"  # inductor's name for kernels recorded as CUDA graphs


def apply(components: Components) -> Components:
    """Return components whose denoiser and decoder are compiled at their first call.

    Identity, masks, scales, prompt and timestep are inputs of the graph: other values do not
    compile again, other sizes do. Text and image encoders stay as they are, because their results
    are kept for later calls.

    Raises:
        CapabilityError: The networks are offloaded.
    """
    if components.execution_device is not None:
        raise CapabilityError(
            "'compile' and 'offload' cannot be combined. Compiled graphs need weights that "
            "stay where they are. Leave one of the two out."
        )
    is_cuda = components.device.type == "cuda"
    return compiled(components, mode=RECORDED if is_cuda else None)


def compiled(components: Components, **settings: Any) -> Components:  # noqa: ANN401 - of PyTorch
    """Return components with denoiser and decoder compiled by `settings` of `torch.compile`."""
    autoencoder = components.autoencoder
    return replace(
        components,
        denoiser=CompiledDenoiser(components.denoiser, settings),
        autoencoder=JoinedAutoencoder(autoencoder, CompiledDecoder(autoencoder, settings)),
        has_fixed_sizes=True,
    )


def graphs_of(function: Callable[..., Any], settings: dict[str, Any]) -> Callable[..., Any]:
    """Return `function` compiled for each size that it meets.

    Beyond PyTorch's limit, of which it warns, calls run without a graph. Results may not outlive
    the next call.
    """
    graphs = torch.compile(function, fullgraph=True, dynamic=False, **settings)

    def call(*arguments: Any) -> Any:  # noqa: ANN401 - as the function has them
        try:
            return graphs(*arguments)
        except FailOnRecompileLimitHit:
            return function(*arguments)

    return call


class CompiledDenoiser(WrappedDenoiser):
    """A denoiser that draws by compiled graphs, and looks at references without one."""

    def __init__(self, inner: Denoiser, settings: dict[str, Any]) -> None:
        super().__init__(inner)
        self._compiled = graphs_of(partial(predict, self.inner), settings)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """Return a copy that is not compiled, because a copied denoiser is about to change."""
        return copy.deepcopy(self.inner, memo)

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in self._compiled(*call))


class CompiledDecoder(nn.Module):
    """The decoder of an autoencoder as compiled graphs."""

    def __init__(self, inner: Autoencoder, settings: dict[str, Any]) -> None:
        super().__init__()
        self.inner: Any = module_of(inner)
        self._decode = graphs_of(inner.decode, settings)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        return self._decode(latents).clone()


TRANSFORM = Transform(
    summary="Denoiser and decoder compiled by PyTorch; the first call of each size takes minutes.",
    apply=apply,
    phase=Phase.CALLS,
)
