"""What an editor is: anything that takes a task and returns a picture; two that do no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Task:
    """One edit, as an editor is asked for it."""

    name: str
    source: Image.Image  # RGB
    source_prompt: str
    target_prompt: str
    keyword: str  # the words that shall change, or ""
    mask: Tensor  # (1, 1, H, W), 1 = the picture has to change; only for editors that say so
    seed: int
    reference: Image.Image | None = None  # of the subject that shall come
    reference_mask: Image.Image | None = None
    target: Image.Image | None = None  # the exact answer, where there is one


@dataclass(frozen=True, eq=False)
class Edited:
    """What an editor returns; pictures are as large as the source."""

    image: Image.Image
    mask: Tensor | None = None  # (1, 1, H, W), 0 = pixels that it claims not to have touched
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # by stage; "total" is all
    reconstruction: Image.Image | None = None  # the source, inverted and generated again
    from_noise: Image.Image | None = None  # the same by noise and prompt alone
    uncomposed: Image.Image | None = None  # the edit before the source was put back around it


class Editor(Protocol):
    """Edits pictures one by one; the same task gives the same picture."""

    @property
    def name(self) -> str:
        """What reports call it, with every choice that matters."""

    @property
    def fingerprint(self) -> str:
        """Return sha256 of its weights; empty where it has none."""

    @property
    def num_steps(self) -> int:
        """Steps of denoising; 0 where it denoises nothing."""

    def __call__(self, task: Task) -> Edited:
        """Carry out one edit."""


@dataclass(frozen=True)
class SourceEditor:
    """Leaves every picture as it is: the lower bound of success, the upper one of preservation."""

    name: str = "untouched source"
    fingerprint: str = ""
    num_steps: int = 0

    def __call__(self, task: Task) -> Edited:
        """Return the source; it touches nothing."""
        return Edited(task.source, torch.zeros_like(task.mask))


@dataclass(frozen=True)
class TargetEditor:
    """Knows the exact answer: what nobody can beat."""

    name: str = "exact target"
    fingerprint: str = ""
    num_steps: int = 0

    def __call__(self, task: Task) -> Edited:
        """Return the answer and the true mask."""
        assert task.target is not None, "only tasks with an exact answer are given to it"
        return Edited(task.target, task.mask)
