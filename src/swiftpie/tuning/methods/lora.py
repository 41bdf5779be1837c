"""Low-rank changes, W + (α / r) B A with B = 0 at first. From arXiv:2106.09685, by peft.

They change the weights by which a subject's keys and values are made.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from swiftpie.errors import CapabilityError, check_installed
from swiftpie.tuning import TuneSettings
from swiftpie.tuning.methods import Change, Features, Method, Start, features_of


class ProjectionChange(Change):
    """Changes `to_k_ref` and `to_v_ref` of all layers, for one subject.

    The layers keep their own weights: the changed ones make the subject's keys and values once,
    and these are what a drawing reads.
    """

    def __init__(self, start: Start, change: Callable[[nn.ModuleList], nn.ModuleList]) -> None:
        """Hand copies of the projections to `change`: a key, then a value, layer by layer.

        It returns as many modules, in the same order, that compute the same until they are trained.

        Raises:
            CapabilityError: The layers have no projections for subjects alone.
        """
        super().__init__()
        self._start = start
        pairs = [(layer.to_k_ref, layer.to_v_ref) for layer in start.layers.values()]
        known = [layer for pair in pairs for layer in pair if layer is not None]
        if not known or len(known) < 2 * len(pairs):
            raise CapabilityError(
                f"Preset {start.identity.preset!r} has no projections for the details of subjects "
                "alone, which this method changes. Choose the method tokens."
            )
        self.projections = change(nn.ModuleList(_copied(layer) for layer in known))

    def forward(self) -> Features:
        """Return the features with the keys and values of the changed projections."""
        rows = [self._start.notes[name] for name in self._start.layers for _ in range(2)]
        made = [
            to_rows(noted).flatten(0, 1)[None]
            for to_rows, noted in zip(self.projections, rows, strict=True)
        ]
        names = list(self._start.layers)
        return features_of(self._start.identity)._replace(
            keys=dict(zip(names, made[::2], strict=True)),
            values=dict(zip(names, made[1::2], strict=True)),
        )


def _copied(linear: nn.Linear) -> nn.Linear:
    """Return a frozen layer with the same weights; a tensor is shared, and never written to."""
    with torch.device("meta"):  # no random numbers
        copied = nn.Linear(linear.in_features, linear.out_features, bias=False)
    copied.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
    return copied


def _make(start: Start, settings: TuneSettings) -> Change:
    check_installed("peft", extra="lora", use="The method lora, unlike the method tokens,")
    from peft import LoraConfig, inject_adapter_in_model

    def change(layers: nn.ModuleList) -> nn.ModuleList:
        names = [str(number) for number in range(len(layers))]
        config = LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=names)
        inject: Any = inject_adapter_in_model  # its annotations know whole models alone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            inject(config, layers)
        return layers

    return ProjectionChange(start, change)


METHOD = Method(learning_rate=0.005, make=_make)
