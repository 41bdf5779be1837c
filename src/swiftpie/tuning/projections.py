"""What methods share that change the weights by which a subject's keys and values are made."""

from collections.abc import Callable

import torch
from torch import nn

from swiftpie.errors import CapabilityError
from swiftpie.tuning.change import Change, Features, Start, features_of


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
        known = [one for pair in pairs for one in pair if one is not None]
        if not known or len(known) < 2 * len(pairs):
            raise CapabilityError(
                f"Preset {start.identity.preset!r} has no projections for the details of subjects "
                "alone, which this method changes. Choose the method textual-inversion."
            )
        self.projections = change(nn.ModuleList(_copied(one) for one in known))

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
