"""What stages that teach a student by a critic have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from torch import nn

from swiftpie.training.stages.distill.sources import Model
from swiftpie.training.stages.one_step.networks import OneStepNetworks

C = TypeVar("C", bound=nn.Module)


class StudentAndCritic(nn.Module, Generic[C]):
    """The student, and the critic that follows it."""

    def __init__(self, student: OneStepNetworks, critic: C) -> None:
        super().__init__()
        self.student = student
        self.critic = critic


@dataclass(frozen=True)
class CriticStage:
    """A stage over `StudentAndCritic`; only its student is judged and kept."""

    student: Model
    teacher: OneStepNetworks

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.student.stage.samples_per_step

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The student and its critic, each with its own optimizer."""
        return MappingProxyType({"student": ("student",), "critic": ("critic",)})

    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Save and judge one-step pictures of held-out subjects."""
        assert isinstance(network, StudentAndCritic)
        return self.student.stage.sample(network.student, path)

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write the student as the one-step stage does."""
        assert isinstance(network, StudentAndCritic)
        self.student.stage.export(network.student, folder)
