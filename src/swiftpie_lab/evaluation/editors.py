"""What draws the edits of a benchmark: one-step inversion, baselines and bounds."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Generic

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import whole_frame
from swiftpie.imageio.images import mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import Box
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.denoise import Clock, Prepared, decode, denoise
from swiftpie.pipelines.edit_region import canvas_for, composite
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.request import EditRequest
from swiftpie.pipelines.settings import EditMethod, EditMode, EditSettings, ResolvedScales, Scales
from swiftpie.pipelines.techniques.personalize import subject_condition
from swiftpie.schedules import CLEAN, predict_clean
from swiftpie.types import TextCondition
from swiftpie_lab.evaluation.case import Case, Evidence
from swiftpie_lab.evaluation.programs import Ability, OpenBenchmark, ProgramTask
from swiftpie_lab.evaluation.run import FACTS, C, File, Maker, Results

logger = logging.getLogger(__name__)

NO_SUBJECT = ResolvedScales(identity_scale=0.0, detail_scale=0.0)
EVERYWHERE: Box = (0.0, 0.0, 1.0, 1.0)
FRESH_SEED = 0  # of what an edit draws; a task's own seed would tell the answer's noise
UNTOUCHED, EXACT = Maker("untouched source"), Maker("exact target")
REDRAWN = ("reconstruction", "from-noise", "uncomposed")  # kinds of what `Edited` holds besides


@dataclass(frozen=True, eq=False)
class EditTask:
    """One edit, as an editor gets it."""

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
    instruction: str = ""  # the same as the target prompt, as a command


@dataclass(frozen=True, eq=False)
class Edited:
    """What an editor returns; pictures are as large as the source."""

    image: Image.Image
    mask: Tensor | None = None  # (1, 1, H, W), 0 = pixels that it claims not to have touched
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # by stage; "total" is all
    reconstruction: Image.Image | None = None  # the source, inverted and generated again
    from_noise: Image.Image | None = None  # the same by noise and prompt alone
    uncomposed: Image.Image | None = None  # the edit before the source was put back around it


class TaskBenchmark(OpenBenchmark[C]):
    """A benchmark whose cases are edits."""

    needs = Ability.CHANGE
    shows_subject = False

    @abstractmethod
    def task(self, case: C) -> EditTask:
        """Return the case as editors get it."""

    @abstractmethod
    def known(self, case: C, task: EditTask) -> Iterator[tuple[str, File]]:
        """Yield what is known about it without an editor, by kind of picture."""

    def program_task(self, case: C) -> ProgramTask:
        """Return both of what was before and what is wanted; only inpainting takes the mask."""
        task = self.task(case)
        return ProgramTask(
            prompt=task.target_prompt,
            seed=FRESH_SEED,
            source=task.source,
            mask=mask_to_pil(task.mask)[0],
            instruction=task.instruction,
            size=task.source.size,
            files=dict(self.known(case, task)),
        )


def with_edit(known: Evidence, case: Case, results: Results) -> Evidence:
    """Return the evidence with what an editor drew, and with what it tells."""
    reconstruction, from_noise, uncomposed = (
        to_tensor(results.read(case, kind)) if results.has(case, kind) else None for kind in REDRAWN
    )
    return replace(
        known,
        picture=to_tensor(results.read(case, "edit")),
        claimed=results.read_mask(case, "edit-mask") if results.has(case, "edit-mask") else None,
        reconstruction=reconstruction,
        from_noise=from_noise,
        uncomposed=uncomposed,
        time_ms=(results.read_facts(case) or {}).get("total"),
    )


@dataclass(frozen=True, eq=False)
class EditDrawer(ABC, Generic[C]):
    """Draws the edits of a benchmark; the same task gives the same picture."""

    benchmark: TaskBenchmark[C]
    baseline: "EditDrawer[C] | None" = field(default=None, kw_only=True)  # of a bound beside edits

    @property
    @abstractmethod
    def maker(self) -> Maker:
        """What edits."""

    @abstractmethod
    def edit(self, task: EditTask) -> Edited:
        """Carry out one edit."""

    def kinds(self, case: C) -> tuple[str, ...]:
        """Return the facts, which come last, and what the baseline makes of the case."""
        del case
        return (FACTS,) if self.baseline is None else (FACTS, "naive")

    def draw(self, case: C, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is missing; where that is the facts, all that is known and the edit as well.

        Raises:
            InputError: The edit is not as large as its source.
        """
        task = self.benchmark.task(case)
        if self.baseline is not None and "naive" in missing:
            yield "naive", self.baseline.edit(task).image
        if FACTS not in missing:
            return
        edited = self.edit(task)
        if edited.image.size != task.source.size:
            raise InputError(
                f"The edit of {case.name!r} has {edited.image.size} px and its source "
                f"{task.source.size}. Equal sizes are needed. Resize the edit."
            )
        yield from self.benchmark.known(case, task)
        yield "edit", edited.image
        if edited.mask is not None:
            yield "edit-mask", edited.mask
        redrawn = (edited.reconstruction, edited.from_noise, edited.uncomposed)
        for kind, image in zip(REDRAWN, redrawn, strict=True):
            if image is not None:
                yield kind, image
        yield FACTS, edited.timings_ms


class SourceEditor(EditDrawer[C]):
    """Leaves every picture as it is: least success, most preservation."""

    maker = UNTOUCHED

    def edit(self, task: EditTask) -> Edited:
        """Return the source; it touches nothing."""
        return Edited(task.source, torch.zeros_like(task.mask))


class TargetEditor(EditDrawer[C]):
    """Knows the exact answer: what nothing can beat."""

    maker = EXACT

    def edit(self, task: EditTask) -> Edited:
        """Return the answer and the true mask."""
        assert task.target is not None, "only tasks with an exact answer are given to it"
        return Edited(task.target, task.mask)


class MaskChoice(StrEnum):
    """Where an edit may change the picture."""

    FOUND = "found"  # between source and target prompt
    KEYWORD = "keyword"  # between the keyword and no words; as FOUND where there is none
    TRUE = "true"  # the case's own mask
    NONE = "none"  # everywhere


def place_of(choice: MaskChoice, task: EditTask) -> Tensor | Box | None:
    """Return where an edit may change the picture; None if it has to find that itself."""
    match choice:
        case MaskChoice.TRUE:
            return task.mask
        case MaskChoice.NONE:
            return EVERYWHERE
        case MaskChoice.FOUND | MaskChoice.KEYWORD:
            return None


@dataclass(frozen=True, eq=False)
class PresetEditor(EditDrawer[C]):
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
    @abstractmethod
    def name(self) -> str:
        """The preset with every choice that matters."""

    @property
    def maker(self) -> Maker:
        """The preset, with the inversion network's weights."""
        steps = len(self.session.components.schedule.steps)
        return Maker(self.name, self.fingerprint, steps)


@dataclass(frozen=True, eq=False)
class SwiftEditor(PresetEditor[C]):
    """One-step inversion, mask and generation, as `swiftpie edit` does them."""

    mask: MaskChoice = MaskChoice.FOUND
    settings: EditSettings = field(default_factory=EditSettings)
    uses_library: bool = False  # else words alone tell who comes, as the model knows them
    reconstructs: bool = True  # draws the source once more, which takes as long as two edits
    shows_source: bool = True  # to the generator, as it draws the source once more

    def __post_init__(self) -> None:
        self.session.components.inverter()  # says at once if the preset cannot edit

    @property
    def name(self) -> str:
        """The preset with mode, mask and scales."""
        preset = self.session.components.preset
        settings = self.settings.in_mode_of(preset)
        scales = ", ".join(f"{name} {value:g}" for name, value in vars(self._scales).items())
        return (
            f"SwiftEdit, {preset.name}: {settings.mode} mode, from "
            f"{settings.start}, mask {self.mask} ({settings.rule}), {scales}"
            f"{', subjects by name from the library' if self.uses_library else ''}"
            f"{'' if self.reconstructs else ', without reconstructions'}"
            f"{'' if self.shows_source else ', reconstructed from noise and prompt alone'}"
        )

    def edit(self, task: EditTask) -> Edited:
        """Edit, and invert and generate the source once more where that was not part of it."""
        settings, identity = self.settings, None
        if task.reference is not None:
            identity = self.session.encode_identity(task.reference, masks=task.reference_mask)
        request = EditRequest(
            image=task.source,
            prompt=task.target_prompt,
            seed=FRESH_SEED,
            source_prompt=task.source_prompt,
            keyword=task.keyword if self.mask is MaskChoice.KEYWORD else "",
            mask=place_of(self.mask, task),
            source=identity,
            settings=settings,
            takes_named=self.uses_library,
        )
        if self.settings != EditSettings():  # of networks, so these draw
            method = self.settings.method or EditMethod.INVERSION
            request = replace(request, settings=replace(self.settings, method=method))
        try:
            result = self.session.draw(request)
        except CapabilityError as refusal:
            logger.warning("%s stays as it is. %s", task.name, refusal)
            return Edited(task.source, torch.zeros_like(task.mask))
        reconstruction = from_noise = None
        if self.reconstructs:
            from_noise = self._reconstruct(task, appearance=0.0)
            reconstruction = from_noise
        if self.reconstructs and self.shows_source:
            reconstruction = result.reconstruction or self._reconstruct(task, appearance=1.0)
        return Edited(
            result.image,
            plane(result.region),
            result.timings_ms,
            reconstruction,
            from_noise,
            result.edited,
        )

    @property
    def _scales(self) -> ResolvedScales:
        settings, preset = self.settings, self.session.components.preset
        return settings.scales.over(Scales.for_edit(preset, mode=settings.mode))

    def _reconstruct(self, task: EditTask, *, appearance: float) -> Image.Image:
        """Return the source through inversion and generation, as an edit that changes nothing.

        Args:
            task: What is edited.
            appearance: Scale of the picture itself as a condition, which SwiftEdit gives its
                generator as well; with 0, all that is known is in the noise and the prompt.
        """
        chosen = self._scales
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
            seed=FRESH_SEED,
            settings=replace(
                self.settings, mode=EditMode.PAPER, rule=None, scales=outside, keeps_outside=False
            ),
        ).image


@dataclass(frozen=True, eq=False)
class ChordEditor(PresetEditor[C]):
    """ChordEdit (arXiv:2602.19083): the preset alone, without an inversion network.

    The method has no mask of its own: as published it is `MaskChoice.NONE`.
    """

    mask: MaskChoice = MaskChoice.FOUND
    settings: EditSettings = field(default_factory=lambda: EditSettings(method=EditMethod.CHORD))

    @property
    def name(self) -> str:
        """The preset with mask and times."""
        chosen = self.settings
        return (
            f"ChordEdit, {self.session.components.preset.name}: t {chosen.t_start:g}, delta "
            f"{chosen.delta:g}, {chosen.chord_steps} steps of {chosen.step_scale:g} to "
            f"{chosen.t_end:g}, {chosen.noise_samples} draws of noise, "
            f"{'not ' if chosen.without_refinement else ''}refined, mask {self.mask} "
            f"({chosen.rule})"
        )

    def edit(self, task: EditTask) -> Edited:
        """Edit by both prompts."""
        result = self.session.edit(
            task.source,
            task.target_prompt,
            source_prompt=task.source_prompt,
            keyword=task.keyword if self.mask is MaskChoice.KEYWORD else "",
            mask=place_of(self.mask, task),
            seed=FRESH_SEED,
            settings=self.settings,
        )
        return Edited(
            result.image, plane(result.region), result.timings_ms, uncomposed=result.edited
        )


@dataclass(frozen=True, eq=False)
class NaiveEditor(PresetEditor[C]):
    """The target prompt drawn from the case's own seed, laid on the source by the true mask.

    It knows two things that no editor of a given picture knows, noise and place, so it is a
    baseline that is hard to beat where the prompt says everything.
    """

    @property
    def name(self) -> str:
        """The preset."""
        return f"naive paste, {self.session.components.preset.name}"

    def edit(self, task: EditTask) -> Edited:
        """Draw without a subject, and paste."""
        anyone = self.session.encode_identity(
            task.source, masks=Image.new("L", task.source.size, 255)
        )
        drawn = self.session.personalize(
            anyone, task.target_prompt, seed=task.seed, scales=NO_SUBJECT
        )
        edited = drawn.images[0].resize(task.source.size, Image.Resampling.BICUBIC)
        return Edited(composite(edited, task.source, task.mask), task.mask, drawn.timings_ms)


@dataclass(frozen=True, eq=False)
class DdimEditor(PresetEditor[C]):
    """Walks from the picture up to noise under the source prompt, and down under the target's.

    It has no mask: what it keeps, the noise keeps. Both ways take every step of the preset.
    """

    @property
    def name(self) -> str:
        """The preset and its steps."""
        components = self.session.components
        steps = len(components.schedule.steps)
        return f"DDIM inversion, {components.preset.name}: {steps} steps"

    def edit(self, task: EditTask) -> Edited:
        """Invert once; generate the target and, outside of the clock, the source again."""
        with self.session.components.scope():
            return self._edited(task)

    @torch.no_grad()
    def _edited(self, task: EditTask) -> Edited:
        components, clock = self.session.components, Clock()
        preset = components.preset
        canvas = canvas_for(
            (task.source.height, task.source.width),
            side_px=preset.image_size_px,
            unit_px=2 * preset.latent_cell_px,
        )
        latents = components.autoencoder.encode(canvas.enter(task.source).to(components.device))
        clock.lap("encode")
        alone = text_alone(components, task.source, latents)
        source, target = (
            components.text.encode([prompt]) for prompt in (task.source_prompt, task.target_prompt)
        )
        noisy = invert(components, latents, source, alone)
        clock.lap("invert")
        edited = self._draw(noisy, target, alone)
        clock.lap("denoise")
        return Edited(
            canvas.leave(edited),
            None,
            clock.timings(),
            canvas.leave(self._draw(noisy, source, alone)),
        )

    def _draw(self, noisy: Tensor, text: TextCondition, alone: SubjectCondition) -> Image.Image:
        components = self.session.components
        fresh = noisy.new_zeros(0, *noisy.shape)
        clean = denoise(Prepared(components, noisy, text, None, alone, fresh)).latents
        return to_pil(decode(components, clean))[0]


def invert(
    components: Components, latents: Tensor, text: TextCondition, condition: SubjectCondition
) -> Tensor:
    """Return the noisy latents (B, C, h, w) from which all steps would lead back to `latents`.

    Each step up adds the noise that is predicted as if it had been taken already.
    """
    schedule, at = components.schedule, CLEAN
    current = latents.float()
    for to in reversed(schedule.steps):
        raw = components.denoiser(current, to.timestep, text, condition, {}).sample
        clean = predict_clean(current, raw, to, schedule.prediction_type)
        noise = (current - to.alpha * clean) / to.sigma
        current = to.alpha * (current - at.sigma * noise) / at.alpha + to.sigma * noise
        at = to
    return current


def text_alone(components: Components, picture: Image.Image, latents: Tensor) -> SubjectCondition:
    """Return the condition of a picture that only the prompt describes."""
    return subject_condition(
        components,
        [whole_picture_identity(components, picture)],
        [whole_frame(latents)],
        regions=[torch.ones_like(latents[:, :1])],
        class_tokens=torch.zeros(1, 1),
        scales=NO_SUBJECT,
        shares=[1.0],
    )
