"""Rendered scenes of held-out subjects: their cases, what is known of each, and who draws."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, to_affine, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.imageio.images import fit_square, to_pil, to_tensor
from swiftpie.masks import Box, load_mask
from swiftpie.pipelines.drawing.request import Subject
from swiftpie.pipelines.drawing.settings import MaskSource, Scales
from swiftpie_lab.data.subjects import Subjects
from swiftpie_lab.evaluation.case import Evidence, Expected, Row
from swiftpie_lab.evaluation.judges import Networks, Panel, load_panel
from swiftpie_lab.evaluation.report import Interval, format_interval, interval
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results, maker_of
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import NOISE_SHAPE
from swiftpie_lab.world.placing import pose_subjects

SIZE_PX = 128
INDEX_OF = {scene.name: index for index, scene in enumerate(SCENES)}

NO_SUBJECT = Scales(identity_scale=0.0, detail_scale=0.0)
REFERENCES = ("reference", "other-reference")  # of a case's subjects, from left to right
SUBJECT_MASKS = ("truth-mask", "other-truth-mask")


class CaseKind(StrEnum):
    """What a case asks for."""

    PLAIN = "plain"  # a subject in a scene
    ATTRIBUTED = "attributed"  # and one attribute
    PAIR = "pair"  # two subjects in a scene


@dataclass(frozen=True)
class StickerCase:
    """Subject, scene and the seed that together determine one right picture."""

    name: str
    code: str  # the subject in its pack; of two subjects, the left one
    subject: str  # its name in words
    scene: str  # name in `swiftpie_lab.stickers.scenes.SCENES`
    prompt: str
    seed: int
    attribute: str = ""  # the only one that the prompt asks for, as judges spell it
    other_code: str = ""  # the right one of two subjects
    other_subject: str = ""

    @property
    def kind(self) -> CaseKind:
        """What the case asks for."""
        if self.other_code:
            return CaseKind.PAIR
        return CaseKind.ATTRIBUTED if self.attribute else CaseKind.PLAIN

    @property
    def codes(self) -> tuple[str, ...]:
        """The subjects, from left to right."""
        return (self.code, self.other_code) if self.other_code else (self.code,)


@dataclass(frozen=True)
class Lighting:
    """Whether the model lights its subject better than pasting would."""

    advantage: Interval | None  # error of the paste minus that of the model; None: no such case
    beats_paste: bool  # the whole interval is above zero


@dataclass(frozen=True, eq=False)
class SceneBenchmark(Benchmark[StickerCase]):
    """Rendered scenes of a pack's held-out subjects, which no training picture shows."""

    subjects: Subjects
    seed: int = 0  # decides all cases

    candidates = MappingProxyType(
        {"model": "model", "truth": "truth", "text": "text only", "paste": "naive paste"}
    )
    bound = "truth"
    ranked_by = ("subject-psnr",)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every held-out subject."""
        return tuple(self.subjects.codes[index] for index in self.subjects.indices("held_out"))

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names and sprites."""
        digest = hashlib.sha256(self.subjects.tiles.numpy().tobytes())
        digest.update("\n".join((*self.subjects.codes, *self.subjects.names)).encode())
        return digest.hexdigest()

    def frames(self, codes: Sequence[str]) -> Tensor:
        """Return subjects as they are, as reference frames (G, 4, 128, 128)."""
        still = torch.zeros(len(codes))
        tiles = self.subjects.tiles[[self.subjects.index(code) for code in codes]]
        return pose_subjects(tiles, rotation=still, flip=still, hue=still)

    @abstractmethod
    def known(self, case: StickerCase) -> dict[str, Image.Image]:
        """Return references, truth and their masks by kind of picture."""

    @abstractmethod
    def layouts(self, case: StickerCase) -> tuple[Layout, ...]:
        """Return where each subject is in the truth."""

    @abstractmethod
    def boxes(self, case: StickerCase) -> tuple[Box | None, ...]:
        """Return where the model is told to draw each subject; None leaves it to the model."""

    @abstractmethod
    def gallery(self) -> tuple[Tensor, Tensor]:
        """Return pictures (S, V, 3, H, W) and masks (S, V, 1, H, W) of every held-out subject."""

    def panel(self) -> Panel:
        """Return the judges, who have seen every held-out subject."""
        return load_panel(self.codes, *self.gallery())

    def evidence(
        self, case: StickerCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the model's picture, the truth and both bounds, once for each subject."""
        truth, masks = self.answers(case, results)
        for candidate in self.candidates:
            picture = to_tensor(results.read(case, candidate))
            claimed = masks[0] if candidate == "truth" else None
            region = None
            if candidate == "model":
                claimed = results.read_mask(case, "model-mask")
                if results.has(case, "region-mask"):
                    region = results.read_mask(case, "region-mask")
            for code, mask in zip(case.codes, masks, strict=True):
                one = evidence_of(case, code, picture, truth, mask, claimed, networks=networks)
                yield candidate, replace(one, region=region)

    def answers(self, case: StickerCase, results: Results) -> tuple[Tensor, list[Tensor]]:
        """Return the truth (1, 3, H, W), and the mask (1, 1, H, W) of each subject in it."""
        masks = [results.read_mask(case, kind) for kind in SUBJECT_MASKS[: len(case.codes)]]
        return to_tensor(results.read(case, "truth")), masks

    def words(self, case: StickerCase) -> list[str]:
        """Return the prompt."""
        return [case.prompt]

    def facts(self, rows: Sequence[Row[StickerCase]]) -> dict[str, object]:
        """Return what was counted, and whether the model beats pasting."""
        num_attributed = sum(row.case.kind is CaseKind.ATTRIBUTED for row in rows)
        return {
            "num_cases": len(rows) - num_attributed,
            "num_attributed": num_attributed,
            "num_subjects": len({code for row in rows for code in row.case.codes}),
            "num_scenes": len({row.case.scene for row in rows}),
            "gallery_size": len(self.codes),  # subjects that retrieval chooses from
            "lighting": lighting_of(rows),
        }

    def sentences(self, rows: Sequence[Row[StickerCase]]) -> list[str]:
        """Return what was judged, and whether the model beats pasting."""
        facts, lighting = self.facts(rows), lighting_of(rows)
        more = f" {facts['num_attributed']} more ask for one attribute each."
        said = [
            f"{facts['num_cases']} cases with {facts['num_subjects']} subjects held out from "
            f"training and {facts['num_scenes']} scenes; the right subject is one of "
            f"{facts['gallery_size']}.{more if facts['num_attributed'] else ''} Brackets hold 95 % "
            "bootstrap intervals over cases; arrows point to the better side."
        ]
        advantage = lighting.advantage
        if advantage is None:
            return [*said, "No case was judged by its lighting."]
        verdict = "beats" if lighting.beats_paste else "does not reliably beat"
        said.append(
            f"In {advantage.num_cases} cases with coloured light the model {verdict} the naive "
            "paste; the paste's error minus the model's, in the mean colour of the subject, is "
            f"{format_interval(advantage)} levels of 255."
        )
        return said


@dataclass(frozen=True, eq=False)
class SubjectDrawer:
    """Draws held-out subjects with a session, and beside them both bounds."""

    session: Session
    benchmark: SceneBenchmark

    def __post_init__(self) -> None:
        check_noise(self.session.components)

    @property
    def maker(self) -> Maker:
        """The preset."""
        return maker_of(self.session)

    def kinds(self, case: StickerCase) -> tuple[str, ...]:
        """Return references, answers and candidates, with all masks."""
        count = len(case.codes)
        masks = [f"{kind}-mask" for kind in REFERENCES[:count]]
        answers = ("truth", *SUBJECT_MASKS[:count], "model", "model-mask", "text", "paste")
        return (*REFERENCES[:count], *masks, *answers)

    def draw(self, case: StickerCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is missing."""
        known = self.benchmark.known(case)
        yield from known.items()
        if not missing & {"model", "model-mask", "text", "paste"}:
            return
        subjects = [
            Subject(self.session.encode_identity(known[kind], masks=known[f"{kind}-mask"]), box=box)
            for kind, box in zip(REFERENCES, self.benchmark.boxes(case), strict=False)
        ]
        if missing & {"model", "model-mask"}:
            # A box keeps each of several subjects to its own place; a single one has all.
            source = MaskSource.BOX if len(subjects) > 1 else MaskSource.NONE
            result = self.session.personalize(subjects, case.prompt, seed=case.seed, mask=source)
            yield "model", result.images[0]
            yield "model-mask", result.subject_masks[0]
        if missing & {"text", "paste"}:
            plain = self.session.personalize(
                subjects, case.prompt, seed=case.seed, scales=NO_SUBJECT
            ).images[0]
            yield "text", plain
            yield "paste", paste_all(known, self.benchmark.layouts(case), scenery=plain)


def check_noise(components: Components, *, side_px: int = SIZE_PX) -> None:
    """Refuse presets whose pictures have no right answer of `side_px`.

    Raises:
        CapabilityError: The preset starts from other noise than the renderer.
    """
    shape = (components.preset.latent_channels, *components.cells_of(None))
    needed = (NOISE_SHAPE[0], *components.cells_of((side_px, side_px)))
    if shape != needed or components.preset.image_size_px != side_px:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws from noise of shape {shape}; pictures with "
            f"a right answer of {side_px} px need {needed}. Load the preset 'mini' with "
            f"`size_px={side_px}`."
        )


def evidence_of(
    case: StickerCase,
    code: str,
    picture: Tensor,
    truth: Tensor,
    mask: Tensor,
    claimed: Tensor | None,
    *,
    networks: Networks,
) -> Evidence:
    """Return what there is to judge of one subject in a candidate.

    Args:
        case: What was asked for; of an attribute nothing else is judged.
        code: The subject.
        picture: The candidate, (1, 3, H, W) in [-1, 1].
        truth: The exact answer, likewise.
        mask: The subject in it, (1, 1, H, W) in [0, 1].
        claimed: Where the candidate's maker says it is, likewise.
        networks: The judges.
    """
    if case.kind is CaseKind.ATTRIBUTED:
        expected = Expected(where=mask, attribute=case.attribute)
        return Evidence(picture=picture, expected=expected, networks=networks)
    others = frozenset(case.codes) - {code}
    return Evidence(
        picture=picture,
        truth=truth,
        mask=mask,
        claimed=claimed,
        prompt=case.prompt,
        expected=Expected(where=mask, subject=code, others=others, scene=case.scene),
        networks=networks,
    )


def lighting_of(rows: Sequence[Row[StickerCase]]) -> Lighting:
    """Return how much closer the model's light is than the paste's."""
    pairs = [row.scores["lighting-error"] for row in rows if "lighting-error" in row.scores]
    if not pairs:
        return Lighting(advantage=None, beats_paste=False)
    advantage = interval([pair["paste"] - pair["model"] for pair in pairs])
    return Lighting(advantage=advantage, beats_paste=advantage.low > 0)


def paste(
    reference: Tensor, mask: Tensor, *, scenery: Tensor, layout: Layout, is_turned: bool = False
) -> Tensor:
    """Lay the subject of `reference` on `scenery` as it is: right place, wrong light.

    Args:
        reference: Pixels (1, 3, H, W) in [-1, 1].
        mask: Its subject, (1, 1, H, W) in [0, 1].
        scenery: Pixels (1, 3, H, W) in [-1, 1].
        layout: Where the subject goes.
        is_turned: Turn it by its relief as the layout has it, instead of showing it as it is.
    """
    size = (scenery.shape[-2], scenery.shape[-1])
    frame, cover = fit_square(reference, mask, size_px=size[0], fill=SUBJECT_FILL)
    sprite = torch.cat([frame * cover, cover], dim=1)
    if is_turned:
        sprite = turn(sprite, height(cover), layout.pose).frame
    drawn = warp(sprite, to_affine(layout), size)
    return scenery * (1 - drawn[:, 3:]) + drawn[:, :3]


@torch.no_grad()
def paste_all(
    known: Mapping[str, Image.Image],
    layouts: Sequence[Layout],
    *,
    scenery: Image.Image,
    is_turned: bool = False,
) -> Image.Image:
    """Lay the references among pictures by kind, as many as there are layouts, on `scenery`."""
    pasted = to_tensor(scenery)
    for kind, layout in zip(REFERENCES, layouts, strict=False):
        reference = known[kind]
        mask = load_mask(known[f"{kind}-mask"], reference.size)
        pasted = paste(
            to_tensor(reference), mask, scenery=pasted, layout=layout, is_turned=is_turned
        )
    return to_pil(pasted)[0]
