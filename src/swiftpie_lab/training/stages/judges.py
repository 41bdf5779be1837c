"""Judges of the world's pictures, trained on true renderings alone."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie_lab.judges import (
    WHOLE_PX,
    Crops,
    PictureReader,
    SubjectEmbedder,
    close_and_around,
    cut,
    shrink,
    subject_crops,
)
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_world.air import Setting
from swiftpie_world.art.rooms import BACKDROPS
from swiftpie_world.captions import (
    CLOSE_QUESTIONS,
    NONE,
    QUESTIONS,
    WHOLE_QUESTIONS,
    SceneSpec,
    right_answers,
)
from swiftpie_world.places import PLACES
from swiftpie_world.sampler import LEAST_SEEN, World, WorldBatch

GALLERY_VIEWS = 4
TEMPERATURE = 0.07
CROP_SHIFT, CROP_ZOOM = 0.06, 0.1  # shares of the crop's side; generated subjects are a little off
WALLS = [SceneSpec(Setting(PLACES.index(name))) for name in BACKDROPS[:GALLERY_VIEWS]]
ATTRIBUTES = ("colour", "material", "accessory", "rendition", "jump")  # whose first answer is none
UNKNOWN = -100  # the label of a question that a picture does not answer
# Of the pictures, besides those that have the attribute already: every answer has to be seen
# often, or a judge in doubt answers that there is no attribute.
LOOK_SHARE, ACCESSORY_SHARE, JUMP_SHARE = 0.5, 0.4, 0.2


class WorldJudges(nn.Module):
    """The subject of a crop, and the answers to all questions about a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.subject_embedder = SubjectEmbedder(dimensions=128, widths=(40, 80, 112, 128))
        self.picture_reader = PictureReader(
            whole={name: len(answers) for name, answers in WHOLE_QUESTIONS.items()},
            close={name: len(answers) for name, answers in CLOSE_QUESTIONS.items()},
        )


@dataclass(frozen=True)
class WorldJudgesConfig:
    """Settings of the stage."""

    num_subjects: int = 48  # each is contrasted with all the others of its batch
    size_px: int = 128

    def build(self, context: Context) -> "WorldJudgesStage":
        world = context.world("train", size_px=self.size_px)
        held_out = context.world("held_out", size_px=self.size_px)
        return WorldJudgesStage(world, held_out, config=self)


@dataclass(frozen=True)
class WorldJudgesStage:
    """Pull two pictures of one subject together; answer what captions say."""

    world: World
    held_out: World
    config: WorldJudgesConfig

    @property
    def samples_per_step(self) -> int:
        return 2 * self.config.num_subjects

    def network(self) -> WorldJudges:
        """Return new judges, with a fixed initialisation."""
        torch.manual_seed(2)
        return WorldJudges().to(self.world.tiles.device)

    def losses(self, network: WorldJudges, step: int) -> dict[str, Tensor]:
        """Return the contrastive term, and one for all questions."""
        random = Random(step)
        specs = self.world.draw_specs(self.samples_per_step, seed=step)
        more = [_with_more(random, spec) for spec in specs]
        batch = self.world.batch(self.config.num_subjects, 2, seed=step, specs=more)
        generator = torch.Generator().manual_seed(step)
        crops = jitter(subject_crops(batch.mask), generator)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            vectors = network.subject_embedder(cut(batch.pixels, crops))
            answers = _read(network, batch, crops)
        labels = labels_of(batch)
        terms = [
            F.cross_entropy(logits, labels[name], ignore_index=UNKNOWN, label_smoothing=0.02)
            for name, logits in answers.items()
            if bool((labels[name] != UNKNOWN).any())
        ]
        return {
            "subject": contrastive_loss(vectors[0::2], vectors[1::2]),
            "questions": torch.stack(terms).mean(),
        }

    @torch.no_grad()
    def sample(self, network: WorldJudges, path: Path) -> dict[str, float]:
        """Save crops of some held-out subjects; return the judges' figures on all.

        As in the evaluation a picture has one attribute or none, and subjects are looked for
        among pictures of them before plain walls. Because an attribute can hide a subject, plain
        pictures are also counted separately; and because most pictures lack an attribute, answers
        are also counted separately where it is present.
        """
        count, views = len(self.held_out.pool), 1 + len(ATTRIBUTES)
        specs = _one_attribute_each(self.held_out.draw_specs(count * views, seed=VALIDATION_SEED))
        shown = self._held_out(len(WALLS), specs=WALLS * count)
        batch = self._held_out(views, specs=specs)
        crops = subject_crops(batch.mask)
        close = cut(batch.pixels, crops)
        rows = [close[i * views :][:views] for i in range(min(count, 8))]
        contact_sheet([to_pil(row) for row in rows], cell_px=64).save(path)
        walled = network.subject_embedder(cut(shown.pixels, subject_crops(shown.mask)))
        gallery = F.normalize(walled.unflatten(0, (count, -1)).mean(1), dim=1)
        nearest = (network.subject_embedder(close) @ gallery.T).argmax(1)
        found = nearest == torch.arange(count, device=nearest.device).repeat_interleave(views)
        figures = {"retrieval": _share(found), "retrieval_plain": _share(found[::views])}
        answers = _read(network, batch, crops)
        for name, wanted in labels_of(batch).items():
            right = answers[name].argmax(1) == wanted
            figures[f"{name}_accuracy"] = _share(right[wanted != UNKNOWN])
            if name in ATTRIBUTES:
                figures[f"{name}_prompted_accuracy"] = _share(right[wanted > 0])
        return figures

    def _held_out(self, views: int, specs: Sequence[SceneSpec]) -> WorldBatch:
        count = len(self.held_out.pool)
        return self.held_out.batch(count, views, seed=VALIDATION_SEED, augment=False, specs=specs)

    def export(self, network: WorldJudges, folder: Path) -> None:
        """Write the judges in half precision."""
        halves = copy.deepcopy(network).half()
        for judge in (halves.subject_embedder, halves.picture_reader):
            judge.register_to_config(_name_or_path="")  # the local path is not stored
        halves.subject_embedder.save_pretrained(folder / "subject_embedder")
        halves.picture_reader.save_pretrained(folder / "picture_reader")


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def _one_attribute_each(specs: Sequence[SceneSpec]) -> list[SceneSpec]:
    """Return specs of the same settings with, in turn, no attribute or one."""
    random, turns = Random(VALIDATION_SEED), cycle((NONE, *ATTRIBUTES))
    return [
        _with_attribute(random, spec.setting, name)
        for spec, name in zip(specs, turns, strict=False)
    ]


def _with_attribute(random: Random, setting: Setting, name: str) -> SceneSpec:
    if name == NONE:
        return SceneSpec(setting)
    chosen = {"pose" if name == "jump" else name: _answer(random, name)}
    return SceneSpec(setting, **chosen)


def _with_more(random: Random, spec: SceneSpec) -> SceneSpec:
    if random.random() < LOOK_SHARE:
        kind, other = random.sample(("colour", "material"), 2)
        looks = {kind: _answer(random, kind), other: NONE}
        spec = replace(spec, colour=looks["colour"], material=looks["material"])
    if random.random() < ACCESSORY_SHARE:
        spec = replace(spec, accessory=_answer(random, "accessory"))
    return replace(spec, pose="jumping") if random.random() < JUMP_SHARE else spec


def _answer(random: Random, question: str) -> str:
    """Draw any answer but the first, which is none."""
    return random.choice(QUESTIONS[question][1:])


def labels_of(batch: WorldBatch) -> dict[str, Tensor]:
    """Return the right answer to each question, (B,) long; `UNKNOWN` where the picture shows none.

    A material leaves the colour open and a colour the material: silver is grey, and a judge that
    knows only one of the two words is not wrong.
    """
    truths = [right_answers(spec) for spec in batch.specs]
    for known in truths:
        if known["material"] != NONE:
            del known["colour"]
        elif known["colour"] != NONE:
            del known["material"]
    unseen = batch.mask.mean((1, 2, 3)) <= LEAST_SEEN
    labels = {}
    for name, answers in QUESTIONS.items():
        rows = [answers.index(known[name]) if name in known else UNKNOWN for known in truths]
        right = torch.tensor(rows, device=unseen.device)
        labels[name] = right.masked_fill(unseen, UNKNOWN) if name in CLOSE_QUESTIONS else right
    return labels


def _read(network: WorldJudges, batch: WorldBatch, crops: Crops) -> dict[str, Tensor]:
    answers: dict[str, Tensor] = network.picture_reader(
        shrink(batch.pixels, WHOLE_PX),
        close_and_around(batch.pixels, crops),
        reference_crops(batch),
    )
    return answers


def reference_crops(batch: WorldBatch) -> Tensor:
    """Return the reference of each row's subject, grey around it, (B, 3, 64, 64)."""
    views = len(batch.noise) // len(batch.reference)
    return shrink(batch.reference * batch.reference_mask).repeat_interleave(views, dim=0)


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return how well each of unit vectors (G, D) finds its row of the others (InfoNCE)."""
    scores = first @ second.T / TEMPERATURE
    own = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def jitter(crops: Crops, generator: torch.Generator) -> Crops:
    """Return crops a little off, as those of generated pictures are."""
    number = 2 * torch.rand(len(crops.side), 3, generator=generator).to(crops.side) - 1
    return Crops(
        centre=crops.centre + CROP_SHIFT * crops.side[:, None] * number[:, :2],
        side=crops.side * (1 + CROP_ZOOM * number[:, 2]),
    )
