"""OpenAI's Images API, and jobs: pictures that are requested now and fetched later."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from pydantic import ValidationError

from swiftpie.server.commands import is_edit
from swiftpie.server.forms import read_form
from swiftpie.server.jobs import Expired, State
from swiftpie.server.pictures import Drawn
from swiftpie.server.routes.calls import (
    BodyRoute,
    caller_of,
    deadline_of,
    pictured,
    read_upload,
    while_wanted,
)
from swiftpie.server.schemas import (
    MAX_IMAGES,
    PART,
    Drawing,
    EditBody,
    RequestError,
    bytes_of_url,
    errors_of,
    let_go,
    log_failure,
    problem_of,
    read_json,
)
from swiftpie.server.worker import CallPlan, Worker

SIZE_HEADER = "x-swiftpie-size"  # of the pictures, where a request names a size
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Pictures; with `stream` as events."}
}


def image_routes(worker: Worker) -> APIRouter:
    """Return the routes that draw and edit."""
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/images/generations", tags=["images"], responses=STREAMED)
    async def generations(body: Drawing, request: Request) -> Response:
        """Draw subjects that are known as identities into the scene of a prompt."""
        return await _answer(worker, request, body, deadline_of(worker), kind="image_generation")

    @router.post(
        "/v1/images/edits",
        tags=["images"],
        responses=STREAMED,
        openapi_extra={"requestBody": _edit_body()},
    )
    async def edits(request: Request) -> Response:
        """Change a picture by words, or as `swiftpie.task` says: subjects come into it, or go."""
        until = deadline_of(worker)
        body, given = await _received(worker, request, until)
        return await _answer(worker, request, body, until, kind="image_edit", **given)

    @router.post(
        "/v1/images/edits/region",
        tags=["images"],
        openapi_extra={"requestBody": _edit_body()},
        **pictured("png"),
    )
    async def region(request: Request) -> Response:
        """Return what an edit by words may change, white in a PNG, and draw nothing."""
        until = deadline_of(worker)
        body, given = await _received(worker, request, until)
        work = await worker.plan(body, caller=caller_of(request, body), **given)
        data = await while_wanted(request, worker.find_region(work), until)
        return Response(data, media_type="image/png")

    return router


async def _received(
    worker: Worker, request: Request, until: float
) -> tuple[Drawing, dict[str, Any]]:
    """Return the settings of an edit, and its pictures and mask, decoded."""
    body, pictures, mask = await _read_edit(request)

    async def decoded() -> tuple[list[Image.Image], Image.Image | None]:
        key, changed = caller_of(request, body).key, pictures[: is_edit(body, pictures)]
        rest = pictures[len(changed) :]
        images = [await worker.decode(one, name="image", key=key) for one in changed]
        images += await worker.decode_references(rest, name="image", key=key)
        if mask is None:
            return images, None
        return images, await worker.decode(mask, name="mask", key=key)

    images, shape = await while_wanted(request, decoded(), until)
    return body, {"images": images, "mask": shape}


def job_routes(worker: Worker) -> APIRouter:
    """Return the routes of pictures that are fetched later."""
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/jobs", tags=["jobs"], status_code=202)
    async def start(body: Drawing, request: Request) -> Response:
        """Draw as /v1/images/generations does, and ask for the pictures later."""
        caller = caller_of(request, body)
        work = await worker.plan(body, caller=caller)
        number = worker.start(work, owner=caller.owner)
        return JSONResponse({"id": number, "status": State.QUEUED}, 202)

    @router.get("/v1/jobs/{job_id}", tags=["jobs"])
    async def look(job_id: str, request: Request) -> dict[str, Any]:
        """Tell how far a job is; its pictures once they are there."""
        task = worker.jobs.find(job_id, owner=request.state.owner)
        answer: dict[str, Any] = {"id": job_id, "status": task.state}
        if task.state is State.DONE:
            answer["result"] = _images_body(task.body, task.drawn)
        elif task.state is State.FAILED and task.error is not None:
            answer |= problem_of(task.error)[1]
        return answer

    @router.delete("/v1/jobs/{job_id}", tags=["jobs"])
    async def cancel(job_id: str, request: Request) -> dict[str, Any]:
        """Stop a job, even while it is drawn."""
        worker.jobs.find(job_id, owner=request.state.owner).cancel()
        worker.jobs.drop(job_id, owner=request.state.owner)
        return {"id": job_id, "status": State.CANCELLED}

    return router


async def _answer(
    worker: Worker,
    request: Request,
    body: Drawing,
    until: float,
    *,
    kind: str,
    **given: Any,  # noqa: ANN401
) -> Response:
    work = await worker.plan(body, caller=caller_of(request, body), **given)
    if body.stream:
        worker.check_room(work.key, len(work.requests))  # while a status can still tell
        return StreamingResponse(_events(worker, work, body, kind), media_type="text/event-stream")
    drawn = await while_wanted(request, worker.draw(work), until)
    headers = {"server-timing": f"draw;dur={drawn[0].milliseconds:.1f}"}
    if body.size != "auto":
        headers[SIZE_HEADER] = "{}x{}".format(*drawn[0].size)
    return JSONResponse(_images_body(body, drawn), headers=headers)


async def _events(worker: Worker, work: CallPlan, body: Drawing, kind: str) -> AsyncIterator[str]:
    """Yield one event a picture as OpenAI's streams have it; a single step has nothing partial."""
    try:
        async for one in worker.draw_each(work):
            event = {
                "type": f"{kind}.completed",
                "b64_json": base64.b64encode(one.data).decode(),
                **_facts(body, one),
                "usage": _usage(body),
            }
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    except Exception as error:  # noqa: BLE001 - the status is sent already
        status, info = problem_of(error)
        if status >= 500 and not isinstance(error, Expired):
            log_failure(error, "a stream of pictures")
        let_go(error)
        yield f"event: error\ndata: {json.dumps({'type': 'error', **info})}\n\n"


def _images_body(body: Drawing, drawn: Sequence[Drawn]) -> dict[str, Any]:
    texts = [base64.b64encode(one.data).decode() for one in drawn]
    data = [{"b64_json": text} for text in texts]
    if body.wants_url:
        data = [{"url": f"data:image/{body.output_format};base64,{text}"} for text in texts]
    own: dict[str, Any] = {
        "seeds": [one.seed for one in drawn],
        "model": drawn[0].model,
        "timings_ms": drawn[0].timings_ms,
        "warnings": list(drawn[0].warnings),
    }
    if body.without_effect:
        own["without_effect"] = list(body.without_effect)
    if drawn[0].named:
        own["named"] = [one._asdict() for one in drawn[0].named]
    if drawn[0].box is not None:
        own["box"] = drawn[0].box
    if body.swiftpie.return_mask:
        own["masks_b64"] = [base64.b64encode(one.mask).decode() for one in drawn]
    return {**_facts(body, drawn[0]), "data": data, "usage": _usage(body), "swiftpie": own}


def _facts(body: Drawing, one: Drawn) -> dict[str, Any]:
    return {
        "created": int(time.time()),
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": body.output_format,
        "quality": "auto",
        "size": f"{one.size[0]}x{one.size[1]}",
    }


def _usage(body: Drawing) -> dict[str, Any]:
    """Return what clients expect to find; nothing is charged, so words stand for tokens."""
    text = len(body.prompt.split())
    details = {"image_tokens": 0, "text_tokens": text}
    return {
        "input_tokens": text,
        "input_tokens_details": details,
        "output_tokens": 0,
        "total_tokens": text,
    }


async def _read_edit(request: Request) -> tuple[Drawing, list[bytes], bytes | None]:
    """Return the settings, the pictures and the mask of an edit, whichever way they were sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await asyncio.to_thread(_edit_of, await request.body())  # pictures take a while
    form = read_form(
        request.headers.get("content-type", ""),
        await request.body(),
        texts=Drawing.model_fields,
        files=("image", "mask"),
        takes_more=True,
    )
    pictures = [await read_upload(upload, param="image") for upload in form.getlist("image")]
    masks = [await read_upload(upload, param="mask") for upload in form.getlist("mask")]
    if not pictures:
        raise RequestError("No picture was sent. Send one as 'image'.", param="image")
    if len(masks) > 1:
        raise RequestError(f"{len(masks)} masks came. Send one, or none.", param="mask")
    texts = {name: value for name, value in form.items() if isinstance(value, str) and value}
    try:
        body = Drawing.model_validate(texts)
    except ValidationError as error:
        raise RequestValidationError(errors_of(error)) from error
    return body, pictures, masks[0] if masks else None


def _edit_of(data: bytes) -> tuple[Drawing, list[bytes], bytes | None]:
    """Return the settings, the pictures and the mask of an edit in JSON."""
    try:
        whole = EditBody.model_validate(read_json(data))
    except ValidationError as error:
        raise RequestValidationError(errors_of(error)) from error
    pictures = [bytes_of_url(one.image_url, param="images") for one in whole.images]
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
    }
    form.pop("$defs")
    whole = {"$ref": PART.format(model=EditBody.__name__)}
    content = {"application/json": {"schema": whole}, "multipart/form-data": {"schema": form}}
    return {"required": True, "content": content}
