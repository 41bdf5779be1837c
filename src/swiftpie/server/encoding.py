"""Subjects that callers send, encoded in turn with the drawings."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.errors import ImageError
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.imageio.writing import encode_image
from swiftpie.masks import load_mask
from swiftpie.pipelines.choose import doubts_of
from swiftpie.pipelines.identity_file import read_identity
from swiftpie.pipelines.request import IdentityRef, Pictures
from swiftpie.server.drawing import encode_kept
from swiftpie.server.errors import RequestError
from swiftpie.server.requests import check_knows_faces
from swiftpie.server.schemas import KEPT_PX
from swiftpie.server.store import THUMBNAIL, Caller, StoredIdentity
from swiftpie.server.worker import Worker
from swiftpie.types import Identity

SOURCE_PX = 1024  # The longer side of a kept picture; encoders see less.
Result = TypeVar("Result")


@dataclass(frozen=True)
class Encoder:
    """Encodes subjects for one caller, by one model."""

    worker: Worker
    model: str
    caller: Caller

    async def of_pictures(
        self, pictures: Sequence[bytes], masks: Sequence[bytes]
    ) -> StoredIdentity:
        """Return the subject of pictures, with a mask of each or none."""
        images, shapes = [
            [await self._decoded(data, kind, most_px=KEPT_PX) for data in given]
            for kind, given in (("image", pictures), ("mask", masks))
        ]
        shown = Pictures(tuple(images), tuple(shapes))
        identity = await self._carry_out(lambda session: session.identity_of(shown))
        files = await asyncio.to_thread(source_files, images, shapes)
        return self._stored(identity, doubts_of(identity), files)

    async def of_file(self, data: bytes) -> StoredIdentity:
        identity = await asyncio.to_thread(read_identity, data, "identity")
        if identity.is_face:
            check_knows_faces(self.worker.models, self.model, "identity")
        source = IdentityRef(identity)
        encoded = await self._carry_out(partial(encode_kept, source=source, param="identity"))
        return self._stored(encoded, doubts_of(encoded))

    async def of_face(self, photo: bytes, *, number: int | None) -> StoredIdentity:
        """Return a person by the face: one that is counted from the left, or the largest."""
        check_knows_faces(self.worker.models, self.model, "face")
        image = await self._decoded(photo, "face")
        encode = partial(encode_face, photo=image, number=number)
        return self._stored(*await self._carry_out(encode))

    async def _decoded(self, data: bytes, name: str, *, most_px: int | None = None) -> Image.Image:
        decoder, key = self.worker.decoder, self.caller.key
        return (await decoder.decode(data, name=f"'{name}'", key=key, most_px=most_px)).image

    async def _carry_out(self, task: Callable[[Session], Result]) -> Result:
        return await self.worker.carry_out(self.model, task, key=self.caller.key)

    def _stored(
        self,
        identity: Identity,
        warnings: Iterable[str],
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> StoredIdentity:
        thumbnail = encode_image(to_pil(identity.pixels[:1].cpu())[0], ".png", metadata=None)
        files = {THUMBNAIL: thumbnail, **files}
        return StoredIdentity(identity, self.model, files=files, warnings=tuple(warnings))


def source_files(images: Sequence[Image.Image], masks: Sequence[Image.Image]) -> dict[str, bytes]:
    """Return pictures of a subject, with their masks if they came, to be cut out again."""
    files = {}
    for at, image in enumerate(images):
        picture = image.copy()
        picture.thumbnail((SOURCE_PX, SOURCE_PX))
        files[f"pictures/{at}"] = encode_image(picture, ".webp", metadata=None)
        if masks:
            shape = mask_to_pil(load_mask(masks[at], image.size, of_subject=True))[0]
            shape.thumbnail((SOURCE_PX, SOURCE_PX))
            files[f"masks/{at}"] = encode_image(shape, ".png", metadata=None)
    return files


def encode_face(
    session: Session, photo: Image.Image, *, number: int | None
) -> tuple[Identity, list[str]]:
    encoder = session.face_encoder
    assert encoder is not None, "models without one are refused before"
    try:
        found = find_faces(encoder, photo)
        chosen = choose_face(found, number=number, name="face")
    except ImageError as error:
        raise RequestError(_in_fields(str(error)), code="face_not_found", param="face") from error
    notes = [_in_fields(f"{note[0].upper()}{note[1:]}.") for note in chosen.notes]
    return session.encode_face(chosen), notes


def _in_fields(text: str) -> str:
    return text.replace("`number=`", "'face_number'")
