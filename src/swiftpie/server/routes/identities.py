"""Subjects that are sent once and named later, their pictures, and cut-outs."""

import asyncio
import base64
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from swiftpie.config import options_of
from swiftpie.faces import CONSENT, FaceSource
from swiftpie.imageio.writing import encode_image
from swiftpie.models.cutout import search_of
from swiftpie.pipelines.request import IS_THERE, WHERE
from swiftpie.server.identities import THUMBNAIL
from swiftpie.server.routes.calls import (
    BodyRoute,
    caller_of,
    deadline_of,
    pictured,
    read_upload,
    while_wanted,
)
from swiftpie.server.schemas import MAX_IMAGES, MAX_NAME, Rename, RequestError
from swiftpie.server.worker import Worker, describe_identity
from swiftpie.types import Cutout

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
    """Return the routes that take pictures."""
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/identities", tags=["identities"], status_code=201)
    async def encode(
        request: Request,
        image: Uploads = None,
        mask: Annotated[list[UploadFile] | None, File(description="White = subject.")] = None,
        face: Face = None,
        face_number: FaceNumber = None,
        identity: IdentityFile = None,
        name: Annotated[str, Form(max_length=MAX_NAME)] = "",
        model: Annotated[str | None, Form(max_length=MAX_NAME)] = None,
    ) -> Response:
        """Encode a subject, or a person by the face, once; later requests name it by its id.

        An identity file holds one that is encoded already, and maybe tuned.

        Raises:
            RequestError: Pictures, masks, face and file do not go together.
        """
        _check_one_kind(image, face, face_number, identity)
        caller = caller_of(request)
        about: dict[str, Any] = {"name": name, "model": model, "caller": caller}
        if identity is not None:
            kept = worker.add_file(await read_upload(identity, param="identity"), **about)
            return JSONResponse(await while_wanted(request, kept, deadline_of(worker)), 201)
        if face is not None:
            photo = await read_upload(face, param="face")
            person = worker.add_face(photo, face_number=face_number, **about)
            return JSONResponse(await while_wanted(request, person, deadline_of(worker)), 201)
        assert image is not None, "there is one of the three"
        if len(image) > MAX_IMAGES or len(mask or ()) not in {0, len(image)}:
            raise RequestError(
                f"{len(image)} pictures came with {len(mask or ())} masks. Send up to "
                f"{MAX_IMAGES}, with a mask each or with none.",
                param="image",
            )
        pictures = [await read_upload(one, param="image") for one in image]
        shapes = [await read_upload(one, param="mask") for one in mask or ()]

        async def added() -> dict[str, Any]:
            return await worker.add_identity(
                await worker.decode_references(pictures, name="image", key=caller.key),
                await worker.decode_references(shapes, name="mask", key=caller.key),
                **about,
            )

        return JSONResponse(await while_wanted(request, added(), deadline_of(worker)), 201)

    @router.post("/v1/pictures", tags=["live"], status_code=201)
    async def keep_picture(image: UploadFile, request: Request) -> Response:
        """Keep a picture for live edits, shrunk to 1536 px a side; tell what made it."""
        data = await read_upload(image, param="image")
        kept = worker.add_picture(data, caller=caller_of(request))
        return JSONResponse(await while_wanted(request, kept, deadline_of(worker)), 201)

    return router


def looking_routes(worker: Worker) -> APIRouter:
    """Return the routes that find a subject in a picture, and keep nothing."""
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/cutouts", tags=["identities"])
    async def cut_out(
        request: Request,
        image: UploadFile,
        cutout: Annotated[
            str,
            Form(
                description="Where to look: 'auto', or a box L,T,R,B around the subject, points "
                "X,Y on it and not:X,Y beside it, apart by spaces, in shares from 0 to 1.",
                max_length=4_000,
            ),
        ] = "auto",
    ) -> dict[str, Any]:
        """Find the subject of a picture, and keep nothing.

        The mask is a PNG as large as the picture, white where the subject is, ready to be corrected
        and sent with the picture to /v1/identities.

        Raises:
            RequestError: It shall be found by what others may not choose on this machine.
        """
        search = search_of(cutout)
        if search.way is not None:
            raise RequestError(
                f"cutout={cutout[:40]!r} names a way to look. 'auto', a box or points are needed.",
                param="cutout",
            )
        data = await read_upload(image, param="image")

        async def found() -> tuple[bytes, Cutout]:
            caller = caller_of(request)
            picture = await worker.decode(data, name="image", key=caller.key)
            return await worker.cut_out(picture, search, caller=caller)

        mask, how = await while_wanted(request, found(), deadline_of(worker))
        return {"mask_b64": base64.b64encode(mask).decode(), **how._asdict()}

    @router.post("/v1/find", tags=["identities"])
    async def find(
        request: Request,
        *,
        image: UploadFile,
        where: Annotated[str, Form(description=WHERE.help, min_length=1, max_length=MAX_NAME)],
        model: Annotated[str | None, Form(max_length=MAX_NAME)] = None,
        is_there: Annotated[bool, Form(description=IS_THERE.help)] = False,
    ) -> dict[str, Any]:
        """Find a known subject in a picture, whatever else that shows, and keep nothing.

        The mask is a PNG as large as the picture, white where the subject is; a likeness is at
        most 1.
        """
        data = await read_upload(image, param="image")

        async def found() -> tuple[bytes, float]:
            caller = caller_of(request)
            picture = await worker.decode(data, name="image", key=caller.key)
            chosen = worker.model_named(model)
            sought = await worker.sought(where, chosen, owner=caller.owner)
            mask, alike = await worker.find_subject(
                picture, sought, caller=caller, model=model, is_there=is_there
            )
            shape = await asyncio.to_thread(encode_image, mask, ".png", metadata=None)
            return shape, alike

        mask, likeness = await while_wanted(request, found(), deadline_of(worker))
        return {"mask_b64": base64.b64encode(mask).decode(), "likeness": likeness}

    return router


def _check_one_kind(
    image: list[UploadFile] | None,
    face: UploadFile | None,
    face_number: int | None,
    identity: UploadFile | None,
) -> None:
    given = [bool(image), face is not None, identity is not None]
    if sum(given) != 1 or (face is None and face_number is not None):
        raise RequestError(
            "Pictures of a subject as 'image', a photograph of a person as 'face' with an optional "
            "'face_number', or a file as 'identity' are needed. Send one of the three.",
            param="image" if face is None else "face",
        )


def identity_routes(worker: Worker) -> APIRouter:
    """Return the routes of subjects that are known."""
    router = APIRouter(route_class=BodyRoute)

    async def source_of(identity_id: str, kind: str, number: int, request: Request) -> bytes:
        """Return a picture of the caller's subject, or its mask.

        Raises:
            RequestError: There is none.
        """
        owner = request.state.owner
        if data := await worker.identity_file(identity_id, f"{kind}/{number}", owner=owner):
            return data
        count = (await worker.identities.info(identity_id, owner=owner)).num_pictures
        if not 0 <= number < count:
            raise RequestError(
                f"There are {count} pictures, counted from 0, of this identity.",
                status=404,
                code="picture_not_found",
            )
        raise RequestError(
            "No mask was sent with this picture. Send the picture to POST /v1/cutouts.",
            status=404,
            code="mask_not_found",
        )

    @router.get("/v1/identities", tags=["identities"])
    async def identities(request: Request) -> dict[str, Any]:
        """List the subjects of the caller."""
        known = await worker.identities.items(owner=request.state.owner)
        return {"object": "list", "data": [describe_identity(*one) for one in known]}

    @router.get("/v1/identities/{identity_id}/thumbnail", tags=["identities"], **pictured("png"))
    async def thumbnail(identity_id: str, request: Request) -> Response:
        """Return what the encoder saw, as a picture."""
        data = await worker.identity_file(identity_id, THUMBNAIL, owner=request.state.owner)
        return Response(data, media_type="image/png")

    @router.get(
        "/v1/identities/{identity_id}/pictures/{number}", tags=["identities"], **pictured("webp")
    )
    async def source(identity_id: str, number: int, request: Request) -> Response:
        """Return a picture of a subject, drawn anew and no larger than is of use."""
        data = await source_of(identity_id, "pictures", number, request)
        return Response(data, media_type="image/webp")

    @router.get(
        "/v1/identities/{identity_id}/masks/{number}", tags=["identities"], **pictured("png")
    )
    async def source_mask(identity_id: str, number: int, request: Request) -> Response:
        """Return the mask that came with a picture; POST /v1/cutouts finds one where none did."""
        data = await source_of(identity_id, "masks", number, request)
        return Response(data, media_type="image/png")

    @router.patch("/v1/identities/{identity_id}", tags=["identities"])
    async def rename(identity_id: str, body: Rename, request: Request) -> dict[str, Any]:
        """Give a subject another name."""
        owner = request.state.owner
        info = await worker.identities.rename(identity_id, body.name, owner=owner)
        return describe_identity(identity_id, info)

    @router.delete("/v1/identities/{identity_id}", tags=["identities"])
    async def forget(identity_id: str, request: Request) -> dict[str, Any]:
        """Forget a subject."""
        await worker.identities.drop(identity_id, owner=request.state.owner)
        return {"id": identity_id, "object": "identity", "deleted": True}

    return router
