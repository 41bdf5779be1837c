"""The subjects that tuning is measured on, and what they are judged by."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.masks import load_mask
from swiftpie.pipelines import denoise
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.techniques.personalize import prepare_subjects
from swiftpie.tuning.fit import (
    Example,
    clean_latents,
    draw_examples,
    in_place,
    subject_psnr,
    with_own_shading,
)
from swiftpie.tuning.methods import features_of
from swiftpie.types import Identity
from swiftpie_lab.data.photo_listing import photos_in
from swiftpie_lab.evaluation.benchmarks.world import (
    WorldBenchmark,
    WorldCase,
    WorldKind,
    draw_own,
    expected_of,
)
from swiftpie_lab.evaluation.bounds import SUBJECT_MASKS
from swiftpie_lab.evaluation.judges import Panel
from swiftpie_lab.evaluation.metrics.judges import found, right
from swiftpie_lab.evaluation.metrics.pixels import psnr
from swiftpie_world.air import Setting

TEST_SEED, NUM_SCENES = 2**26, 3  # of the scenes that show the subject's own picture
ANSWERS = 2  # rendered scenes in which each held-out subject is judged
NOUN = "toy"  # for its name, which may hold a colour, and a prompt's colours are obeyed
all_right = right(*Setting._fields)


class Kind(StrEnum):
    """Which subjects."""

    ANY = "any"  # held out
    WORST = "worst"  # those that the encoder alone draws worst, by a scene that is not judged
    PHOTO = "photo"


class Case(NamedTuple):
    """One subject: its pictures, and the rendered scenes in which it is judged."""

    kind: Kind
    name: str
    pictures: list[Image.Image | Path]
    masks: list[Image.Image] | None
    answers: list[WorldCase]


def prompt_of(case: WorldCase) -> str:
    """Return the prompt of a case without the name of its subject."""
    return case.prompt.replace(case.subject, NOUN)


@dataclass(frozen=True, eq=False)
class Judge:
    """A model, and all that its pictures are compared with."""

    session: Session
    benchmark: WorldBenchmark
    panel: Panel

    def held_out(self) -> list[list[WorldCase]]:
        """Return a scene to choose subjects by and those to judge, of every held-out subject."""
        count = (1 + ANSWERS) * len(self.benchmark.world.pool)
        by_code: defaultdict[str, list[WorldCase]] = defaultdict(list)
        for case in self.benchmark.deal(WorldKind.PLAIN, count):
            by_code[case.code].append(case)
        return list(by_code.values())

    def encode(self, case: Case) -> Identity:
        """Return the subject without tuning."""
        return self.session.encode_identity(case.pictures, masks=case.masks)

    def subject_of(self, kind: Kind, cases: Sequence[WorldCase], pictures: int) -> Case:
        """Return a held-out subject with so many pictures of itself."""
        shown = list(self.benchmark.sides(cases[0], pictures))
        return Case(
            kind,
            cases[0].subject,
            [to_pil(pixels)[0] for pixels, _ in shown],
            [mask_to_pil(mask)[0] for _, mask in shown],
            list(cases[1:]),
        )

    def scenes(self, identity: Identity) -> list[Example]:
        """Return scenes that tuning does not see, with the subject's own first picture."""
        return draw_examples(
            self.session.components, identity, [0], count=NUM_SCENES, seed=TEST_SEED
        )

    @torch.no_grad()
    def figures(
        self, case: Case, identity: Identity, scenes: Sequence[Example]
    ) -> dict[str, float]:
        """Return what is measured of one identity, means over scenes."""
        components, features = self.session.components, features_of(identity)
        told: defaultdict[str, list[float]] = defaultdict(list)
        for scene in scenes:
            latents = clean_latents(components, scene, features)
            pixels = components.autoencoder.decode(latents).clamp(-1, 1)
            before = components.autoencoder.decode(scene.untuned).clamp(-1, 1)
            told["own"].append(subject_psnr(pixels, scene))
            told["around"].append(psnr(pixels, before, 1 - scene.mask))
        for answer in case.answers:
            for name, value in self.answered(answer, identity).items():
                told[name].append(value)
        return {name: fmean(values) for name, values in told.items()}

    def answered(self, case: WorldCase, identity: Identity) -> dict[str, float]:
        """Return how near a picture is to the rendered answer, with the subject where it stands.

        *Reach* is how near the picture is that tuning trains towards.
        """
        components = self.session.components
        request = PersonalizeRequest(
            subjects=(Subject(identity),),
            prompt=prompt_of(case),
            seeds=(case.seed,),
            scene=WORDS_ALONE,
        )
        drawing = prepare_subjects(components, request, denoise.Clock())
        pixels = denoise.decode(components, denoise.denoise(drawing).latents)
        (layout,), (light,) = drawing.layouts, drawing.lights
        truth = self.benchmark.standing(case, layout)
        mask = truth.mask
        if not bool(mask.any()):
            return {}
        placed, cover = in_place(identity, layout, light, like=pixels)
        wanted = with_own_shading(placed + pixels * (1 - cover), pixels, cover)
        told = {"truth": psnr(pixels, truth.pixels, mask)}
        told["reach"] = psnr(wanted, truth.pixels, mask)
        expected = expected_of(case, mask, case.code)
        shown = identity.mask[:1] * (identity.pixels[:1] / 2 + 0.5)
        shown = torch.cat([shown, identity.mask[:1]], dim=1)
        reading = self.panel.read(pixels, mask, shown, finds_pose=False)
        scored = {"found": found(reading, expected), "setting": all_right(reading, expected)}
        return told | {name: value for name, value in scored.items() if value is not None}

    def found_in_pair(self, case: WorldCase, pair: Sequence[Identity], source: MaskSource) -> float:
        """Return the share of two subjects that are found where the picture has them."""
        subjects = [
            Subject(identity, box=box)
            for identity, box in zip(pair, self.benchmark.boxes(case), strict=True)
        ]
        result = draw_own(
            self.session, subjects, case.prompt, seed=case.seed, scene=WORDS_ALONE, mask=source
        )
        pixels, known = to_tensor(result.images[0]), self.benchmark.known(case)
        places = [load_mask(known[kind], result.images[0].size) for kind in SUBJECT_MASKS]
        seen = [self.panel.nearest(pixels, place) for place in places]
        return fmean(float(a == b) for a, b in zip(seen, case.codes, strict=True))


def photographed(folder: Path, number: int, pictures: int) -> Iterator[Case]:
    """Yield subjects of a folder that has a folder of photographs for each."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir())[:number]:
        shown: list[Image.Image | Path] = list(photos_in(path)[:pictures])
        yield Case(Kind.PHOTO, path.name, shown, None, [])
