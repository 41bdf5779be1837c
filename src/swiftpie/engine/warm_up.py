"""Stages that draw once what later calls need ready, in this process or in one of their own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context

import torch
from PIL import Image

from swiftpie.backbones.presets import Capability
from swiftpie.engine.session import Session
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.types import GenerationResult, Identity

PROMPT, SOURCE_PROMPT = "a photo of a subject on a beach", "a photo of a subject in the snow"
SEED = 0
CORNER = (0.0, 0.0, 0.2, 0.2)


def warm_up(
    session: Session, *, together: Sequence[int] = ()
) -> Mapping[str, Callable[[], object]]:
    """Return stages to call in their order, which draw and edit once what the package has.

    Graphs are of fixed sizes: later calls with as many pictures, subjects and references of the
    usual size find theirs ready, on the disk in later processes too. Servers name all numbers of
    pictures that shall be drawn `together` in one pass; two subjects and all kinds of edits are
    made ready then, too, one picture a pass.

    Raises:
        CapabilityError: The networks can neither draw subjects nor edit.
    """
    components, preset = session.components, session.components.preset
    knows_subjects = components.knows_subjects
    picture = load_image(sample_pictures(1)[0])
    own = (preset.image_size_px, preset.image_size_px)
    sizes = (None, own)  # where a place is a photograph, pictures are as large as that by default
    scene = picture.convert("RGB").resize(own)
    shown: list[Subject] = []

    def draw(count: int, times: int = 1) -> None:
        _draw(session, times * tuple(shown), count, sizes)

    edit = partial(session.edit, scene, PROMPT, source_prompt=SOURCE_PROMPT)
    by_words = components.family.edits_by_words and Capability.EDIT in preset.capabilities
    if by_words:
        edit = partial(session.edit, scene, "a blue dog at night", seed=SEED)
    can_draw = knows_subjects or Capability.TEXT in preset.capabilities
    has_several = bool(together) and knows_subjects
    inserts = has_several and components.family.sees_what_stays
    known: list[tuple[str, bool, Callable[[], object]]] = [
        ("subject", knows_subjects, lambda: shown.append(Subject(_encoded(session, picture)))),
        ("picture", can_draw, partial(draw, 1)),
        ("edit", components.inversion is not None or by_words, edit),
        *((f"{count} pictures", can_draw, partial(draw, count)) for count in together if count > 1),
        ("two subjects", has_several, partial(draw, 1, times=2)),
        ("removal", inserts, partial(session.remove, scene, mask=CORNER, seed=SEED)),
        (
            "insertion",
            inserts,
            lambda: session.insert(scene, shown[0].identity, box=CORNER, seed=SEED),
        ),
    ]
    stages = {name: act for name, is_possible, act in known if is_possible}
    if not stages:
        components.check_knows_subjects()  # which says what is missing
    return stages


def _draw(
    session: Session,
    subjects: tuple[Subject, ...],
    count: int,
    sizes: Sequence[tuple[int, int] | None],
) -> None:
    """Draw so many pictures in one pass, in each size that none of them had by default."""
    seeds, drawn = range(SEED, SEED + count), set[tuple[int, int]]()
    for size_px in sizes:
        if size_px in drawn:
            continue
        requests = [
            PersonalizeRequest(subjects=subjects, prompt=PROMPT, seeds=(seed,), size_px=size_px)
            for seed in seeds
        ]
        results = session.draw_together(requests, makes_ready=count > 1)
        pictures = [each.images for each in results if isinstance(each, GenerationResult)]
        drawn |= {image.size[::-1] for images in pictures for image in images}


def _encoded(session: Session, picture: Image.Image) -> Identity:
    encoder = session.components.image_encoder
    inner = getattr(encoder, "inner", encoder)
    if not isinstance(inner, FaceIdentityEncoder):
        return session.encode_identity(picture)
    width = inner.face_width
    vector = torch.full((1, width), width**-0.5)  # as long as the vectors of faces are
    return session.encode_face(vector, crop=picture if inner.needs_crops else None)


def batch_sizes(most: int) -> tuple[int, ...]:
    """Return how many pictures are drawn together by networks of fixed sizes: powers of two."""
    return tuple(2**power for power in range(most.bit_length()))


def stages_of(session: Session, together: int) -> Mapping[str, Callable[[], object]]:
    """Return what is to be drawn once, so that first requests do not wait."""
    sizes = batch_sizes(together) if session.components.engine.has_fixed_sizes else ()
    return warm_up(session, together=sizes)


def made_ready(
    load: Callable[[], Session], together: int, is_given_up: Callable[[], bool] = lambda: False
) -> Session:
    """Return a session after its stages, the rest of which are left out once given up."""
    session = load()
    for draw in stages_of(session, together).values():
        if not is_given_up():
            draw()
    return session


async def make_apart(load: Callable[[], Session], together: int) -> None:
    """Let another process make what is made once and kept on disk, and wait for it."""
    process = get_context("spawn").Process(target=made_ready, args=(load, together), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()
