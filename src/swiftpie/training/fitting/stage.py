"""What the loop asks of a stage."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn


class Trained(Protocol):
    """What every stage has: a network, and ways to look at it and to keep it."""

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""

    def network(self) -> nn.Module:
        """Return the module that holds every trained weight."""

    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Draw a picture of progress to `path` and return validation figures."""

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write weights and configuration so that nothing else is needed to use them."""


class PlainStage(Trained, Protocol):
    """One objective that trains the whole network."""

    def losses(self, network: nn.Module, draw: int) -> dict[str, Tensor]:
        """Return named loss terms, already weighted; all randomness follows from `draw`."""


class Update(NamedTuple):
    """Loss terms for one step of one group."""

    group: str
    terms: dict[str, Tensor]  # already weighted


@runtime_checkable
class AlternatingStage(Trained, Protocol):
    """Several objectives, each with optimizers of its own, that train parts of one network."""

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The top-level children of the network that each group trains; others are frozen."""

    def updates(self, network: nn.Module, step: int, draw: int) -> Iterator[Update]:
        """Yield what to train in this step; after each, its group has new weights.

        All randomness follows from `draw`; which groups take part may depend on `step` alone.
        """


Stage: TypeAlias = PlainStage | AlternatingStage
