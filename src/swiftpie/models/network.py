"""The base of our own networks: their settings, and folders in the layout of diffusers."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"  # name in the layout of diffusers
SCALES = "_scales"  # suffix of the tensor by which a weight's numbers are multiplied
LEVELS = 127  # int8 has so many levels on either side of 0

# The functions with which new layers fill their weights.
FILLING = (init.kaiming_uniform_, init.uniform_, init.normal_, init.constant_)

Init = TypeVar("Init", bound=Callable[..., None])


class SkipInit(TorchFunctionMode):
    """Leaves new weights unfilled: filling takes time even on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what any function of PyTorch returns
        """Call `func`, unless it fills a weight: then return that weight as it is."""
        kwargs = kwargs or {}
        return kwargs["tensor"] if func in FILLING else func(*args, **kwargs)


class Network(nn.Module):
    """A network that keeps the settings it is made of, and is stored with them.

    `ModelMixin` of diffusers does the same, but its import takes longer than a picture of `mini`.
    """

    config: SimpleNamespace

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights; diffusers reads it of every module of a pipeline."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @classmethod
    def built(cls, folder: Path) -> Self:
        """Return an untrained network with the settings in `folder`; unknown ones are ignored."""
        stored = json.loads((folder / CONFIG).read_bytes())
        known = inspect.signature(cls.__init__).parameters
        return cls(**{name: value for name, value in stored.items() if name in known})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Return the network in `folder`, in float32, for evaluation."""
        with torch.device("meta"), SkipInit():
            network = cls.built(Path(folder))
        network.load_state_dict(read_weights(Path(folder) / WEIGHTS), assign=True)
        return network.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write settings and weights, in the type that they have."""
        self._write(Path(folder), self.state_dict())

    def save_in_eight_bits(self, folder: Path) -> None:
        """Write settings and weights, matrices and filters in eight bits a number."""
        self._write(folder, to_eight_bits(self.state_dict()))

    def _write(self, place: Path, weights: Mapping[str, Tensor]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        settings = {"_class_name": type(self).__name__, **vars(self.config)}
        text = json.dumps(settings, indent=2, sort_keys=True)
        (place / CONFIG).write_text(f"{text}\n", encoding="utf-8")
        stored = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        save_file(stored, place / WEIGHTS)


def keep_settings(init: Init) -> Init:
    """Decorate the `__init__` of a `Network`: its arguments become `config`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def init_and_keep(self: Network, *args: object, **settings: object) -> None:
        init(self, *args, **settings)
        bound = signature.bind(self, *args, **settings)
        bound.apply_defaults()
        kept = dict(bound.arguments)
        del kept["self"]
        self.config = SimpleNamespace(**kept)

    return cast("Init", init_and_keep)


def to_eight_bits(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is stored of weights by name: matrices and filters in eight bits.

    Each of their output channels has a scale of its own in float32. All else is in float16.
    """
    stored = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            stored[name] = weight.half()
            continue
        rows = weight.half().float().flatten(1)  # `read_weights` rounds so, too: a copy stays equal
        scales = (rows.abs().amax(dim=1) / LEVELS).clamp_min(torch.finfo().tiny)
        stored[name] = (rows / scales[:, None]).round().to(torch.int8).view(weight.shape)
        stored[name + SCALES] = scales
    return {name: tensor.cpu().contiguous() for name, tensor in stored.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a safetensors file as float32, whether in eight bits or not.

    Those in eight bits are rounded to float16, so that exports in half precision lose nothing.
    Every weight has memory of its own.
    """
    stored = load_file(path)
    eight_bits = {name for name in stored if name + SCALES in stored}
    scales = {name: stored.pop(name + SCALES) for name in eight_bits}
    for name, tensor in stored.items():
        if name in scales:
            # `reshape` refuses scales of a wrong shape; broadcasting them may take all memory.
            shape = (len(tensor), *[1] * (tensor.ndim - 1))
            weight = tensor.to(torch.float32, copy=True).mul_(scales[name].reshape(shape))
            stored[name] = weight.copy_(weight.half())  # in place: fresh memory takes longer
        elif tensor.is_floating_point():
            stored[name] = tensor.to(torch.float32, copy=True)
    return stored
