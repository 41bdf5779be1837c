"""A network's computation to an OpenVINO graph with one input a tensor."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from swiftpie.engine.openvino.arguments import Slot, plain, rebuild
from swiftpie.engine.openvino.runtime import load, unreported
from swiftpie.errors import CapabilityError

INPUT = "tensors_"  # inputs of a graph are called so, and numbered


@dataclass(frozen=True, eq=False)
class Function:
    """What a network computes of nested tensors."""

    name: str
    network: nn.Module
    compute: Callable[..., tuple[Tensor, ...]]  # of the network and its arguments
    weights: str  # sha256 of all weights behind it

    def describe(self) -> str:
        """Return a text that differs where another network computes something else.

        Only the processors of attention may be exchanged between two calls.
        """
        return json.dumps([self._network, [_settings(one) for one in self.processors]])

    @property
    def processors(self) -> tuple[object, ...]:
        """What attends in the network at this moment; none of them ever changes."""
        return tuple(one.processor for one in self._attending)

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(one.nbytes for one in self.network.state_dict().values())

    @cached_property
    def _network(self) -> str:
        parts = {path: _settings(part) for path, part in self.network.named_modules()}
        return json.dumps([self.name, self.compute.__qualname__, self.weights, parts])

    @cached_property
    def _attending(self) -> list[Attention]:
        return [part for part in self.network.modules() if isinstance(part, Attention)]


class _Flat(nn.Module):
    """A function of flat tensors in float32 or int64, whatever types the network works in."""

    def __init__(self, function: Function, form: Any) -> None:  # noqa: ANN401 - any nesting
        super().__init__()
        self.network = function.network
        self.compute = function.compute
        self.form = form

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs in float32 or int64."""
        arguments = rebuild(self.form, iter(tensors))
        return tuple(plain(one) for one in self.compute(self.network, *arguments))


@torch.no_grad()
def export(function: Function, form: Any) -> Any:  # noqa: ANN401 - any nesting; OpenVINO's class
    """Return an OpenVINO graph of `function` for arguments whose outline is `form`."""
    openvino = load("openvino")
    samples = tuple(_sample(slot) for slot in _slots(form))
    with warnings.catch_warnings(), unreported():
        warnings.simplefilter("ignore")  # of torch and OpenVINO about each other
        program = torch.export.export(_Flat(function, form), samples, strict=False)
        graph = openvino.convert_model(program)
    graph.reshape({place: list(samples[number_of(place)].shape) for place in graph.inputs})
    return graph


def number_of(place: Any) -> int:  # noqa: ANN401 - OpenVINO's class
    """Return which tensor an input of a graph takes; inputs have other names besides."""
    names = [name for name in place.get_names() if name.startswith(INPUT)]
    assert len(names) == 1, names
    return int(names[0].removeprefix(INPUT))


def digest_of(network: nn.Module) -> str:
    """Return the sha256 (hexadecimal) over names, types and contents of all weights.

    Raises:
        CapabilityError: They are not plain numbers.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if type(tensor) is not Tensor:
            raise CapabilityError(
                f"A network holds its weights as {type(tensor).__name__}, and OpenVINO needs plain "
                "numbers. Leave 'quantize' out; 'openvino-int8' quantises too."
            )
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _slots(form: Any) -> Iterator[Slot]:  # noqa: ANN401 - any nesting
    if isinstance(form, Slot):
        if 0 not in form.shape:
            yield form
        return
    parts = form.values() if isinstance(form, dict) else form
    if isinstance(form, dict | tuple):
        for part in parts:
            yield from _slots(part)


def _sample(slot: Slot) -> Tensor:
    return plain(torch.zeros(slot.shape, dtype=slot.dtype))


def _settings(part: object) -> dict[str, Any]:
    """Return type and plain attributes of a layer or of a processor of attention."""
    plainly = (bool, int, float, str, Enum, tuple)
    found = {k: repr(v) for k, v in vars(part).items() if isinstance(v, plainly)}
    config = getattr(part, "config", None)
    if isinstance(config, Mapping):
        found |= {k: repr(v) for k, v in config.items() if not k.startswith("_")}
    return {**found, "type": type(part).__qualname__}
