"""Subjects that are sent once and named later, their pictures, and cut-outs."""

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar
from weakref import ref

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from PIL import Image

from swiftpie.config import options_of
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError
from swiftpie.faces import CONSENT, FaceSource
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.imageio.images import bounding_box, mask_to_pil, to_pil
from swiftpie.imageio.writing import encode_image
from swiftpie.masks import load_mask
from swiftpie.photo.cutout import CutOut
from swiftpie.photo.cutout import cut_out as cutout_of
from swiftpie.photo.search import ANYWHERE, search_of
from swiftpie.photo.several import cut_out_all
from swiftpie.pipelines.identity_file import identity_bytes
from swiftpie.pipelines.request import Pictures
from swiftpie.pipelines.warnings import doubts_of
from swiftpie.remedies import Tongue, spelled
from swiftpie.server.decoding import SEARCHED_BYTES, Upload
from swiftpie.server.drawing import encode_kept
from swiftpie.server.errors import RequestError
from swiftpie.server.requests import check_knows_faces
from swiftpie.server.routes import BodyRoute, as_png, caller_of, pictured, read_upload
from swiftpie.server.schemas import KEPT_PX, MAX_NAME, Rename
from swiftpie.server.shared import reached
from swiftpie.server.store import THUMBNAIL, Caller, StoredIdentity
from swiftpie.server.worker import Worker
from swiftpie.types import Identity
from swiftpie.validation import MAX_REFERENCES

ALL = "all"  # of `cutout`: every subject
FACE = options_of(FaceSource)
Uploads = Annotated[list[UploadFile] | None, File(description="Pictures of one subject.")]
Face = Annotated[
    UploadFile | None, File(description=f"Instead: {FACE['face'].option.help} {CONSENT}")
]
IdentityFile = Annotated[
    UploadFile | None,
    File(description="Instead: a file of `swiftpie identity save` or `swiftpie tune`."),
]
FaceNumber = Annotated[int | None, Form(ge=1, description=FACE["face_number"].option.help)]


def upload_routes(worker: Worker) -> APIRouter:
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/identities", tags=["identities"], status_code=201, response_model=None)
    async def encode(
        request: Request,
        image: Uploads = None,
        mask: Annotated[list[UploadFile] | None, File(description="White = subject.")] = None,
        face: Face = None,
        face_number: FaceNumber = None,
        identity: IdentityFile = None,
        name: Annotated[str, Form(max_length=MAX_NAME)] = "",
        model: Annotated[str | None, Form(max_length=MAX_NAME)] = None,
    ) -> dict[str, Any]:
        """Encode a subject, or a person by the face, once; later requests name it by its id.

        An identity file holds one that is encoded already, and maybe tuned.

        Raises:
            RequestError: Pictures, masks, face and file do not go together.
        """
        _check_one_kind(image, mask, face, face_number, identity)
        caller = caller_of(request)
        encoder = Encoder(worker, worker.models.named(model), caller)
        if identity is not None:
            known = await encoder.of_file(await read_upload(identity, param="identity"))
        elif face is not None:
            photo = await read_upload(face, param="face")
            known = await encoder.of_face(photo, number=face_number)
        else:
            images = [await read_upload(upload, param="image") for upload in image or ()]
            masks = [await read_upload(upload, param="mask") for upload in mask or ()]
            known = await encoder.of_pictures(images, masks)
        known = replace(known, name=name)
        number = await reached(worker.identities.put, known, **caller._asdict())
        return known.described(number)

    @router.post("/v1/pictures", tags=["live"], status_code=201, response_model=None)
    async def keep_picture(image: UploadFile, request: Request) -> dict[str, Any]:
        """Keep a picture for live edits, shrunk to 1536 px a side; tell what made it."""
        data, caller = await read_upload(image, param="image"), caller_of(request)
        found = await worker.decoder.decode(data, name="'image'", key=caller.key, most_px=KEPT_PX)
        kept = found.image.copy()
        number = await reached(worker.pictures.put, kept, **caller._asdict())
        return {"id": number, "width": kept.width, "height": kept.height, "origin": found.origin}

    @router.post("/v1/cutouts", tags=["identities"])
    async def cut_out(
        request: Request,
        image: UploadFile,
        cutout: Annotated[
            str,
            Form(
                description="Where to look: 'auto', 'all' for every subject, or a box L,T,R,B "
                "around the subject, points X,Y on it and not:X,Y off it, separated by spaces, in "
                "shares from 0 to 1; 'isnet', 'birefnet' or 'sam2' before it names a network.",
                max_length=4_000,
            ),
        ] = "auto",
    ) -> dict[str, Any]:
        """Find the subject of a picture, and keep nothing.

        The mask is a PNG as large as the picture, white where the subject is, ready to be corrected
        and sent with the picture to /v1/identities. Of 'all', `subjects` has a mask and a box each.

        Raises:
            RequestError: `cutout` is neither a place nor "auto".
        """
        search = ANYWHERE if cutout == ALL else search_of(cutout)
        if search.is_whole:
            raise RequestError(
                f"cutout={cutout[:40]!r} names a way to look. 'auto', a box or points are needed.",
                param="cutout",
            )
        data, key = await read_upload(image, param="image"), caller_of(request).key
        picture = await decoded_whole(worker, data, "'image'", key)
        if cutout == ALL:
            several = await worker.carry_out("", lambda _: cut_out_all(picture), key=key)
            subjects = [await _described(one) | {"box": bounding_box(one.mask)} for one in several]
            return {"subjects": subjects}
        found = await worker.carry_out("", lambda _: cutout_of(picture, search), key=key)
        return await _described(found)

    return router


async def decoded_whole(worker: Worker, data: bytes, name: str, key: str) -> Image.Image:
    """Return a picture at its full size, in which something is looked for."""
    upload = Upload(data, name, pixel_bytes=SEARCHED_BYTES)
    return (await worker.decoder.decode_all([upload], key=key))[0].image


async def _described(found: CutOut) -> dict[str, Any]:
    mask = await as_png(mask_to_pil(found.mask)[0])
    return {"mask_b64": base64.b64encode(mask).decode(), **found.how._asdict()}


def _check_one_kind(
    image: list[UploadFile] | None,
    mask: list[UploadFile] | None,
    face: UploadFile | None,
    face_number: int | None,
    identity: UploadFile | None,
) -> None:
    given = [bool(image), face is not None, identity is not None]
    if sum(given) != 1 or (face is None and face_number is not None):
        raise RequestError(
            "Pictures of a subject as 'image', a photograph of a person as 'face' with an "
            "optional 'face_number', or a file as 'identity' are needed. Send one of the "
            "three.",
            param="image" if face is None else "face",
        )
    if image and (len(image) > MAX_REFERENCES or len(mask or ()) not in {0, len(image)}):
        raise RequestError(
            f"{len(image)} pictures cannot be combined with {len(mask or ())} masks. Send up to "
            f"{MAX_REFERENCES} pictures, with one mask for each or without masks.",
            param="image",
        )


def _source_of(known: StoredIdentity, kind: str, number: int) -> bytes:
    if data := known.files.get(f"{kind}/{number}"):
        return data
    if not 0 <= number < known.num_pictures:
        message = f"There are {known.num_pictures} pictures, counted from 0, of this identity."
        raise RequestError(message, status=404, code="picture_not_found")
    message = "No mask was sent with this picture. Send the picture to POST /v1/cutouts."
    raise RequestError(message, status=404, code="mask_not_found")


def identity_routes(worker: Worker) -> APIRouter:
    router = APIRouter(route_class=BodyRoute, tags=["identities"])
    writing = asyncio.Lock()
    # The last file alone, which is let go with its subject.
    written: list[tuple[ref[Identity], bytes]] = []

    async def found(identity_id: str, request: Request) -> StoredIdentity:
        owner = request.state.owner
        return await reached(worker.identities.find, identity_id, owner=owner)

    @router.get("/v1/identities")
    async def identities(request: Request) -> dict[str, Any]:
        """List the subjects of the caller."""
        data = await reached(worker.identities.facts, owner=request.state.owner)
        return {"object": "list", "data": data}

    @router.get("/v1/identities/{identity_id}/thumbnail", **pictured("png"))
    async def thumbnail(identity_id: str, request: Request) -> Response:
        """Return what the encoder saw, as a picture."""
        return Response(
            (await found(identity_id, request)).files[THUMBNAIL], media_type="image/png"
        )

    @router.get("/v1/identities/{identity_id}/file")
    async def file(identity_id: str, request: Request) -> Response:
        """Return a subject as a file, to be sent again once a server has forgotten it."""
        identity = (await found(identity_id, request)).identity
        async with writing:  # as each takes as much memory as the subject
            data = next((data for of, data in written if of() is identity), b"")
            if not data:
                data = await asyncio.to_thread(identity_bytes, identity, is_small=True)
                written[:] = [(ref(identity, lambda _: written.clear()), data)]
        return Response(data, media_type="application/octet-stream")

    @router.get("/v1/identities/{identity_id}/{kind}/{number}")
    async def source(
        identity_id: str, kind: Literal["pictures", "masks"], number: int, request: Request
    ) -> Response:
        """Return a picture of a subject, shrunk to the size that is used, or the mask of one.

        POST /v1/cutouts finds a mask where none came.
        """
        data = _source_of(await found(identity_id, request), kind, number)
        return Response(data, media_type="image/webp" if kind == "pictures" else "image/png")

    @router.patch("/v1/identities/{identity_id}")
    async def rename(identity_id: str, body: Rename, request: Request) -> dict[str, Any]:
        """Give a subject another name."""
        renamed = replace(await found(identity_id, request), name=body.name)
        owner = request.state.owner
        await reached(worker.identities.replace, identity_id, renamed, owner=owner)
        return renamed.described(identity_id)

    @router.delete("/v1/identities/{identity_id}")
    async def forget(identity_id: str, request: Request) -> dict[str, Any]:
        """Forget a subject."""
        await reached(worker.identities.drop, identity_id, owner=request.state.owner)
        return {"id": identity_id, "object": "identity", "deleted": True}

    return router


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
        uploads = [Upload(data, "'image'", most_px=KEPT_PX) for data in pictures]
        uploads += [Upload(data, "'mask'", most_px=KEPT_PX) for data in masks]
        decoded = await self.worker.decoder.decode_all(uploads, key=self.caller.key)
        images = [picture.image for picture in decoded]
        shapes = [images.pop() for _ in masks][::-1]
        shown = Pictures(tuple(images), tuple(shapes))
        identity = await self._carry_out(lambda session: session.identity_of(shown))
        files = await asyncio.to_thread(source_files, images, shapes)
        return self._stored(identity, doubts_of(identity), files)

    async def of_file(self, data: bytes) -> StoredIdentity:
        source = await self.worker.builder.in_file(data, self.model)
        encoded = await self._carry_out(partial(encode_kept, source=source, param="identity"))
        return self._stored(encoded, doubts_of(encoded))

    async def of_face(self, photo: bytes, *, number: int | None) -> StoredIdentity:
        """Return a person by the face: one that is counted from the left, or the largest."""
        check_knows_faces(self.worker.models, self.model, "face")
        image = await decoded_whole(self.worker, photo, "'face'", self.caller.key)
        encode = partial(encode_face, photo=image, number=number)
        return self._stored(*await self._carry_out(encode))

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
        said = tuple(spelled(warning, Tongue.HTTP) for warning in warnings)
        return StoredIdentity(identity, self.model, files=files, warnings=said)


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
