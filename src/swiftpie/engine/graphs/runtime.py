"""OpenVINO, NNCF and ONNX as SwiftPie uses them, and a network's graph for OpenVINO."""

import hashlib
import importlib.metadata
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from swiftpie.errors import CapabilityError, require

logger = logging.getLogger(__name__)

TELEMETRY = "openvino_telemetry"  # the package that reports to Google Analytics
DEVICE = "CPU"
OPENMP = "openmp"  # what torch spreads its work with, as threadpoolctl calls it

Untyped = Any
"""An object of OpenVINO, NNCF or ONNX, none of which has complete types."""

# Names of what is exported, by which a quantizer chooses its method.
DENOISER, INVERSION, ENCODER, DECODER = "denoiser", "inversion", "encoder", "decoder"
TEXT, TOWER = "text encoder", "image encoder"

INPUT = "tensors_"  # inputs of a graph are called so, and numbered

Nested = Any
"""Tensors in tuples and dicts, at any depth, or slots where tensors go."""


class Precision(StrEnum):
    """What numbers are computed in, spelled as OpenVINO does."""

    HALF = "bf16"
    SINGLE = "f32"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting their use.

    Both packages report every import and conversion over the network by another package, unless a
    file in the user's home forbids it. They do without where that package is missing, and remember
    that it was.
    """
    is_late = sys.modules.get(TELEMETRY) is not None
    if is_late:
        logger.warning(
            "OpenVINO was imported before SwiftPie and reports its use to its makers. Run "
            "`opt_in_out --opt_out` to forbid it."
        )
    else:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # how Python marks what is missing
    try:
        yield
    finally:
        if not is_late:
            sys.modules.pop(TELEMETRY, None)


def load(package: str, *, extra: str = "openvino") -> Untyped:
    """Import an optional package, or a part of one; MissingExtra if it is not installed."""
    with quietly():
        return require(package, extra=extra, use="A graph")


def preferred_precision(core: Untyped) -> Precision:
    """Return bfloat16 where the processor computes in it, else float32."""
    has_half = "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return Precision.HALF if has_half else Precision.SINGLE


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages by name."""
    return {name: importlib.metadata.version(name) for name in packages}


class Threads:
    """As many threads as torch has at first; within a scope of this class, for OpenVINO alone.

    Torch's threads spin for milliseconds after each piece of work, on the cores that OpenVINO's
    need. What torch still does around OpenVINO's graphs is quick enough on one. Only the calling
    thread is concerned.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pools = load("threadpoolctl").ThreadpoolController()

    def for_openvino(self) -> AbstractContextManager[object]:
        """Let torch compute on one thread inside of the block."""
        return self._limited_to(1)

    def for_torch(self) -> AbstractContextManager[object]:
        """Let torch compute on all threads inside of the block, in another scope or not."""
        return self._limited_to(self.count)

    @contextmanager
    def _limited_to(self, count: int) -> Iterator[None]:
        torch.get_num_threads()  # the first call in a thread sets torch's number once more
        with self._pools.limit(limits=count, user_api=OPENMP):
            yield


@dataclass(frozen=True, eq=False)
class Function:
    """What a network computes of nested tensors."""

    name: str
    network: nn.Module
    compute: Callable[..., tuple[Tensor, ...]]  # called with the network and its arguments
    weights: str  # sha256 of all weights behind it

    def describe(self) -> str:
        """Return a text that differs where another network computes something else.

        Only the processors of attention may be exchanged between two calls.
        """
        return json.dumps([self._network, [_settings(processor) for processor in self.processors]])

    @property
    def processors(self) -> tuple[object, ...]:
        """What attends in the network at this moment; none of them ever changes."""
        return tuple(layer.processor for layer in self._attending)

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(tensor.nbytes for tensor in self.network.state_dict().values())

    @cached_property
    def _network(self) -> str:
        parts = {path: _settings(part) for path, part in self.network.named_modules()}
        return json.dumps([self.name, self.compute.__qualname__, self.weights, parts])

    @cached_property
    def _attending(self) -> list[Any]:
        return [part for part in self.network.modules() if hasattr(part, "processor")]


class Slot(NamedTuple):
    """Where a tensor goes in an outline."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def outline(arguments: Nested) -> Nested:
    """Return nested tuples and dicts with a `Slot` for each tensor; all else stays unchanged.

    Calls with equal outlines share a graph. The text of an outline is unique.
    """
    return outline_and_tensors(arguments)[0]


def outline_and_tensors(arguments: Nested) -> tuple[Nested, list[Tensor]]:
    """Return the outline of nested tuples and dicts, and their tensors; dicts by sorted keys.

    Tensors without elements are left out: their shape says it all.
    """
    tensors: list[Tensor] = []

    def slot(tensor: Tensor) -> Slot:
        shape = tuple(tensor.shape)
        if 0 not in shape:
            tensors.append(tensor)
        return Slot(shape, tensor.dtype)

    return _mapped(slot, arguments, Tensor), tensors


def rebuild(form: Nested, tensors: Iterator[Tensor]) -> Nested:
    """Return the arguments of which `form` is the outline, in the types that it notes."""

    def filled(slot: Slot) -> Tensor:
        if 0 in slot.shape:
            return torch.zeros(slot.shape, dtype=slot.dtype)
        return next(tensors).to(slot.dtype)

    return _mapped(filled, form, Slot)


def shapes(form: Nested) -> Nested:
    """Return the outline `form` with shapes alone, as precision is lost when tensors cross over."""
    return _mapped(lambda slot: slot.shape, form, Slot)


def plain(tensor: Tensor) -> Tensor:
    """Return `tensor` in one of the two types that cross the border, float32 and int64."""
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).contiguous()


@torch.no_grad()
def export(function: Function, form: Nested) -> Untyped:
    """Return an OpenVINO graph of `function` for arguments whose outline is `form`."""
    openvino = load("openvino")
    slots = list[Slot]()
    _mapped(slots.append, form, Slot)
    filled = (slot for slot in slots if 0 not in slot.shape)
    samples = tuple(plain(torch.zeros(slot.shape, dtype=slot.dtype)) for slot in filled)
    with warnings.catch_warnings(), quietly(), Composing():
        warnings.simplefilter("ignore")  # tracing warns of fixed shapes, which are meant
        # OpenVINO reads a trace in half of the time of what `torch.export` returns.
        traced = torch.jit.trace(_Flat(function, form), samples, strict=False, check_trace=False)
    with quietly():
        graph = openvino.convert_model(traced, example_input=samples)
    for number, (place, sample) in enumerate(zip(graph.inputs, samples, strict=True)):
        place.get_tensor().set_names({f"{INPUT}{number}"})
        place.get_node().set_partial_shape(openvino.PartialShape(list(sample.shape)))
    graph.validate_nodes_and_infer_types()
    return graph


class Composing(TorchFunctionMode):
    """Composes what graphs have no operator for of what they have, inside of the block."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as all functions of PyTorch
        """Call one of them."""
        composed: Any = COMPOSED.get(func, func)
        return composed(*args, **(kwargs or {}))


def _quantile(values: Tensor, levels: Tensor, *, dim: int) -> Tensor:
    """Return quantiles (Q, B) of values (B, N), linear between neighbours."""
    assert dim == 1, "of rows"
    rising, rank = values.sort(dim=1).values, levels * (values.shape[1] - 1)
    below, above = (rising[:, place.long()] for place in (rank.floor(), rank.ceil()))
    return (below + (above - below) * (rank - rank.floor())).T


COMPOSED: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    torch.special.ndtr: lambda values: 0.5 * (1 + torch.erf(values * 0.5**0.5)),
    torch.hypot: lambda a, b: (a.square() + b.square()).sqrt(),
    torch.quantile: _quantile,
}


class _Flat(nn.Module):
    """A function of flat tensors in float32 or int64, whatever types the network works in."""

    def __init__(self, function: Function, form: Nested) -> None:
        super().__init__()
        self.network = function.network
        self.compute = function.compute
        self.form = form

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs in float32 or int64."""
        arguments = rebuild(self.form, iter(tensors))
        return tuple(plain(tensor) for tensor in self.compute(self.network, *arguments))


def number_of(place: Untyped) -> int:
    """Return which tensor an input of a graph takes."""
    names = [name for name in place.get_names() if name.startswith(INPUT)]
    assert len(names) == 1, names
    return int(names[0].removeprefix(INPUT))


def digest_of(network: nn.Module) -> str:
    """Return the sha256 of all weights; CapabilityError if they are not plain numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if type(tensor) is not Tensor:
            raise CapabilityError(
                f"A network holds its weights as {type(tensor).__name__}, and OpenVINO needs plain "
                "numbers. Load them anew; 'openvino-int8' quantises by itself."
            )
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _mapped(change: Callable[[Any], Any], nested: Nested, kind: type) -> Nested:
    """Return `nested` with all that is of `kind` changed; dicts in the order of their keys."""
    if isinstance(nested, kind):
        return change(nested)
    if isinstance(nested, dict):
        return {key: _mapped(change, nested[key], kind) for key in sorted(nested)}
    if isinstance(nested, tuple):
        parts = [
            change(part) if type(part) is kind else _mapped(change, part, kind) for part in nested
        ]
        return type(nested)(*parts) if hasattr(nested, "_fields") else tuple(parts)
    return nested


def _settings(part: object) -> dict[str, Any]:
    """Return type and plain attributes of a layer or of a processor of attention."""
    plainly = (bool, int, float, str, Enum, tuple)
    settings = {k: repr(v) for k, v in vars(part).items() if isinstance(v, plainly)}
    config = getattr(part, "config", None)
    if isinstance(config, Mapping):
        settings |= {k: repr(v) for k, v in config.items() if not k.startswith("_")}
    return {**settings, "type": type(part).__qualname__}
