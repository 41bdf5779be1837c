"""What can be named without a picture: subjects of the library, and models."""

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response, WebSocket

from swiftpie.library import CREDIT, packaged
from swiftpie.library import scenes as packaged_scenes
from swiftpie.server.live import Live
from swiftpie.server.routes.calls import caller_of, deadline_of, pictured, while_wanted
from swiftpie.server.schemas import MAX_NAME, RequestError, page_settings
from swiftpie.server.worker import Worker

MAX_NAMES = 2_000  # of the library, in one answer


def library_routes() -> APIRouter:
    """Return the routes of subjects by name."""
    router = APIRouter()

    @router.get("/v1/library", tags=["library"])
    async def library(
        query: Annotated[str, Query(max_length=MAX_NAME)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_NAMES)] = MAX_NAMES,
    ) -> dict[str, Any]:
        """List subjects that need no picture: all, or those that a word means or nearly means."""
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

    @router.get("/v1/library/{name}/picture", tags=["library"], **pictured("webp"))
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

    @router.get("/v1/scenes", tags=["library"])
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

    @router.get("/v1/scenes/{name}/picture", tags=["library"], **pictured("webp"))
    async def scene(name: str) -> Response:
        """Return a picture of a place in plain daylight.

        Raises:
            RequestError: There is no such place.
        """
        known = await asyncio.to_thread(packaged_scenes)
        if name not in known.names():
            raise RequestError(
                "The library has no scene of this name. See GET /v1/scenes.",
                status=404,
                code="scene_not_found",
                param="name",
            )
        data = await asyncio.to_thread(known.picture, name)
        headers = {"cache-control": "private, max-age=86400"}
        return Response(data, media_type="image/webp", headers=headers)

    return router


def model_routes(worker: Worker) -> APIRouter:
    """Return the routes of models, and the socket of live drawing."""
    router = APIRouter()

    @router.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """List the models, with what each can do."""
        return {"object": "list", "data": worker.describe_models(), **page_settings()}

    @router.get("/v1/models/{model}", tags=["models"])
    async def one_model(model: str) -> dict[str, Any]:
        """Tell about one model."""
        name = worker.model_named(model)
        return next(known for known in worker.describe_models() if known["id"] == name)

    @router.get("/v1/models/{model}/vocabulary", tags=["models"])
    async def vocabulary(model: str, request: Request) -> dict[str, Any]:
        """Return the words that a small model was taught; `null` for those that read anything."""
        words = worker.vocabulary(model, caller=caller_of(request))
        return {"vocabulary": await while_wanted(request, words, deadline_of(worker))}

    @router.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await Live(worker, socket).serve()

    return router
