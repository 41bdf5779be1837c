"""Health, version, metrics and the page."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from swiftpie import __version__
from swiftpie.server.guard import Guard, new_visitor, retry_headers, visitor_of
from swiftpie.server.worker import Worker


class StaticFolder(StaticFiles):
    """Files of the page, which browsers keep and ask about each time: 304 where they are as old."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that nothing has changed."""
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        if path == "service-worker.js":
            answer.headers["service-worker-allowed"] = "/"  # it answers for the page, too
        return answer


STATIC = StaticFolder(directory=str(files("swiftpie") / "server" / "static"))


def service_routes(worker: Worker, guard: Guard) -> APIRouter:
    """Return the routes of health, version and metrics."""
    router = APIRouter()

    @router.get("/health/live", tags=["health"])
    async def alive() -> dict[str, str]:
        """Answer that the process runs."""
        return {"status": "ok"}

    @router.get("/health/ready", tags=["health"])
    async def ready() -> Response:
        """Answer whether the server draws pictures now."""
        if guard.is_draining or not worker.is_ready:
            seconds = worker.scheduler.retry_after_s()
            return JSONResponse({"status": "not ready"}, 503, headers=retry_headers(seconds))
        return JSONResponse({"status": "ready"})

    @router.get("/version", tags=["health"])
    async def version() -> dict[str, str]:
        """Return the version of SwiftPie."""
        return {"version": __version__}

    @router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times as Prometheus reads them."""
        return worker.metrics.response()

    @router.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        answer = await STATIC.get_response("index.html", request.scope)
        if visitor_of(request.headers) is None:
            cookie = new_visitor(is_secure=request.url.scheme == "https")
            answer.headers["set-cookie"] = cookie
        return answer

    return router
