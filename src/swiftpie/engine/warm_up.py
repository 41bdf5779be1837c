"""Compiles and warms up a session before its first user waits for a picture."""

from collections.abc import Iterator, Sequence

import torch
from PIL import Image

from swiftpie.backbones.presets import Capability
from swiftpie.engine.session import Session
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditMethod, EditSettings
from swiftpie.types import GenerationResult, Identity

PROMPT, SOURCE_PROMPT = "a photo of a subject on a beach", "a photo of a subject in the snow"
BY_INVERSION = EditSettings(method=EditMethod.INVERSION)
SEED = 0
KINDS_OF_REPAINTING = ("removal", "insertion")  # by a model that places subjects
CORNER = (0.0, 0.0, 0.2, 0.2)


def stages_of(session: Session, *, together: Sequence[int] = ()) -> tuple[str, ...]:
    """Return the names of the stages of `warm_up`, in order."""
    components = session.components
    can_edit = components.inversion is not None
    is_blind = not components.knows_subjects
    from_words = Capability.TEXT in components.preset.capabilities
    can_draw = from_words or not is_blind
    names = [] if is_blind else ["subject"]
    names += ["picture"] if can_draw else []
    names += ["edit"] if can_edit else []
    names += [f"{count} pictures" for count in together if count > 1 and can_draw]
    if together and not is_blind:
        names += ["two subjects"]
        names += KINDS_OF_REPAINTING if components.preset.places_subjects else []
    return tuple(names)


def warm_up(
    session: Session, *, size_px: tuple[int, int] | None = None, together: Sequence[int] = ()
) -> Iterator[str]:
    """Draw and edit once what the package has, and yield the name of each stage before it.

    Graphs are of fixed sizes: later calls with as many pictures, subjects and references of this
    size find theirs ready, on the disk in later processes too. Servers name all numbers of pictures
    that shall be drawn `together` in one pass; two subjects and all kinds of edits are made ready
    then, too, one picture a pass.

    Raises:
        CapabilityError: The networks can neither draw subjects nor edit.
        InputError: The size is not possible.
    """
    stages = stages_of(session, together=together)
    if not stages:
        session.components.check_knows_subjects()  # which says what is missing
    picture = load_image(sample_pictures(1)[0])
    preset = session.components.preset
    height, width = own = size_px or (preset.image_size_px, preset.image_size_px)
    # Where a place is a photograph, pictures are as large as that by default.
    sizes = (None, own) if size_px is None and preset.places_subjects else (own,)
    scene = picture.convert("RGB").resize((width, height))
    shown: tuple[Subject, ...] = ()
    if "subject" in stages:
        yield "subject"
        shown = (Subject(_encoded(session, picture)),)
    if "picture" in stages:
        yield "picture"
        _draw(session, shown, 1, sizes)
    if "edit" in stages:
        yield "edit"
        if preset.places_subjects:
            session.edit(scene, "made of gold at night", seed=SEED)  # edits by words
        else:
            session.edit(scene, PROMPT, source_prompt=SOURCE_PROMPT, settings=BY_INVERSION)
    for count in together:
        if count > 1 and "picture" in stages:
            yield f"{count} pictures"
            _draw(session, shown, count, sizes)
    if "two subjects" in stages:
        yield "two subjects"
        _draw(session, 2 * shown, 1, sizes)
    if KINDS_OF_REPAINTING[0] in stages:
        removal, insertion = KINDS_OF_REPAINTING
        yield removal
        session.remove(scene, mask=CORNER, seed=SEED)
        yield insertion
        session.insert(scene, shown[0].identity, box=CORNER, seed=SEED)


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
