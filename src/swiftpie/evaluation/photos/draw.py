"""Subjects of photographs and of sprites in the same scenes, and how a judge sees them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from swiftpie.data.scenes import SCENES
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError, ImageError
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark, with_article
from swiftpie.evaluation.grid import deal
from swiftpie.evaluation.photos.folder import PhotoSubject
from swiftpie.images import load_image, to_pil, to_tensor
from swiftpie.models.judges import SubjectEmbedder, cut, subject_crops
from swiftpie.types import GenerationResult, Identity

_PHRASES = {scene.name: scene.phrases[0] for scene in SCENES}


@dataclass(frozen=True, eq=False)
class Portrait:
    """One subject in every scene, as pictures and as the judge sees them."""

    name: str
    reference: Image.Image
    cutout: Image.Image  # what the networks are given of it, on white
    pictures: tuple[Image.Image, ...]  # one a scene
    wanted: Tensor  # (1, D) unit vector of the cut-out
    found: Tensor  # (scenes, D) unit vectors of the subject as drawn


@dataclass(frozen=True)
class Lost:
    """A photograph in which no subject could be found."""

    name: str
    reason: str


def check_scenes(names: Sequence[str]) -> None:
    """Refuse scenes that the renderer does not know.

    Raises:
        ConfigError: One is unknown.
    """
    for name in names:
        if name not in _PHRASES:
            raise ConfigError(
                f"There is no scene {name!r}. Known are {', '.join(sorted(_PHRASES))}. Choose "
                "among those, with commas between them."
            )


def draw_photos(
    session: Session,
    embedder: SubjectEmbedder,
    subjects: Sequence[PhotoSubject],
    *,
    scenes: Sequence[str],
    seed: int,
    noun: str = "",
) -> Iterator[Portrait | Lost]:
    """Yield each subject when it is drawn, or why it cannot be.

    Args:
        session: The model under test.
        embedder: The judge of subjects.
        subjects: Their photographs.
        scenes: Names in `SCENES`.
        seed: Of the first picture; the others count up.
        noun: What prompts call every subject; by default the name of its folder.
    """
    for number, subject in enumerate(subjects):
        words = with_article(noun or subject.words)
        prompts = [f"a photo of {words} {_PHRASES[scene]}" for scene in scenes]
        try:
            reference = load_image(subject.photo)
            identity = session.encode_identity(reference, masks=subject.mask)
        except ImageError as error:
            yield Lost(subject.name, str(error))
            continue
        results = _draw(session, identity, prompts, seed=seed + number * len(scenes))
        yield _portrait(subject.name, reference, identity, results, embedder=embedder)


def draw_sprites(
    session: Session,
    embedder: SubjectEmbedder,
    benchmark: StickerBenchmark,
    *,
    num_subjects: int,
    scenes: Sequence[str],
) -> Iterator[Portrait]:
    """Yield held-out sprites in the same scenes, as far as there are so many."""
    count = min(num_subjects, len(benchmark.codes))
    for cases in deal(benchmark, num_subjects=count, scenes=scenes):
        known = benchmark.known(cases[0])
        identity = session.encode_identity(known["reference"], masks=known["reference-mask"])
        prompts = [case.prompt for case in cases]
        results = _draw(session, identity, prompts, seed=cases[0].seed)
        name = cases[0].subject
        yield _portrait(name, known["reference"], identity, results, embedder=embedder)


def _draw(
    session: Session, identity: Identity, prompts: Sequence[str], *, seed: int
) -> list[GenerationResult]:
    return [
        session.personalize(identity, prompt, seed=seed + number)
        for number, prompt in enumerate(prompts)
    ]


@torch.no_grad()
def _portrait(
    name: str,
    reference: Image.Image,
    identity: Identity,
    results: Sequence[GenerationResult],
    *,
    embedder: SubjectEmbedder,
) -> Portrait:
    """Look at the cut-out on white, and at each picture around the model's own mask."""
    mask = identity.mask[:1].cpu()
    cutout = identity.pixels[:1].cpu() + 1 - mask  # the frame is 0 outside of the subject
    found = [
        embedder(cut(to_tensor(one.images[0]), subject_crops(_mask(one.subject_masks[0]))))
        for one in results
    ]
    return Portrait(
        name=name,
        reference=reference,
        cutout=to_pil(cutout)[0],
        pictures=tuple(one.images[0] for one in results),
        wanted=embedder(cut(cutout, subject_crops(mask))),
        found=torch.cat(found),
    )


def _mask(image: Image.Image) -> Tensor:
    """Return a mask (1, 1, H, W) in [0, 1]; it may be empty."""
    return (to_tensor(image)[:, :1] + 1) / 2
