"""What engines do once for all later pictures, done before anybody waits for one."""

from collections.abc import Iterator

import torch
from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.images import load_image, sample_pictures
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.types import Identity

PROMPT, SOURCE_PROMPT = "a photo of a subject on a beach", "a photo of a subject in the snow"
SEED = 0


def stages_of(session: Session) -> tuple[str, ...]:
    """Return what `prepare` will do, by name and in order."""
    can_edit = session.components.inversion is not None
    is_blind = session.components.image_encoder is None
    subject = () if is_blind else ("subject", "picture")
    return (*subject, *(("edit",) if can_edit else ()))


def prepare(session: Session, *, size_px: tuple[int, int] | None = None) -> Iterator[str]:
    """Draw and edit once what the package has, and tell the name of each stage before it.

    Graphs are of fixed sizes: later calls with as many pictures, subjects and references of this
    size find theirs ready, on the disk in later processes too.

    Raises:
        CapabilityError: The networks can neither draw subjects nor edit.
        InputError: The size is not possible.
    """
    stages = stages_of(session)
    if not stages:
        session.components.encoder_of_identity()  # which says what is missing
    picture = load_image(sample_pictures(1)[0])
    if "subject" in stages:
        yield "subject"
        identity = _encoded(session, picture)
        yield "picture"
        session.personalize(identity, PROMPT, seed=SEED, size_px=size_px)
    if "edit" in stages:
        yield "edit"
        side = session.components.preset.image_size_px
        height, width = size_px or (side, side)
        scene = picture.convert("RGB").resize((width, height))
        session.edit(scene, PROMPT, source_prompt=SOURCE_PROMPT, seed=SEED)


def _encoded(session: Session, picture: Image.Image) -> Identity:
    encoder = session.components.image_encoder
    inner = getattr(encoder, "inner", encoder)
    if not isinstance(inner, FaceIdentityEncoder):
        return session.encode_identity(picture)
    width = inner.face_width
    nobody = torch.full((1, width), width**-0.5)  # as long as the vectors of faces are
    return session.encode_face(nobody, crop=picture if inner.needs_crops else None)
