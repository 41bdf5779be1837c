"""What can be named without a picture: subjects, scenes and models; and live drawing."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response, WebSocket, WebSocketDisconnect
from PIL import Image
from pydantic import ValidationError

from swiftpie.engine.session import Session
from swiftpie.library import CREDIT, subject_library
from swiftpie.scenes import scene_library
from swiftpie.server.drawing import DrawnPicture, warnings_of
from swiftpie.server.errors import RequestError, answer_to, error_of_fields
from swiftpie.server.guard import TEXT_BYTES
from swiftpie.server.jobs import LIVE
from swiftpie.server.routes import BodyRoute, caller_of, pictured
from swiftpie.server.schemas import MAX_NAME, LiveDraw, page_settings, read_json
from swiftpie.server.shared import reached
from swiftpie.server.store import Caller
from swiftpie.server.worker import Worker

MAX_NAMES = 2_000  # Names of the library in one answer.
KEPT_ANSWERS = 32  # The library stays the same while a server runs.
SEARCH_COST = 9  # requests that a search counts besides itself
LENGTH = struct.Struct(">I")
PROTOCOL = "swiftpie"


def library_routes() -> APIRouter:
    router = APIRouter(tags=["library"])

    @router.get("/v1/library", response_model=dict[str, Any])
    async def library(
        request: Request,
        query: Annotated[str, Query(max_length=MAX_NAME)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_NAMES)] = MAX_NAMES,
    ) -> Response:
        """List subjects that need no picture: all, or those that a word means or nearly means."""
        if query:
            await request.state.pace(SEARCH_COST)
        found = await asyncio.to_thread(_subjects, query, limit)
        return Response(found, media_type="application/json")

    @router.get("/v1/library/{name}/picture", **pictured("webp"))
    async def sprite(name: str) -> Response:
        """Return the picture of a subject of the library, which stays the same."""
        return await _picture(subject_library, name, "subject", code="subject_not_named")

    @router.get("/v1/scenes", response_model=dict[str, Any])
    async def scenes() -> Response:
        """List the places that `swiftpie.scene` names."""
        return Response(await asyncio.to_thread(_scenes), media_type="application/json")

    @router.get("/v1/scenes/{name}/picture", **pictured("webp"))
    async def scene(name: str) -> Response:
        """Return a picture of a place in plain daylight."""
        return await _picture(scene_library, name, "scene", code="scene_not_found")

    return router


@lru_cache(KEPT_ANSWERS)
def _subjects(query: str, limit: int) -> bytes:
    known = subject_library()
    found, meant = known.matching(query), known.meant_by(query)
    data = [
        {
            "object": "library.subject",
            "name": entry.name,
            "words": entry.words,
            "picture": f"/v1/library/{quote(entry.name)}/picture",
        }
        for entry in map(known.entry, found[:limit])
    ]
    answer = {
        "object": "list",
        "data": data,
        "total": len(found),
        "meant": None if meant is None else meant.name,  # else all are only near
        "credit": CREDIT,
    }
    return json.dumps(answer).encode()


@cache
def _scenes() -> bytes:
    known = scene_library()
    data = [
        {
            "object": "library.scene",
            "name": name,
            "phrase": known.phrase(name),
            "picture": f"/v1/scenes/{quote(name)}/picture",
            "credits": known.credits_of(name),
        }
        for name in known.names()
    ]
    return json.dumps({"object": "list", "data": data, "credit": known.credit}).encode()


async def _picture(read: Callable[[], Any], name: str, kind: str, *, code: str) -> Response:
    known = await asyncio.to_thread(read)
    if name not in known.names():
        route = "/v1/library" if kind == "subject" else "/v1/scenes"
        message = f"The library has no {kind} of this name. See GET {route}."
        raise RequestError(message, status=404, code=code, param="name")
    data = await asyncio.to_thread(known.picture, name)
    headers = {"cache-control": "private, max-age=86400"}
    return Response(data, media_type="image/webp", headers=headers)


def model_routes(worker: Worker) -> APIRouter:
    router = APIRouter(route_class=BodyRoute)

    def described(name: str) -> dict[str, Any]:
        own = {"is_loaded": name in worker.backend.loaded, **worker.models.served(name).facts}
        facts = {"id": name, "object": "model", "created": 0, "owned_by": "swiftpie"}
        return {**facts, "swiftpie": own}

    @router.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """List the models, with what each can do."""
        return {"object": "list", "data": [*map(described, worker.models.names)], **page_settings()}

    @router.get("/v1/models/{model}", tags=["models"])
    async def one_model(model: str) -> dict[str, Any]:
        """Return the facts of one model."""
        return described(worker.models.named(model))

    @router.get("/v1/models/{model}/vocabulary", tags=["models"])
    async def vocabulary(model: str, request: Request) -> dict[str, Any]:
        """Return the words that a small model was taught; `null` for those that read anything."""
        name = worker.models.named(model)
        session = worker.models.loaded.get(name)
        if session is not None:
            return {"vocabulary": _taught(session)}
        key = caller_of(request).key
        return {"vocabulary": await worker.carry_out(name, _taught, key=key)}

    @router.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await Live(worker, socket).serve()

    return router


def _taught(session: Session) -> Any:  # noqa: ANN401 - as JSON has it
    return session.components.family.taught(session.components)


class Live:
    """A WebSocket on which the newest request counts, and one is drawn at a time.

    Requests are JSON (`LiveDraw`). An answer is one binary message: four bytes with the length of a
    header, the header as JSON, and the picture as a file. What a newer request replaced is reported
    as `{"type": "dropped", "id": …}`, what went wrong as `{"type": "error", "id": …, "error": …}`.
    Every message gets an answer. No error ends the connection, but messages that are too many or
    too long do, with a code and a reason.
    """

    def __init__(self, worker: Worker, socket: WebSocket) -> None:
        self._worker = worker
        self._socket = socket
        self._caller = Caller(f"{socket.state.key}{LIVE}", socket.state.owner)
        self._newest: LiveDraw | None = None
        self._came = asyncio.Event()

    async def serve(self) -> None:
        offered = self._socket.scope.get("subprotocols", ())
        await self._socket.accept(PROTOCOL if PROTOCOL in offered else None)
        drawing = asyncio.ensure_future(self._draw_newest())
        try:
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                text = message.get("text") or ""  # a binary message has none
                await self._socket.state.pace(1 + len(text) / TEXT_BYTES)
                await self._take(text)
                await asyncio.sleep(0)  # others may have their turn
        except WebSocketDisconnect:  # while it was answered
            pass
        except RequestError as error:  # messages come too quickly, and more are on their way
            await self._socket.close(1008, error.code)
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing

    async def _take(self, text: str) -> None:
        body: dict[str, Any] = {}  # errors would hold this frame, and it them
        try:
            message = LiveDraw.model_validate(read_json(text.encode()))
        except RequestError as error:
            body = error.body
        except ValidationError as error:
            body = error_of_fields(error).body
        if body:
            await self._socket.send_json({"type": "error", "id": None, **body})
            return
        if self._newest is not None:
            await self._socket.send_json({"type": "dropped", "id": self._newest.id})
        self._newest = message
        self._came.set()

    async def _draw_newest(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await self._came.wait()
                self._came.clear()
                message, self._newest = self._newest, None
                if message is not None:
                    await self._draw(message)

    async def _draw(self, message: LiveDraw) -> None:
        try:
            drawn = await self._drawn(message)
        except Exception as error:  # noqa: BLE001 - the next message is drawn whatever it is
            body = answer_to(error, "a live drawing").body
            await self._socket.send_json({"type": "error", "id": message.id, **body})
            return
        header = {
            "type": "picture",
            "id": message.id,
            "seed": drawn.seed,
            "width": drawn.size[0],
            "height": drawn.size[1],
            "mime": f"image/{message.output_format}",
            "milliseconds": round(drawn.milliseconds, 1),
            "timings_ms": drawn.timings_ms,
            "warnings": warnings_of([drawn]),
            "box": drawn.box,
            "subjects_at": drawn.subjects_at,
            "named": [named._asdict() for named in drawn.named],
            "follows_seed": drawn.is_random,
            "scores": drawn.scores,
            "mask_b64": base64.b64encode(drawn.mask).decode() or None,
        }
        head = json.dumps(header).encode()
        await self._socket.send_bytes(LENGTH.pack(len(head)) + head + drawn.data)

    async def _drawn(self, message: LiveDraw) -> DrawnPicture:
        worker, images, mask = self._worker, [], None
        if message.type == "edit":
            images = [await self._picture(message.picture_id)]
            mask = await self._picture(message.mask_id) if message.mask_id else None
        jobs = await worker.builder.jobs_of(message, caller=self._caller, images=images, mask=mask)
        (drawn,) = [picture async for picture in worker.draw(jobs)]
        return drawn

    async def _picture(self, name: str) -> Image.Image:
        return await reached(self._worker.pictures.find, name, owner=self._caller.owner)
