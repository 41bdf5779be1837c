"""Edits of benchmarks as SwiftPie draws them: the task, the drawer and a naive paste."""

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Generic

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import plane, to_tensor
from swiftpie.masks import Box
from swiftpie.pipelines.edit_region import blend_mask
from swiftpie.pipelines.methods.inversion import mode_of
from swiftpie.pipelines.request import WORDS_ALONE
from swiftpie.pipelines.settings import EditSettings, ResolvedScales, Scales
from swiftpie.pipelines.tasks import EditRequest
from swiftpie_lab.evaluation.bounds import NO_SUBJECT
from swiftpie_lab.evaluation.case import Case, Evidence
from swiftpie_lab.evaluation.run import FACTS, C, File, Maker, OpenBenchmark, Results

logger = logging.getLogger(__name__)

EVERYWHERE: Box = (0.0, 0.0, 1.0, 1.0)
FRESH_SEED = 0  # seed of an edit; the task's own seed would give the answer's noise away
NAIVE = "naive"  # kind of the naive paste


@dataclass(frozen=True, eq=False)
class EditTask:
    """One edit, as a drawer gets it."""

    name: str
    source: Image.Image  # RGB
    source_prompt: str
    target_prompt: str
    mask: Tensor  # (1, 1, H, W), 1 = the picture has to change; only for `MaskChoice.TRUE`
    seed: int  # seed of the answer's noise; only for the naive paste
    reference: Image.Image | None = None  # picture of the new subject
    reference_mask: Image.Image | None = None
    known: Mapping[str, File] = field(default_factory=dict)  # by kind of file


class EditBenchmark(OpenBenchmark[C]):
    """A benchmark whose cases are edits."""

    @abstractmethod
    def task(self, case: C) -> EditTask:
        """Return the case as a drawer gets it."""

    def known(self, case: C) -> dict[str, File]:
        return dict(self.task(case).known)


def with_edit(known: Evidence, case: Case, results: Results) -> Evidence:
    """Return the evidence with what was drawn of an edit, and how long it took."""
    is_composed = results.has(case, "uncomposed")
    return replace(
        known,
        picture=to_tensor(results.read(case, "edit")),
        claimed=results.read_mask(case, "edit-mask") if results.has(case, "edit-mask") else None,
        uncomposed=to_tensor(results.read(case, "uncomposed")) if is_composed else None,
        time_ms=(results.read_facts(case) or {}).get("total"),
    )


class MaskChoice(StrEnum):
    """Where an edit may change the picture."""

    FOUND = "found"  # between source and target prompt
    TRUE = "true"  # the case's own mask
    NONE = "none"  # everywhere


@dataclass(frozen=True, eq=False)
class EditDrawer(Generic[C]):
    """Draws edits as `swiftpie edit` does."""

    benchmark: EditBenchmark[C]
    session: Session
    mask: MaskChoice = MaskChoice.FOUND
    settings: EditSettings = field(default_factory=EditSettings)
    draws_naive: bool = False  # also the naive paste, by the same weights

    def __post_init__(self) -> None:
        if self._inverts:
            self.session.components.inverter()  # says at once if the preset cannot edit

    @property
    def maker(self) -> Maker:
        """The preset with every choice that matters, and all weights."""
        components = self.session.components
        settings, mode = self.settings, mode_of(self.settings, components.preset)
        shared = {"method": settings.method, "size_px": settings.size_px}
        choices = {name: value for name, value in shared.items() if value is not None}
        choices |= {**dict(settings.own), "mode": mode}
        choices |= {} if self._is_chord else vars(self._scales)
        name = ", ".join(
            [
                f"edits by {components.preset.name}",
                f"mask {self.mask}",
                *(f"{choice} {value}" for choice, value in choices.items()),
            ]
        )
        return Maker(name, self._fingerprint, len(components.schedule.steps))

    def kinds(self, case: C) -> tuple[str, ...]:
        """Return the facts, which come last, and the naive paste."""
        del case
        return (FACTS, NAIVE) if self.draws_naive else (FACTS,)

    def draw(self, case: C, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is missing; where that is the facts, all that is known and the edit as well.

        An edit that the model refuses counts as the picture untouched.
        """
        task = self.benchmark.task(case)
        if NAIVE in missing:
            yield NAIVE, self.naive(task)
        if FACTS in missing:
            yield from task.known.items()
            yield from self.edit(task)

    def edit(self, task: EditTask) -> Iterator[tuple[str, File]]:
        """Yield the edit, where it may differ from its source, and what belongs to it."""
        identity = None
        if task.reference is not None:
            identity = self.session.encode_identity(task.reference, masks=task.reference_mask)
        request = EditRequest(
            image=task.source,
            prompt=task.target_prompt,
            seed=FRESH_SEED,
            source_prompt=task.source_prompt,
            mask=self._place(task),
            settings=self._accepting,
            source=identity,
        )
        try:
            result = self.session.draw(request)
        except CapabilityError as refusal:
            logger.warning("%s stays unchanged. %s", task.name, refusal)
            yield "edit", task.source
            yield "edit-mask", torch.zeros_like(task.mask)
            yield FACTS, {}
            return
        yield "edit", result.image
        yield "edit-mask", plane(result.region)
        if result.edited is not None:
            yield "uncomposed", result.edited
        yield FACTS, result.timings_ms

    def naive(self, task: EditTask) -> Image.Image:
        """Return the target prompt drawn from the answer's noise, laid on the source by its mask.

        It knows noise and place, as no edit of a given picture, so it is hard to beat.
        """
        everything = Image.new("L", task.source.size, 255)
        shown = self.session.encode_identity(task.source, masks=everything)
        side = self.session.components.preset.image_size_px
        drawn = self.session.personalize(
            *(shown, task.target_prompt),
            seed=task.seed,
            scales=NO_SUBJECT,
            size=(side, side),
            scene=WORDS_ALONE,
        )
        edited = drawn.images[0].resize(task.source.size, Image.Resampling.BICUBIC)
        return Image.composite(edited, task.source, blend_mask(task.mask))

    @property
    def _accepting(self) -> EditSettings:
        """The settings, which let a small model invert what the world's renderer drew."""
        if not (self._inverts and self.session.components.family.edits_by_words):
            return self.settings
        own = (*self.settings.own, ("accept_smear", True))
        return EditSettings(method=self.settings.method, scales=self.settings.scales, own=own)

    @property
    def _is_chord(self) -> bool:
        return self.settings.method == "chord"

    @property
    def _inverts(self) -> bool:
        """Whether edits come from the noise behind a picture."""
        if self.session.components.family.edits_by_words:
            return self.settings.method == "inversion"
        return not self._is_chord

    @property
    def _scales(self) -> ResolvedScales:
        settings, preset = self.settings, self.session.components.preset
        return settings.scales.over(Scales.for_edit(preset, mode=settings.mode))

    @cached_property
    def _fingerprint(self) -> str:
        """Return sha256 of all weights, those of the inversion network included."""
        components = self.session.components
        digest = hashlib.sha256(components.fingerprint.encode())
        if isinstance(components.inversion, nn.Module):
            for name, weight in components.inversion.state_dict().items():
                digest.update(name.encode())
                digest.update(weight.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()

    def _place(self, task: EditTask) -> Tensor | Box | None:
        """Return where the picture may change; None if that has to be found."""
        if self.mask is MaskChoice.TRUE:
            return task.mask
        return EVERYWHERE if self.mask is MaskChoice.NONE else None
