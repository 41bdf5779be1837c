"""What can be named without a picture: subjects and scenes of the library, and models."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response, WebSocket

from swiftpie.library import CREDIT, subject_library
from swiftpie.library import scenes as packaged_scenes
from swiftpie.server.live import Live
from swiftpie.server.routes import BodyRoute, caller_of, pictured
from swiftpie.server.schemas import MAX_NAME, RequestError, page_settings
from swiftpie.server.worker import Worker

MAX_NAMES = 2_000  # of the library, in one answer


def library_routes() -> APIRouter:
    """Return the routes of subjects and scenes by name."""
    router = APIRouter(tags=["library"])

    @router.get("/v1/library")
    async def library(
        query: Annotated[str, Query(max_length=MAX_NAME)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_NAMES)] = MAX_NAMES,
    ) -> dict[str, Any]:
        """List subjects that need no picture: all, or those that a word means or nearly means."""
        known = await asyncio.to_thread(subject_library)
        found = await asyncio.to_thread(known.matching, query)
        meant = await asyncio.to_thread(known.meant_by, query)
        data = [
            {
                "object": "library.subject",
                "name": entry.name,
                "words": entry.words,
                "picture": f"/v1/library/{quote(entry.name)}/picture",
            }
            for entry in map(known.entry, found[:limit])
        ]
        return {
            "object": "list",
            "data": data,
            "total": len(found),
            "meant": None if meant is None else meant.name,  # else all are only near
            "credit": CREDIT,
        }

    @router.get("/v1/library/{name}/picture", **pictured("webp"))
    async def sprite(name: str) -> Response:
        """Return the picture of a subject of the library, which stays the same."""
        known = await asyncio.to_thread(subject_library)
        return await _picture(
            known.picture, name, known.names(), kind="subject", code="subject_not_named"
        )

    @router.get("/v1/scenes")
    async def scenes() -> dict[str, Any]:
        """List the places that `swiftpie.scene` names."""
        known = await asyncio.to_thread(packaged_scenes)
        data = [
            {
                "object": "library.scene",
                "name": name,
                "picture": f"/v1/scenes/{quote(name)}/picture",
                "credits": known.credits_of(name),
            }
            for name in known.names()
        ]
        return {"object": "list", "data": data, "credit": known.credit}

    @router.get("/v1/scenes/{name}/picture", **pictured("webp"))
    async def scene(name: str) -> Response:
        """Return a picture of a place in plain daylight."""
        known = await asyncio.to_thread(packaged_scenes)
        return await _picture(
            known.picture, name, known.names(), kind="scene", code="scene_not_found"
        )

    return router


async def _picture(
    read: Callable[[str], bytes], name: str, names: Iterable[str], *, kind: str, code: str
) -> Response:
    if name not in names:
        route = "/v1/library" if kind == "subject" else "/v1/scenes"
        raise RequestError(
            f"The library has no {kind} of this name. See GET {route}.",
            status=404,
            code=code,
            param="name",
        )
    data = await asyncio.to_thread(read, name)
    headers = {"cache-control": "private, max-age=86400"}
    return Response(data, media_type="image/webp", headers=headers)


def model_routes(worker: Worker) -> APIRouter:
    """Return the routes of models, and the socket of live drawing."""
    router = APIRouter(route_class=BodyRoute)

    @router.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """List the models, with what each can do."""
        return {"object": "list", "data": worker.describe_models(), **page_settings()}

    @router.get("/v1/models/{model}", tags=["models"])
    async def one_model(model: str) -> dict[str, Any]:
        """Return the facts of one model."""
        name = worker.model_named(model)
        return next(known for known in worker.describe_models() if known["id"] == name)

    @router.get("/v1/models/{model}/vocabulary", tags=["models"])
    async def vocabulary(model: str, request: Request) -> dict[str, Any]:
        """Return the words that a small model was taught; `null` for those that read anything."""
        return {"vocabulary": await worker.vocabulary(model, caller=caller_of(request))}

    @router.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await Live(worker, socket).serve()

    return router
