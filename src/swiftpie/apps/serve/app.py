"""The routes: OpenAI's Images API, identities, pictures and jobs, health and metrics."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, File, Form, Query, Request, Response, UploadFile, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from PIL import Image
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from swiftpie import __version__
from swiftpie.apps.serve.guard import (
    LEFT,
    Guard,
    new_visitor,
    overload_refusal,
    retry_headers,
    visitor_of,
)
from swiftpie.apps.serve.identities import THUMBNAIL
from swiftpie.apps.serve.jobs import Expired, Overloaded, State
from swiftpie.apps.serve.limits import Limits
from swiftpie.apps.serve.live import Live
from swiftpie.apps.serve.pictures import Drawn
from swiftpie.apps.serve.schemas import (
    MAX_IMAGES,
    MAX_NAME,
    Drawing,
    EditBody,
    Rename,
    RequestError,
    bytes_of_url,
    page_settings,
    problem_body,
    problem_of,
)
from swiftpie.apps.serve.worker import Caller, Work, Worker, describe_identity
from swiftpie.errors import SwiftPieError
from swiftpie.library import CREDIT, packaged
from swiftpie.models.cutout import search_of
from swiftpie.types import Cutout

logger = logging.getLogger(__name__)

MAX_IMAGE_BYTES = 20 << 20  # encoded
FORM_PARTS = 64
MAX_NAMES = 2_000  # of the library, in one answer
PART = "#/components/schemas/{model}"  # of the description of all routes
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "Pictures; with `stream` as events."}
}
ANSWERS = {
    "400": "Something in the request is wrong; the message says what.",
    "401": "A token is needed.",
    "403": "The request comes from a page of another site, or by another name.",
    "404": "What it names is not here.",
    "408": "The request took too long to arrive.",
    "413": "The request is too large.",
    "415": "It was sent in a way that is not read.",
    "429": "Too much waits already; Retry-After says when to come back.",
    "431": "It has too many headers.",
    "503": "The server is not ready, or about to stop.",
    "504": "The picture was not drawn within its time.",
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "word": {"type": "string", "description": "Whom a sentence names, and nobody is."},
                "near": {"type": "array", "items": {"type": "string"}},
            },
        }
    },
}
Result = TypeVar("Result")


def make_app(worker: Worker, *, hosts: Sequence[str], token: str | None, limits: Limits) -> Guard:
    """Return the application: all routes behind the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield
            guard.is_draining = True  # all were answered; for jobs nobody can ask any more

    app = FastAPI(
        title="SwiftPie",
        version=__version__,
        description=__doc__,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    guard = Guard(
        app,
        hosts=hosts,
        token=token,
        limits=limits,
        check_room=worker.check_room,
        count=worker.metrics.count,
    )
    _add_errors(app)
    _add_images(app, worker)
    _add_uploads(app, worker)
    _add_identities(app, worker)
    _add_library(app)
    _add_jobs(app, worker)
    _add_models(app, worker)
    _add_service(app, worker, guard)
    _describe_errors(app)
    return guard


def _add_images(app: FastAPI, worker: Worker) -> None:
    @app.post("/v1/images/generations", tags=["images"], responses=STREAMED)
    async def generations(body: Drawing, request: Request) -> Response:
        """Draw subjects that are known as identities into the scene of a prompt."""
        return await _answer(worker, request, body, _until(worker), kind="image_generation")

    @app.post(
        "/v1/images/edits",
        tags=["images"],
        responses=STREAMED,
        openapi_extra={"requestBody": _edit_body()},
    )
    async def edits(request: Request) -> Response:
        """Change a picture by words, or as `swiftpie.task` says: subjects come into it, or go."""
        body, pictures, mask = await _read_edit(request)
        until = _until(worker)

        async def decoded() -> tuple[list[Image.Image], Image.Image | None]:
            images = await worker.decode_all(pictures, name="image")
            return images, None if mask is None else await worker.decode(mask, name="mask")

        images, shape = await _while_wanted(request, decoded(), until)
        given = {"images": images, "mask": shape}
        return await _answer(worker, request, body, until, kind="image_edit", **given)


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
        worker.check_room(work.key, len(work.asks))  # while a status can still tell
        return StreamingResponse(_events(worker, work, body, kind), media_type="text/event-stream")
    drawn = await _while_wanted(request, worker.draw(work), until)
    headers = {"server-timing": f"draw;dur={drawn[0].milliseconds:.1f}"}
    return JSONResponse(_images_body(body, drawn), headers=headers)


def caller_of(request: Request, body: Drawing | None = None) -> Caller:
    """Return who asks; callers who hold the token tell users apart in the body, too."""
    key: str = request.state.key
    if body is not None and body.user and request.state.tells_users:
        key = f"{key} {body.user}"
    return Caller(key, request.state.owner)


async def _events(worker: Worker, work: Work, body: Drawing, kind: str) -> AsyncIterator[str]:
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
    except (SwiftPieError, RequestError, Expired, Overloaded) as error:
        _, told = problem_of(error)
        yield f"event: error\ndata: {json.dumps({'type': 'error', **told})}\n\n"


def _images_body(body: Drawing, drawn: Sequence[Drawn]) -> dict[str, Any]:
    data = [{"b64_json": base64.b64encode(one.data).decode()} for one in drawn]
    own: dict[str, Any] = {
        "seeds": [one.seed for one in drawn],
        "model": drawn[0].model,
        "timings_ms": drawn[0].timings_ms,
        "warnings": list(drawn[0].warnings),
    }
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
    """Return the settings, the pictures and the mask of an edit, whichever way they were sent.

    Raises:
        RequestError: There is no picture, or it was sent in another way.
        RequestValidationError: A setting is wrong.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            whole = EditBody.model_validate_json(await request.body())
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error
        pictures = [bytes_of_url(one.image_url, param="images") for one in whole.images]
        mask = whole.mask and bytes_of_url(whole.mask.image_url, param="mask")
        return whole, pictures, mask or None
    if kind != "multipart/form-data":
        raise RequestError(
            f"The content type is {kind!r}. multipart/form-data or application/json is needed.",
            status=415,
            code="unsupported_media_type",
        )
    async with request.form(
        max_files=MAX_IMAGES + 1, max_fields=FORM_PARTS, max_part_size=1 << 20
    ) as form:
        uploads = [*form.getlist("image"), *form.getlist("image[]")]
        pictures = [await _read_upload(one, param="image") for one in uploads]
        masks = [await _read_upload(one, param="mask") for one in form.getlist("mask")]
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
    if not pictures:
        raise RequestError("No picture was sent. Send one as 'image'.", param="image")
    try:
        body = Drawing.model_validate(texts)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    return body, pictures, masks[0] if masks else None


async def _read_upload(upload: object, *, param: str) -> bytes:
    if isinstance(upload, str):
        raise RequestError(
            f"'{param}' is text. A file is needed.", param=param, code="invalid_image"
        )
    size = getattr(upload, "size", None) or 0
    if size > MAX_IMAGE_BYTES:
        raise RequestError(
            f"'{param}' has {size} bytes; at most {MAX_IMAGE_BYTES} are read. Send a smaller one.",
            status=413,
            code="image_file_too_large",
            param=param,
        )
    data: bytes = await upload.read()  # type: ignore[attr-defined]
    if not data:
        raise RequestError(f"'{param}' is empty.", code="empty_image_file", param=param)
    return data


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


def _describe_errors(app: FastAPI) -> None:
    """Describe what every route may answer besides, and the parts that one reads by itself."""
    schema = app.openapi()
    parts = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    edit = EditBody.model_json_schema(ref_template=PART)
    parts |= edit.pop("$defs") | {EditBody.__name__: edit}
    parts["Error"] = ERROR_SCHEMA
    answer = {"application/json": {"schema": {"$ref": PART.format(model="Error")}}}
    for routes in schema["paths"].values():
        for route in routes.values():
            route["responses"].pop("422", None)
            for status, meaning in ANSWERS.items():
                told = {"description": meaning, "content": answer}
                route["responses"].setdefault(status, told)


Uploads = Annotated[list[UploadFile], File(description="Pictures of one subject.")]


def _add_uploads(app: FastAPI, worker: Worker) -> None:
    @app.post("/v1/identities", tags=["identities"], status_code=201)
    async def encode(
        request: Request,
        image: Uploads,
        mask: Annotated[list[UploadFile] | None, File(description="White = subject.")] = None,
        name: Annotated[str, Form(max_length=MAX_NAME)] = "",
        model: Annotated[str | None, Form(max_length=MAX_NAME)] = None,
    ) -> Response:
        """Encode a subject once; later requests name it by its id.

        Raises:
            RequestError: Pictures and masks do not fit.
        """
        if len(image) > MAX_IMAGES or len(mask or ()) not in {0, len(image)}:
            raise RequestError(
                f"{len(image)} pictures came with {len(mask or ())} masks. Send up to "
                f"{MAX_IMAGES}, with a mask each or with none.",
                param="image",
            )
        pictures = [await _read_upload(one, param="image") for one in image]
        shapes = [await _read_upload(one, param="mask") for one in mask or ()]

        async def added() -> dict[str, Any]:
            return await worker.add_identity(
                await worker.decode_all(pictures, name="image"),
                await worker.decode_all(shapes, name="mask"),
                name=name,
                model=model,
                caller=caller_of(request),
            )

        return JSONResponse(await _while_wanted(request, added(), _until(worker)), 201)

    @app.post("/v1/pictures", tags=["live"], status_code=201)
    async def keep_picture(image: UploadFile, request: Request) -> Response:
        """Keep a picture for live edits; tell what made it, if it says so."""
        data = await _read_upload(image, param="image")
        kept = worker.add_picture(data, owner=request.state.owner)
        return JSONResponse(await _while_wanted(request, kept, _until(worker)), 201)

    @app.post("/v1/cutouts", tags=["identities"])
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
        data = await _read_upload(image, param="image")

        async def found() -> tuple[bytes, Cutout]:
            picture = await worker.decode(data, name="image")
            return await worker.cut_out(picture, search, caller=caller_of(request))

        mask, how = await _while_wanted(request, found(), _until(worker))
        return {"mask_b64": base64.b64encode(mask).decode(), **how._asdict()}


def _pictured(kind: str) -> dict[str, Any]:
    """Return how a route is described that answers with a picture."""
    told = {"content": {f"image/{kind}": {}}, "description": "The picture."}
    return {"response_class": Response, "responses": {200: told}}


def _add_identities(app: FastAPI, worker: Worker) -> None:
    async def source_of(identity_id: str, kind: str, number: int, request: Request) -> bytes:
        """Return a picture of somebody's own subject, or the mask that came with it.

        Raises:
            RequestError: There is none.
        """
        owner = request.state.owner
        if data := await worker.identity_file(identity_id, f"{kind}/{number}", owner=owner):
            return data
        count = (await worker.identities.told(identity_id, owner=owner)).num_pictures
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

    @app.get("/v1/identities", tags=["identities"])
    async def identities(request: Request) -> dict[str, Any]:
        """List the subjects that whoever asks has sent."""
        known = await worker.identities.items(owner=request.state.owner)
        return {"object": "list", "data": [describe_identity(*one) for one in known]}

    @app.get("/v1/identities/{identity_id}/thumbnail", tags=["identities"], **_pictured("png"))
    async def thumbnail(identity_id: str, request: Request) -> Response:
        """Return what the encoder saw, as a picture."""
        data = await worker.identity_file(identity_id, THUMBNAIL, owner=request.state.owner)
        return Response(data, media_type="image/png")

    @app.get(
        "/v1/identities/{identity_id}/pictures/{number}", tags=["identities"], **_pictured("webp")
    )
    async def source(identity_id: str, number: int, request: Request) -> Response:
        """Return a picture of a subject, drawn anew and no larger than is of use."""
        data = await source_of(identity_id, "pictures", number, request)
        return Response(data, media_type="image/webp")

    @app.get("/v1/identities/{identity_id}/masks/{number}", tags=["identities"], **_pictured("png"))
    async def source_mask(identity_id: str, number: int, request: Request) -> Response:
        """Return the mask that came with a picture; POST /v1/cutouts finds one where none did."""
        data = await source_of(identity_id, "masks", number, request)
        return Response(data, media_type="image/png")

    @app.patch("/v1/identities/{identity_id}", tags=["identities"])
    async def rename(identity_id: str, body: Rename, request: Request) -> dict[str, Any]:
        """Give a subject another name."""
        owner = request.state.owner
        told = await worker.identities.rename(identity_id, body.name, owner=owner)
        return describe_identity(identity_id, told)

    @app.delete("/v1/identities/{identity_id}", tags=["identities"])
    async def forget(identity_id: str, request: Request) -> dict[str, Any]:
        """Forget a subject."""
        await worker.identities.drop(identity_id, owner=request.state.owner)
        return {"id": identity_id, "object": "identity", "deleted": True}


def _add_library(app: FastAPI) -> None:
    @app.get("/v1/library", tags=["library"])
    async def library(
        query: Annotated[str, Query(max_length=MAX_NAME)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_NAMES)] = MAX_NAMES,
    ) -> dict[str, Any]:
        """List subjects that need no picture: all, or whom a word means and who is near."""
        known = await asyncio.to_thread(packaged)
        found = await asyncio.to_thread(known.matching, query)
        meant = await asyncio.to_thread(known.meant_by, query)
        data = [
            {
                "object": "library.subject",
                "name": one.name,
                "words": one.words,
                "picture": f"/v1/library/{quote(one.name)}/picture",
            }
            for one in map(known.entry, found[:limit])
        ]
        return {
            "object": "list",
            "data": data,
            "total": len(found),
            "meant": None if meant is None else meant.name,  # else all are only near
            "credit": CREDIT,
        }

    @app.get("/v1/library/{name}/picture", tags=["library"], **_pictured("webp"))
    async def sprite(name: str) -> Response:
        """Return the picture of a subject of the library, which stays the same.

        Raises:
            RequestError: There is none.
        """
        if name not in packaged().names():
            raise RequestError(
                "The library has no subject of this name. See GET /v1/library.",
                status=404,
                code="subject_not_named",
                param="name",
            )
        data = await asyncio.to_thread(packaged().picture, name)
        headers = {"cache-control": "private, max-age=86400"}
        return Response(data, media_type="image/webp", headers=headers)


def _add_jobs(app: FastAPI, worker: Worker) -> None:
    @app.post("/v1/jobs", tags=["jobs"], status_code=202)
    async def start(body: Drawing, request: Request) -> Response:
        """Draw as /v1/images/generations does, and ask for the pictures later."""
        caller = caller_of(request, body)
        work = await worker.plan(body, caller=caller)
        number = worker.start(work, body, owner=caller.owner)
        return JSONResponse({"id": number, "status": State.QUEUED}, 202)

    @app.get("/v1/jobs/{job_id}", tags=["jobs"])
    async def look(job_id: str, request: Request) -> dict[str, Any]:
        """Tell how far a job is; its pictures once they are there."""
        task = worker.jobs.find(job_id, owner=request.state.owner)
        answer: dict[str, Any] = {"id": job_id, "status": task.state}
        if task.state is State.DONE:
            answer["result"] = _images_body(task.body, task.drawn)
        elif task.state is State.FAILED and task.error is not None:
            answer |= problem_of(task.error)[1]
        return answer

    @app.delete("/v1/jobs/{job_id}", tags=["jobs"])
    async def cancel(job_id: str, request: Request) -> dict[str, Any]:
        """Stop a job, even while it is drawn."""
        worker.jobs.find(job_id, owner=request.state.owner).cancel()
        worker.jobs.drop(job_id, owner=request.state.owner)
        return {"id": job_id, "status": State.CANCELLED}


def _add_models(app: FastAPI, worker: Worker) -> None:
    @app.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """List what can be asked for, with what each can do."""
        return {"object": "list", "data": worker.describe_models(), **page_settings()}

    @app.get("/v1/models/{model}", tags=["models"])
    async def one_model(model: str) -> dict[str, Any]:
        """Tell about one model."""
        for known in worker.describe_models():
            if known["id"] == model:
                return known
        raise worker.no_such_model(model)

    @app.get("/v1/models/{model}/vocabulary", tags=["models"])
    async def vocabulary(model: str, request: Request) -> dict[str, Any]:
        """Return the words that a small model was taught; `null` for those that read anything."""
        words = worker.vocabulary(model, caller=caller_of(request))
        return {"vocabulary": await _while_wanted(request, words, _until(worker))}

    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await Live(worker, socket).serve()


def _add_service(app: FastAPI, worker: Worker, guard: Guard) -> None:
    @app.get("/health/live", tags=["health"])
    async def alive() -> dict[str, str]:
        """Answer that the process runs."""
        return {"status": "ok"}

    @app.get("/health/ready", tags=["health"])
    async def ready() -> Response:
        """Answer whether pictures can be asked for now."""
        if guard.is_draining or not worker.is_ready:
            seconds = worker.scheduler.retry_after_s()
            return JSONResponse({"status": "not ready"}, 503, headers=retry_headers(seconds))
        return JSONResponse({"status": "ready"})

    @app.get("/version", tags=["health"])
    async def version() -> dict[str, str]:
        """Return the version of SwiftPie."""
        return {"version": __version__}

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times as Prometheus reads them."""
        return worker.metrics.response()

    static = StaticFolder(directory=str(files("swiftpie") / "apps" / "serve" / "static"))
    app.mount("/static", static, name="static")

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        answer = await static.get_response("index.html", request.scope)
        if visitor_of(request.headers) is None:
            cookie = new_visitor(is_secure=request.url.scheme == "https")
            answer.headers["set-cookie"] = cookie
        return answer


class StaticFolder(StaticFiles):
    """Files of the page, which browsers keep and ask about each time: 304 where they are as old."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that nothing has changed."""
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _until(worker: Worker) -> float:
    """Return when a request that is whole by now has taken too long, by the loop's clock."""
    return asyncio.get_running_loop().time() + worker.limits.deadline_s


async def _while_wanted(request: Request, work: Awaitable[Result], until: float) -> Result:
    """Return what comes of `work`, which is cancelled when whoever asked has left, or is late.

    Raises:
        HTTPException: They have left.
        Expired: It is later than `until`.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_until_left(request))
    seconds = until - asyncio.get_running_loop().time()
    try:
        await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.done():
            raise HTTPException(499, LEFT)
        raise Expired
    finally:
        left.cancel()
        task.cancel()


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"] if one != "body")
        message = f"{where or 'The request'}: {first['msg']}."
        body = problem_body(message, status=400, code="invalid_value", param=where or None)
        return JSONResponse(body, 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        body = problem_body(str(error.detail), status=error.status_code)
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> Response:
        refusal = overload_refusal(error)
        body = problem_body(refusal.message, status=refusal.status, code=refusal.code)
        return JSONResponse(body, refusal.status, headers=retry_headers(refusal.retry_after_s))

    @app.exception_handler(SwiftPieError)
    @app.exception_handler(RequestError)
    @app.exception_handler(Expired)
    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        status, told = problem_of(error)
        if status >= 500:
            logger.error("a request failed: %s", type(error).__name__, exc_info=error)
        return JSONResponse(told, status)
