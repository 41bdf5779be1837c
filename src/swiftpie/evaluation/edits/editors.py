"""Editors that draw with a loaded preset: SwiftEdit, and the naive baseline."""

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.engine.session import Session
from swiftpie.evaluation.edits.editor import Edited, Task
from swiftpie.evaluation.generate import NO_SUBJECT
from swiftpie.masks import Box, composite, load_mask
from swiftpie.pipelines.request import EditMode, EditSettings, Scales

EVERYWHERE: Box = (0.0, 0.0, 1.0, 1.0)


class MaskChoice(StrEnum):
    """Where an edit may change the picture."""

    FOUND = "found"  # between source and target prompt
    KEYWORD = "keyword"  # between the keyword and no words; as FOUND where there is none
    TRUE = "true"  # the case's own mask
    NONE = "none"  # everywhere


@dataclass(frozen=True, eq=False)
class PresetEditor:
    """What an editor knows of the preset that it draws with."""

    session: Session

    @cached_property
    def fingerprint(self) -> str:
        """Return sha256 of all weights, those of the inversion network included."""
        components = self.session.components
        digest = hashlib.sha256(components.fingerprint.encode())
        if isinstance(components.inversion, nn.Module):
            for name, weight in components.inversion.state_dict().items():
                digest.update(name.encode())
                digest.update(weight.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def num_steps(self) -> int:
        """Steps of denoising."""
        return len(self.session.components.schedule.steps)


@dataclass(frozen=True, eq=False)
class SwiftEditor(PresetEditor):
    """One-step inversion, mask and generation, as `swiftpie edit` does them."""

    mask: MaskChoice = MaskChoice.FOUND
    settings: EditSettings = field(default_factory=EditSettings)

    def __post_init__(self) -> None:
        self.session.components.inverter()  # says at once if the preset cannot edit

    @property
    def name(self) -> str:
        """The preset with mode, mask and scales."""
        settings = self.settings
        scales = ", ".join(f"{name} {value:g}" for name, value in vars(self._strength).items())
        return (
            f"SwiftEdit, {self.session.components.preset.name}: {settings.mode} mode, mask "
            f"{self.mask} ({settings.rule}), {scales}"
        )

    def __call__(self, task: Task) -> Edited:
        """Edit, and invert and generate the source once more where that was not part of it."""
        settings, identity = self.settings, None
        if task.reference is not None:
            identity = self.session.encode_identity(task.reference, masks=task.reference_mask)
        result = self.session.edit(
            task.source,
            task.target_prompt,
            source_prompt=task.source_prompt,
            keyword=task.keyword if self.mask is MaskChoice.KEYWORD else "",
            mask=self._place(task),
            identity=identity,
            settings=settings,
        )
        return Edited(
            result.image,
            _plane(result.region),
            result.timings_ms,
            result.reconstruction or self._reconstruct(task, appearance=1.0),
            self._reconstruct(task, appearance=0.0),
            result.edited,
        )

    @property
    def _strength(self) -> Scales:
        settings, preset = self.settings, self.session.components.preset
        return settings.scales or Scales.for_edit(preset, mode=settings.mode)

    def _place(self, task: Task) -> Tensor | Box | None:
        match self.mask:
            case MaskChoice.TRUE:
                return task.mask
            case MaskChoice.NONE:
                return EVERYWHERE
            case MaskChoice.FOUND | MaskChoice.KEYWORD:
                return None

    def _reconstruct(self, task: Task, *, appearance: float) -> Image.Image:
        """Return the source through inversion and generation, as an edit that changes nothing.

        Args:
            task: What is edited.
            appearance: Strength of the picture itself as a condition, which SwiftEdit gives its
                generator as well; with 0, all that is known is in the noise and the prompt.
        """
        chosen = self._strength
        outside = replace(
            chosen,
            identity_scale=appearance,
            background_scale=appearance,
            text_scale=chosen.text_background_scale,
        )
        return self.session.edit(
            task.source,
            task.source_prompt,
            source_prompt=task.source_prompt,
            mask=torch.zeros_like(task.mask) if appearance else EVERYWHERE,
            settings=replace(
                self.settings, mode=EditMode.PAPER, scales=outside, keeps_outside=False
            ),
        ).image


@dataclass(frozen=True, eq=False)
class NaiveEditor(PresetEditor):
    """The target prompt drawn from the case's own seed, laid on the source by the true mask.

    It is told two things that no editor of a given picture knows, noise and place, so it is a
    baseline that is hard to beat where the prompt says everything.
    """

    @property
    def name(self) -> str:
        """The preset."""
        return f"naive paste, {self.session.components.preset.name}"

    def __call__(self, task: Task) -> Edited:
        """Draw without a subject, and paste."""
        anyone = self.session.encode_identity(
            task.source, masks=Image.new("L", task.source.size, 255)
        )
        drawn = self.session.personalize(
            anyone, task.target_prompt, seed=task.seed, scales=NO_SUBJECT
        )
        edited = drawn.images[0].resize(task.source.size, Image.Resampling.BICUBIC)
        return Edited(composite(edited, task.source, task.mask), task.mask, drawn.timings_ms)


def _plane(mask: Image.Image) -> Tensor:
    """Return a mask (1, 1, H, W); black, which changes nothing, is allowed."""
    if mask.getextrema() == (0, 0):
        return torch.zeros(1, 1, mask.height, mask.width)
    return load_mask(mask, mask.size)
