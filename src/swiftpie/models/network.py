"""The base of our own networks: their settings, and folders in the layout of diffusers."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Self, TypeVar, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from swiftpie.models.eight_bits import WEIGHTS, read_weights, to_eight_bits

CONFIG = "config.json"

Init = TypeVar("Init", bound=Callable[..., None])


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
        """Where its weights are."""
        return next(self.parameters()).device

    @classmethod
    def built(cls, folder: Path) -> Self:
        """Return an untrained network of the settings in `folder`; others than its own are left."""
        stored = json.loads((folder / CONFIG).read_bytes())
        known = inspect.signature(cls.__init__).parameters
        return cls(**{name: value for name, value in stored.items() if name in known})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Return the network in `folder`, in float32, for evaluation."""
        with torch.device("meta"):
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
