"""What a benchmark is: cases, and for each of them all that is known without a model."""

from collections.abc import Mapping
from typing import Protocol

from PIL import Image
from torch import Tensor

from swiftpie.evaluation.case import Case
from swiftpie.layout import Layout
from swiftpie.masks import Box


class Benchmark(Protocol):
    """Deals cases and draws their references and right answers; never judges."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def seed(self) -> int:
        """Decides all cases."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Every subject that cases may show."""

    @property
    def fingerprint(self) -> str:
        """Return sha256 over the subjects."""

    def cases(self, count: int | None = None) -> list[Case]:
        """Deal cases; a longer list starts with the shorter one."""

    def known(self, case: Case) -> Mapping[str, Image.Image]:
        """Return references, truth and their masks by kind of picture."""

    def layouts(self, case: Case) -> tuple[Layout, ...]:
        """Return where each subject is in the truth."""

    def boxes(self, case: Case) -> tuple[Box | None, ...]:
        """Return where the model is told to draw each subject; None leaves it to the model."""

    def gallery(self) -> tuple[Tensor, Tensor]:
        """Return pictures (S, V, 3, H, W) and masks (S, V, 1, H, W) of every subject."""
