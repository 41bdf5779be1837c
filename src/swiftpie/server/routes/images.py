"""OpenAI's Images API, and jobs: pictures that are requested now and fetched later."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from swiftpie.pipelines.tasks import EditRequest
from swiftpie.server.decoding import CHANGED_BYTES, REDRAWN_BYTES, Upload
from swiftpie.server.drawing import DrawnPicture, warnings_of
from swiftpie.server.errors import RequestError, answer_to, error_of_fields
from swiftpie.server.jobs import Job
from swiftpie.server.requests import is_edit
from swiftpie.server.routes import BodyRoute, as_png, caller_of, form_of, pictured, read_upload
from swiftpie.server.schemas import (
    KEPT_PX,
    MAX_IMAGES,
    PART,
    Drawing,
    EditBody,
    bytes_of_url,
    read_json,
)
from swiftpie.server.worker import State, Worker
from swiftpie.validation import check_references

SIZE_HEADER = "x-swiftpie-size"  # Sent where a request names a size.
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Pictures; with `stream` as events."}
}


def image_routes(worker: Worker) -> APIRouter:
    router = APIRouter(route_class=BodyRoute, tags=["images"])

    @router.post("/v1/images/generations", responses=STREAMED)
    async def generations(body: Drawing, request: Request) -> Response:
        """Draw subjects that are known as identities into the scene of a prompt."""
        jobs = await worker.builder.jobs_of(body, caller=caller_of(request, body))
        return await _answer(worker, body, jobs, kind="image_generation")

    @router.post(
        "/v1/images/edits", responses=STREAMED, openapi_extra={"requestBody": _edit_body()}
    )
    async def edits(request: Request) -> Response:
        """Change a picture by words, or as `swiftpie.task` says: subjects come into it, or go."""
        return await _answer(worker, *await _edit(worker, request), kind="image_edit")

    @router.post(
        "/v1/images/edits/region", openapi_extra={"requestBody": _edit_body()}, **pictured("png")
    )
    async def region(request: Request) -> Response:
        """Return what an edit by words may change, white in a PNG, and draw nothing."""
        _, (job, *_) = await _edit(worker, request)
        edit = job.work
        if not isinstance(edit, EditRequest):
            raise RequestError(
                "A region is found for edits by words. Leave swiftpie.task out, or let it be "
                "'edit'.",
                param="swiftpie.task",
            )
        found = await worker.carry_out(
            job.model, lambda session: session.find_region(edit), key=job.key
        )
        return Response(await as_png(found), media_type="image/png")

    return router


def job_routes(worker: Worker) -> APIRouter:
    router = APIRouter(route_class=BodyRoute, tags=["jobs"])

    @router.post("/v1/jobs", status_code=202, response_model=None)
    async def start(body: Drawing, request: Request) -> dict[str, Any]:
        """Draw as /v1/images/generations does, and ask for the pictures later."""
        caller = caller_of(request, body)
        jobs = await worker.builder.jobs_of(body, caller=caller)
        answer = partial(_answer_bytes, body)
        number = await worker.start(jobs, owner=caller.owner, as_answer=answer)
        return {"id": number, "status": State.QUEUED}

    @router.get("/v1/jobs/{job_id}", response_model=dict[str, Any])
    async def look(job_id: str, request: Request) -> Response:
        """Return how far a job is; its pictures once they are there."""
        answer = await worker.answer(job_id, owner=request.state.owner)
        return Response(answer, media_type="application/json")

    @router.delete("/v1/jobs/{job_id}")
    async def cancel(job_id: str, request: Request) -> dict[str, Any]:
        """Stop a job, even while it is drawn."""
        await worker.cancel(job_id, owner=request.state.owner)
        return {"id": job_id, "status": State.CANCELLED}

    return router


async def _answer(worker: Worker, body: Drawing, jobs: Sequence[Job], *, kind: str) -> Response:
    if body.stream:
        worker.check_room(jobs[0].key, len(jobs))  # while a status can still say so
        return StreamingResponse(_events(worker, body, jobs, kind), media_type="text/event-stream")
    drawn = [picture async for picture in worker.draw(jobs)]
    headers = {"server-timing": f"draw;dur={drawn[0].milliseconds:.1f}"}
    if body.size != "auto":
        headers[SIZE_HEADER] = "{}x{}".format(*drawn[0].size)
    data = await asyncio.to_thread(_answer_bytes, body, drawn)
    return Response(data, headers=headers, media_type="application/json")


async def _events(
    worker: Worker, body: Drawing, jobs: Sequence[Job], kind: str
) -> AsyncIterator[str]:
    """Yield one event a picture as OpenAI's streams have it; a single step has nothing partial."""
    try:
        async for picture in worker.draw(jobs):
            event = {
                "type": f"{kind}.completed",
                "b64_json": base64.b64encode(picture.data).decode(),
                **_facts(body, picture),
                "swiftpie": {
                    "seed": picture.seed,
                    "warnings": warnings_of([picture]),
                    **picture.scores,
                },
            }
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    except Exception as error:  # noqa: BLE001 - the status is sent already
        event = {"type": "error", **answer_to(error, "a stream of pictures").body}
        yield f"event: error\ndata: {json.dumps(event)}\n\n"


def _answer_bytes(body: Drawing, drawn: Sequence[DrawnPicture], job: str = "") -> bytes:
    answer = _images_body(body, drawn)
    if job:
        progress = {"drawn": len(drawn), "of": len(drawn), "stage": "all"}
        answer = {"id": job, "status": State.DONE, "progress": progress, "result": answer}
    return json.dumps(answer).encode()


def _images_body(body: Drawing, drawn: Sequence[DrawnPicture]) -> dict[str, Any]:
    data = [{"b64_json": base64.b64encode(picture.data).decode()} for picture in drawn]
    if body.wants_url:
        head = f"data:image/{body.output_format};base64,"
        data = [{"url": head + row["b64_json"]} for row in data]
    own: dict[str, Any] = {
        "seeds": [picture.seed for picture in drawn],
        "model": drawn[0].model,
        "timings_ms": drawn[0].timings_ms,
        "warnings": warnings_of(drawn),
        **drawn[0].chosen,
    }
    if drawn[0].scores:
        own["scores"] = [picture.scores for picture in drawn]
    if body.without_effect:
        own["without_effect"] = body.without_effect
    if body.swiftpie.return_mask:
        own["masks_b64"] = [base64.b64encode(picture.mask).decode() for picture in drawn]
    return {**_facts(body, drawn[0]), "data": data, "swiftpie": own}


def _facts(body: Drawing, one: DrawnPicture) -> dict[str, Any]:
    """Return what clients expect to find; nothing is charged, so words stand for tokens."""
    num_words = len(body.prompt.split())
    return {
        "created": int(time.time()),
        "created_at": int(time.time()),
        "background": "transparent" if one.is_clear else "opaque",
        "output_format": body.output_format,
        "quality": "auto",
        "size": f"{one.size[0]}x{one.size[1]}",
        "usage": {
            "input_tokens": num_words,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": num_words},
            "output_tokens": 0,
            "total_tokens": num_words,
        },
    }


async def _edit(worker: Worker, request: Request) -> tuple[Drawing, list[Job]]:
    body, pictures, mask, files = await _read_edit(request)
    caller, is_changed = caller_of(request, body), is_edit(body, pictures)
    if references := len(pictures) - is_changed:
        check_references(references)
    uploads = [Upload(data, "'image'", most_px=KEPT_PX) for data in pictures]
    if is_changed:
        taken = CHANGED_BYTES if body.swiftpie.task == "edit" else REDRAWN_BYTES
        uploads[0] = Upload(pictures[0], "'image'", keeps_original=True, pixel_bytes=taken)
    uploads += [] if mask is None else [Upload(mask, "'mask'")]
    decoded = await worker.decoder.decode_all(uploads, key=caller.key)
    shape = None if mask is None else decoded.pop().image
    jobs = await worker.builder.jobs_of(
        body,
        caller=caller,
        images=[picture.image for picture in decoded],
        mask=shape,
        original=decoded[0].original if is_changed else None,
        files=files,
    )
    return body, jobs


async def _read_edit(
    request: Request,
) -> tuple[Drawing, list[bytes], bytes | None, Sequence[bytes]]:
    """Return settings, pictures, mask and identity files of an edit, in whatever way they came."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return *await asyncio.to_thread(_edit_of, await request.body()), ()  # takes a while
    names = ("image", "mask", "identity")
    form = await form_of(request, texts=Drawing.model_fields, files=names, takes_more=True)
    pictures = [await read_upload(upload, param="image") for upload in form.getlist("image")]
    masks = [await read_upload(upload, param="mask") for upload in form.getlist("mask")]
    files = [await read_upload(upload, param="identity") for upload in form.getlist("identity")]
    if not pictures and not files:
        raise RequestError("No picture was sent. Send one as 'image'.", param="image")
    if len(masks) > 1:
        raise RequestError(f"{len(masks)} masks came. Send one, or none.", param="mask")
    texts = {name: value for name, value in form.items() if isinstance(value, str) and value}
    try:
        body = Drawing.model_validate(texts)
    except ValidationError as error:
        raise error_of_fields(error) from error
    return body, pictures, masks[0] if masks else None, files


def _edit_of(data: bytes) -> tuple[Drawing, list[bytes], bytes | None]:
    try:
        whole = EditBody.model_validate(read_json(data))
    except ValidationError as error:
        raise error_of_fields(error) from error
    pictures = [bytes_of_url(picture.image_url, param="images") for picture in whole.images]
    mask = whole.mask and bytes_of_url(whole.mask.image_url, param="mask")
    return whole, pictures, mask or None


def _edit_body() -> dict[str, Any]:
    """Return how both ways to send an edit are described; the parts are in the schema's own."""
    form = Drawing.model_json_schema(ref_template=PART)
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form["properties"] |= {
        "swiftpie": {"type": "string", "description": "As in JSON, written as text."},
        "image": file,
        "image[]": {"type": "array", "items": file, "maxItems": MAX_IMAGES},
        "mask": file,
        "identity": file,  # a subject; several are numbered as pictures are
    }
    form.pop("$defs")
    whole = {"$ref": PART.format(model=EditBody.__name__)}
    content = {"application/json": {"schema": whole}, "multipart/form-data": {"schema": form}}
    return {"required": True, "content": content}
