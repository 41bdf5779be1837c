"""Rendered edits: one noise drawn twice, so that answer and mask are exact."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import grow
from swiftpie.noise import draw_noise
from swiftpie_lab.data.subjects import Subjects
from swiftpie_lab.evaluation.benchmarks.edit_cases import (
    ATTRIBUTES_OF,
    COLOURED,
    TYPES,
    EditCase,
    EditKind,
    Slot,
    deal,
    describe_empty,
    keyword_for,
    scenes_for,
)
from swiftpie_lab.evaluation.benchmarks.scenes import INDEX_OF, SIZE_PX, StickerCase
from swiftpie_lab.evaluation.benchmarks.stickers import (
    ASKED,
    StickerBenchmark,
    describe,
    describe_both,
)
from swiftpie_lab.evaluation.case import Case, Evidence, Expected, Kept, Row
from swiftpie_lab.evaluation.editors import EditTask, TaskBenchmark, with_edit
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import File, Results, Shown
from swiftpie_lab.stickers.renderer import GROW_PX, Placed, Rendering, render, visible_change
from swiftpie_lab.stickers.stickers import NOISE_SHAPE
from swiftpie_lab.world.fields import Scene
from swiftpie_lab.world.placing import place

NUM_CASES = 700  # by default, as many as PIE-Bench has
EDIT_SEED = 2**39  # their noise is that of no case of another benchmark
OTHER_SEED = 2**35  # added for what places the second subject


class Answer(NamedTuple):
    """Everything that is known about a case; pixels lie in [-1, 1]."""

    source: Tensor  # (1, 3, H, W)
    target: Tensor  # (1, 3, H, W)
    mask: Tensor  # (1, 1, H, W), 0 or 1: where the pictures differ, and all of moved subjects
    before: Tensor  # (1, 1, H, W) the first subject in the source
    kept: Tensor  # (1, 1, H, W) the first subject in the target; 0 where it is gone
    asked: Tensor  # (1, 1, H, W) where the judge looks for what was asked


class RenderedEdit(Case, Protocol):
    """An edit whose answer is rendered."""

    @property
    def code(self) -> str:
        """The subject before."""

    @property
    def seed(self) -> int:
        """Decides the noise of both renderings."""

    @property
    def source_prompt(self) -> str:
        """What the picture shows."""

    @property
    def target_prompt(self) -> str:
        """What it shall show."""

    @property
    def keyword(self) -> str:
        """The words of the source prompt that shall change; empty where there are none."""

    @property
    def has_reference(self) -> bool:
        """Whether a picture of the new subject is given."""


E = TypeVar("E", bound=RenderedEdit)


class RenderedEdits(TaskBenchmark[E]):
    """What benchmarks of edits share whose noise is drawn twice."""

    candidates = MappingProxyType(
        {
            "edit": "edit",
            "naive": "naive paste",
            "target": "exact target",
            "source": "untouched source",
        }
    )
    bound = "target"
    strip = MappingProxyType(
        {
            "source": "before",
            "edit": "after",
            "target": "target",
            "mask": "true mask",
            "edit-mask": "used mask",
            "naive": "naive paste",
            "reference": "reference",
        }
    )
    shown = Shown(worst=48, best=0, sample=48)

    @abstractmethod
    def answer(self, case: E) -> Answer:
        """Draw the case before and after."""

    @abstractmethod
    def reference(self, case: E) -> tuple[Tensor, Tensor]:
        """Return a picture (1, 3, H, W) of the subject that judges look for, and its mask."""

    @abstractmethod
    def expected(self, case: E, *, asked: Tensor, kept: Tensor) -> Expected:
        """Return what judges should see after an edit.

        Args:
            case: The edit.
            asked: Where a subject should come or go, (1, 1, H, W).
            kept: Where the first subject is afterwards, (1, 1, H, W).
        """

    def task(self, case: E) -> EditTask:
        """Return the case as editors get it, through 8 bits as files are."""
        answer = self.answer(case)
        reference = mask = None
        if case.has_reference:
            pixels, cover = self.reference(case)
            reference, mask = to_pil(pixels)[0], mask_to_pil(cover)[0]
        return EditTask(
            name=case.name,
            source=to_pil(answer.source)[0],
            source_prompt=case.source_prompt,
            target_prompt=case.target_prompt,
            keyword=case.keyword,
            mask=answer.mask,
            seed=case.seed,
            reference=reference,
            reference_mask=mask,
            target=to_pil(answer.target)[0],
        )

    def known(self, case: E, task: EditTask) -> Iterator[tuple[str, File]]:
        """Yield pictures before and after, their masks, and the reference if there is one."""
        answer = self.answer(case)
        assert task.target is not None, "rendered edits have an answer"
        yield "source", task.source
        yield "target", task.target
        yield "mask", answer.mask
        yield "before-mask", answer.before
        yield "kept-mask", answer.kept
        yield "asked-mask", answer.asked
        if task.reference is not None:
            yield "reference", task.reference

    def evidence(
        self, case: E, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the edit and its bounds."""
        source, target = (to_tensor(results.read(case, kind)) for kind in ("source", "target"))
        mask, before, kept, asked = (
            results.read_mask(case, kind)
            for kind in ("mask", "before-mask", "kept-mask", "asked-mask")
        )
        known = Evidence(
            picture=source,
            truth=target,
            source=source,
            mask=mask,
            prompt=case.target_prompt,
            expected=self.expected(case, asked=asked, kept=kept),
            kept=Kept(code=case.code, before=before, after=kept),
            networks=networks,
        )
        for candidate in self.candidates:
            if candidate == "edit":
                yield candidate, with_edit(known, case, results)
            elif results.has(case, candidate):
                yield candidate, replace(known, picture=to_tensor(results.read(case, candidate)))

    def words(self, case: E) -> list[str]:
        """Return both prompts."""
        return [case.source_prompt, f"→ {case.target_prompt}"]


@dataclass(frozen=True, eq=False)
class EditBenchmark(RenderedEdits[EditCase]):
    """Deals edits of held-out subjects and draws them."""

    subjects: Subjects
    seed: int = 0

    name = "edits"
    title = "Edits"
    metrics = (
        "edit-success",
        "identity-kept",
        "inside-psnr",
        "mask-iou",
        "noise-psnr",
        "outside-lpips",
        "outside-mse",
        "outside-psnr",
        "outside-psnr-drawn",
        "outside-ssim",
        "reconstruction-psnr",
        "scene-attribute-success",
        "stray-pixels",
        "time",
    )
    ranked_by = ("edit-success", "inside-psnr")
    headline = ("edit-success", "identity-kept", "inside-psnr", "outside-psnr")

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names and sprites."""
        return self.stickers.fingerprint

    @cached_property
    def stickers(self) -> StickerBenchmark:
        """The same subjects, one a picture."""
        return StickerBenchmark(self.subjects, seed=self.seed)

    def cases(self, count: int = NUM_CASES) -> list[EditCase]:
        """Deal edits; a longer list starts with the shorter one.

        Raises:
            ConfigError: The pack holds out fewer than two subjects.
        """
        pool = self.stickers.world.pool
        if len(pool) < 2:  # a subject and the one that replaces it
            raise ConfigError(
                f"The pack has {len(pool)} held-out subjects; an edit takes two. Use the full pack "
                "of `swiftpie data prepare`."
            )
        order = Random(f"{self.seed}:subjects").sample(pool, len(pool))
        return [
            self._case(number, deal(number, seed=self.seed), order[number % len(order)])
            for number in range(count)
        ]

    def reference(self, case: EditCase) -> tuple[Tensor, Tensor]:
        """Return a picture of the subject that comes, and its mask."""
        return self.stickers.reference(self._as_sticker(case))

    def expected(self, case: EditCase, *, asked: Tensor, kept: Tensor) -> Expected:
        """Return what judges should see after an edit."""
        return expected_of(case, asked=asked, kept=kept)

    def groups(self, rows: Sequence[Row[EditCase]]) -> dict[str, list[Row[EditCase]]]:
        """Return the cases by type."""
        numbers = sorted({row.case.type_id for row in rows})
        return {
            f"{number} {TYPES[number]}": [row for row in rows if row.case.type_id == number]
            for number in numbers
        }

    def answer(self, case: EditCase) -> Answer:
        """Draw the case before and after."""
        match case.kind:
            case EditKind.DELETE:
                before = self._draw(case, case.code, case.scene, case.before)
                after = before._replace(
                    pixels=before.background, mask=torch.zeros_like(before.mask)
                )
            case EditKind.SECOND:
                before = self._draw(case, case.code, case.scene, case.before)
                after = self._draw_both(case, before.layout)
            case EditKind.HAT:
                # The subject makes room for a hat, which must not count as a change of its own.
                after = self._draw(case, case.code, case.scene, case.after)
                before = self._draw(case, case.code, case.scene, "", layout=after.layout)
            case _:
                before = self._draw(case, case.code, case.scene, case.before)
                after = self._draw(
                    case, case.other_code or case.code, case.target_scene, case.after
                )
        return _compare(case.kind, before, after)

    def _case(self, number: int, slot: Slot, subject: int) -> EditCase:
        random = Random(f"{self.seed}:edit:{number}")
        scene, target_scene = scenes_for(slot.kind, random)
        other = ""
        if slot.kind in {EditKind.OBJECT, EditKind.SECOND}:
            other = random.choice(
                [code for code in self.stickers.codes if self._name_of(code) != self._name(subject)]
            )
        pair = ATTRIBUTES_OF.get(slot.kind, (("", ""),) * 2)
        before, after = pair[slot.variant]
        name = self._name(subject)
        code = self.subjects.codes[subject]
        return EditCase(
            name=f"{number:04d}-{slot.type_id}-{slot.kind}-{code}",
            type_id=slot.type_id,
            kind=slot.kind,
            code=code,
            scene=scene.name,
            seed=EDIT_SEED + self.seed + number,
            source_prompt=describe(name, scene, _said(before)),
            target_prompt=self._target_prompt(slot.kind, name, other, target_scene, after, random),
            keyword=keyword_for(slot.kind, name=name, scene=scene, before=before),
            target_scene=target_scene.name,
            before=before,
            after=after,
            other_code=other,
            has_reference=slot.kind is EditKind.OBJECT and slot.variant == 1,
        )

    def _target_prompt(
        self, kind: EditKind, name: str, other: str, scene: Scene, after: str, random: Random
    ) -> str:
        match kind:
            case EditKind.DELETE:
                return describe_empty(scene, random)
            case EditKind.SECOND:
                return describe_both(name, self._name_of(other), scene)
            case EditKind.OBJECT:
                return describe(self._name_of(other), scene, _said(after))
            case _:
                return describe(name, scene, _said(after))

    def _name(self, subject: int) -> str:
        return self.subjects.names[subject]

    def _name_of(self, code: str) -> str:
        return self.subjects.names[self.subjects.index(code)]

    def _as_sticker(self, case: EditCase) -> StickerCase:
        return StickerCase(
            name=case.name,
            code=case.other_code,
            subject=self._name_of(case.other_code),
            scene=case.scene,
            prompt=case.target_prompt,
            seed=case.seed,
        )

    def _draw(
        self,
        case: EditCase,
        code: str,
        scene: str,
        attribute: str,
        *,
        layout: Layout | None = None,
        companion: Placed | None = None,
    ) -> Rendering:
        return render(
            draw_noise([case.seed], NOISE_SHAPE),
            self.stickers.frames([code]),
            [INDEX_OF[scene]],
            [ASKED[_said(attribute)]],
            accessories=self.stickers.world.accessories,
            size_px=SIZE_PX,
            layout=layout,
            companion=companion,
        )

    def _draw_both(self, case: EditCase, layout: Layout) -> Rendering:
        frames = self.stickers.frames([case.other_code])
        noise = draw_noise([case.seed + OTHER_SEED], NOISE_SHAPE)
        across = ASKED["right" if case.before == "left" else "left"]
        companion = Placed(frames, place(noise, frames, [INDEX_OF[case.scene]], [across]))
        return self._draw(
            case, case.code, case.scene, case.before, layout=layout, companion=companion
        )


def _said(attribute: str) -> str:
    """Return the attribute as prompts say it; "coloured" is not said."""
    return "" if attribute == COLOURED else attribute


def _compare(kind: EditKind, before: Rendering, after: Rendering) -> Answer:
    changed = visible_change(before.pixels, after.pixels) > 0
    if kind in {EditKind.OBJECT, EditKind.DELETE, EditKind.SIZE, EditKind.SIDE}:
        changed |= (before.mask > 0) | (after.mask > 0)
    if kind is EditKind.SECOND:
        changed |= after.companion_mask > 0
    asked = {
        EditKind.OBJECT: after.mask,
        EditKind.DELETE: before.mask,
        EditKind.SECOND: after.companion_mask,
    }
    gone = kind in {EditKind.OBJECT, EditKind.DELETE}
    return Answer(
        source=before.pixels,
        target=after.pixels,
        mask=grow(changed.float(), GROW_PX),
        before=before.mask,
        kept=torch.zeros_like(after.mask) if gone else after.mask,
        asked=asked.get(kind, torch.zeros_like(after.mask)),
    )


def expected_of(case: EditCase, *, asked: Tensor, kept: Tensor) -> Expected:
    """Return what judges should see after an edit.

    Args:
        case: The edit.
        asked: Where a subject should come or go, (1, 1, H, W).
        kept: Where the first subject is afterwards, (1, 1, H, W).
    """
    match case.kind:
        case EditKind.OBJECT | EditKind.SECOND:
            return Expected(where=asked, subject=case.other_code)
        case EditKind.DELETE:
            return Expected(where=asked, gone=case.code, scene=case.target_scene)
        case EditKind.SCENE | EditKind.LIGHT:
            return Expected(where=kept, scene=case.target_scene)
        case _:
            return Expected(where=kept, attribute=case.after)
