"""The server: OpenAI's Images API, identities, pictures and jobs, health, metrics and the page."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from swiftpie import __version__
from swiftpie.errors import SwiftPieError
from swiftpie.server import Limits
from swiftpie.server.errors import RequestError, answer_to, error_of_fields, free_frames
from swiftpie.server.guard import Guard, new_visitor, visitor_of
from swiftpie.server.routes.identities import identity_routes, upload_routes
from swiftpie.server.routes.images import image_routes, job_routes
from swiftpie.server.routes.library import library_routes, model_routes
from swiftpie.server.schemas import PART, EditBody
from swiftpie.server.shared import StoreUnreachable
from swiftpie.server.worker import Worker

DESCRIPTION = "The routes: OpenAI's Images API, identities, pictures and jobs, health and metrics."
NO_ROUTE = (
    "This server has no such route. Pictures are drawn by POST /v1/images/generations and "
    "/v1/images/edits; GET /openapi.json lists all routes."
)

ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": 'What is wrong, and what to do, as {"error": {"message", "type", '
        '"param", "code"}}. With 429 and 503, Retry-After says when to try again.'
    }
}


def make_app(
    worker: Worker, *, hosts: Sequence[str], token: str | None, limits: Limits, root_path: str = ""
) -> Guard:
    """Return the application: all routes behind the guard, below a proxy's `root_path`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield
            guard.is_draining = True  # all were answered, and jobs cannot be fetched any more

    app = FastAPI(
        title="SwiftPie",
        version=__version__,
        description=DESCRIPTION,
        responses=ERRORS,
        lifespan=lifespan,
        openapi_url=None,  # made anew for each reader
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        servers=[{"url": root_path}] if root_path else None,
        redirect_slashes=False,  # a proxy's prefix would be lost
    )
    app.state.worker = worker
    guard = Guard(
        app,
        hosts=hosts,
        token=token,
        limits=limits,
        check_room=worker.check_room,
        count=worker.metrics.count,
        root_path=root_path,
    )
    _add_errors(app)
    for router in (
        *(image_routes(worker), upload_routes(worker), identity_routes(worker), library_routes()),
        *(job_routes(worker), model_routes(worker), service_routes(worker, guard)),
    ):
        app.include_router(router)
    app.mount("/static", STATIC, name="static")
    if root_path:  # the page's addresses are relative
        app.add_route(root_path, lambda _: RedirectResponse(f"{root_path}/"))
    _describe_edits(app)
    description = json.dumps(app.openapi()).encode()

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    app.add_route("/openapi.json", openapi, include_in_schema=False)
    return guard


class StaticFolder(StaticFiles):
    """Files of the page, which browsers keep and ask about each time: 304 where they are as old."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        if path == "service-worker.js":
            answer.headers["service-worker-allowed"] = "../"  # it answers for the page, too
        return answer


STATIC = StaticFolder(directory=str(files("swiftpie") / "server" / "static"))


def service_routes(worker: Worker, guard: Guard) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def alive() -> dict[str, str]:
        """Answer that the process runs."""
        return {"status": "ok"}

    @router.get("/health/ready")
    async def ready() -> dict[str, str]:
        """Answer whether the server draws pictures now, and reaches the store that it shares.

        Raises:
            RequestError: It does not.
            StoreUnreachable: It draws what needs no store.
        """
        if guard.is_draining or not (worker.is_ready and worker.backend.is_ready):
            message, seconds = "The server is not ready.", worker.scheduler.retry_after_s()
            raise RequestError(message, status=503, code="not_ready", retry_after_s=seconds)
        if not worker.has_store:
            raise StoreUnreachable
        return {"status": "ready"}

    @router.get("/version")
    async def version() -> dict[str, str]:
        """Return the version of SwiftPie."""
        return {"version": __version__}

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times as Prometheus reads them."""
        return worker.metrics.response()

    @router.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        answer = await STATIC.get_response("index.html", request.scope)
        if visitor_of(request.headers) is None:
            is_secure = request.url.scheme == "https"
            name = new_visitor(is_secure=is_secure, root_path=guard.root_path)
            answer.headers["set-cookie"] = name
        return answer

    return router


def _describe_edits(app: FastAPI) -> None:
    """Add to the schema the body that a route reads by itself."""
    edit = EditBody.model_json_schema(ref_template=PART)
    parts = app.openapi()["components"]["schemas"]
    parts |= edit.pop("$defs") | {EditBody.__name__: edit}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return error_of_fields(error).response

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        free_frames(error)
        is_unknown = error.detail == HTTPStatus.NOT_FOUND.phrase
        message = NO_ROUTE if is_unknown else str(error.detail)
        answer = RequestError(message, status=error.status_code)
        answer.headers = error.headers
        return answer.response

    @app.exception_handler(SwiftPieError)
    @app.exception_handler(RequestError)
    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return answer_to(error, "a request").response
