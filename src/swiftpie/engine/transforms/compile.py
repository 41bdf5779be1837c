"""Denoiser and decoder as compiled graphs: one for all values, one for each of their sizes."""

import copy
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
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

logger = logging.getLogger(__name__)

RECORDED = "reduce-overhead"  # inductor's name for kernels recorded as CUDA graphs
MAX_GRAPHS = 8  # of a function; PyTorch's own limit, beyond which it refuses whole graphs


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
    return compiled(components, Compiler(mode=RECORDED if is_cuda else None))


def compiled(components: Components, compiler: "Compiler") -> Components:
    """Return components whose denoiser and decoder `compiler` compiles."""
    autoencoder = components.autoencoder
    return replace(
        components,
        denoiser=CompiledDenoiser(components.denoiser, compiler),
        autoencoder=JoinedAutoencoder(autoencoder, CompiledDecoder(autoencoder, compiler)),
        has_fixed_sizes=True,
    )


@dataclass(frozen=True)
class Compiler:
    """How functions are compiled."""

    backend: str | Callable[..., Any] = "inductor"
    mode: str | None = None  # of inductor

    def compile(self, function: Callable[..., Any]) -> "Compiled":
        """Return `function`, compiled when it is first called."""
        graph = torch.compile(
            function, fullgraph=True, dynamic=False, backend=self.backend, mode=self.mode
        )
        return Compiled(function, graph)


class Compiled:
    """A function as graphs of fixed sizes; calls of more sizes than MAX_GRAPHS run without one."""

    def __init__(self, plain: Callable[..., Any], graph: Callable[..., Any]) -> None:
        self._plain = plain
        self._graph = graph
        self._has_graph: dict[Hashable, bool] = {}
        self._lock = Lock()

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - as the function has them
        """Call the function with nested tensors; results may not outlive the next call."""
        form = form_of(arguments)
        if not self._may_have_graph(form):
            return self._plain(*arguments)
        try:
            return self._graph(*arguments)
        except FailOnRecompileLimitHit:  # sessions with the same networks share PyTorch's limit
            self._has_graph[form] = False
            logger.warning("PyTorch compiles no more graphs; this size will run uncompiled.")
            return self._plain(*arguments)

    def _may_have_graph(self, form: Hashable) -> bool:
        """Return whether there is, or may be made, a graph for arguments of this form."""
        with self._lock:
            if form in self._has_graph:
                return self._has_graph[form]
            if sum(self._has_graph.values()) == MAX_GRAPHS:
                return False
            self._has_graph[form] = True
            is_last = sum(self._has_graph.values()) == MAX_GRAPHS
        if is_last:
            logger.warning(
                "A network was compiled for %s sizes; all others will run uncompiled.", MAX_GRAPHS
            )
        return True


class CompiledDenoiser(WrappedDenoiser):
    """A denoiser that draws by compiled graphs, and looks at references without one."""

    def __init__(self, inner: Denoiser, compiler: Compiler) -> None:
        super().__init__(inner)
        self._compiled = compiler.compile(partial(predict, self.inner))

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """Return a copy that is not compiled, because a copied denoiser is about to change."""
        return copy.deepcopy(self.inner, memo)

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in self._compiled(*call))


class CompiledDecoder(nn.Module):
    """The decoder of an autoencoder as compiled graphs."""

    def __init__(self, inner: Autoencoder, compiler: Compiler) -> None:
        super().__init__()
        self.inner: Any = module_of(inner)
        self._decode = compiler.compile(inner.decode)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        return self._decode(latents).clone()


def form_of(arguments: Any) -> Hashable:  # noqa: ANN401 - any nesting of tensors
    """Return what a graph assumes about nested arguments: all but the values of tensors."""
    if isinstance(arguments, Tensor):
        return tuple(arguments.shape), arguments.stride(), arguments.dtype
    if isinstance(arguments, dict):
        return tuple((key, form_of(value)) for key, value in arguments.items())
    if isinstance(arguments, tuple):
        return tuple(form_of(part) for part in arguments)
    return arguments


TRANSFORM = Transform(
    summary="Denoiser and decoder compiled by PyTorch; the first call of each size takes minutes.",
    apply=apply,
    phase=Phase.CALLS,
)
