"""The server: OpenAI's Images API, identities, pictures and jobs, health and metrics."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from swiftpie import __version__
from swiftpie.errors import SwiftPieError
from swiftpie.server.guard import Guard, overload_refusal, retry_headers
from swiftpie.server.jobs import Expired, Overloaded
from swiftpie.server.limits import Limits
from swiftpie.server.routes.identities import identity_routes, looking_routes, upload_routes
from swiftpie.server.routes.images import image_routes, job_routes
from swiftpie.server.routes.library import library_routes, model_routes
from swiftpie.server.routes.service import STATIC, service_routes
from swiftpie.server.schemas import (
    PART,
    EditBody,
    RequestError,
    let_go,
    log_failure,
    problem_body,
    problem_of,
    problem_of_fields,
)
from swiftpie.server.worker import Worker

DESCRIPTION = "The routes: OpenAI's Images API, identities, pictures and jobs, health and metrics."
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
    "503": "The server is not ready, has too many connections, or is about to stop.",
    "504": "The picture was not drawn within its time.",
    "507": "The store of identities is full.",
}
NO_ROUTE = (
    "This server has no such route. Pictures are drawn by POST /v1/images/generations and "
    "/v1/images/edits; GET /openapi.json lists all routes."
)
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
                "word": {
                    "type": "string",
                    "description": "A name in the prompt that the library lacks.",
                },
                "near": {"type": "array", "items": {"type": "string"}},
            },
        }
    },
}


def make_app(worker: Worker, *, hosts: Sequence[str], token: str | None, limits: Limits) -> Guard:
    """Return the application: all routes behind the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with worker:
            yield
            guard.is_draining = True  # all were answered, and jobs cannot be fetched any more

    app = FastAPI(
        title="SwiftPie",
        version=__version__,
        description=DESCRIPTION,
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
    routers = (
        *(image_routes(worker), upload_routes(worker), looking_routes(worker)),
        *(identity_routes(worker), library_routes()),
        *(job_routes(worker), model_routes(worker), service_routes(worker, guard)),
    )
    for router in routers:
        app.include_router(router)
    app.mount("/static", STATIC, name="static")
    _describe_errors(app)
    return guard


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
                info = {"description": meaning, "content": answer}
                route["responses"].setdefault(status, info)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(problem_of_fields(error.errors()), 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        let_go(error)
        message = str(error.detail)
        if error.status_code == 404 and message == HTTPStatus.NOT_FOUND.phrase:
            message = NO_ROUTE
        body = problem_body(message, status=error.status_code)
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> Response:
        let_go(error)
        refusal = overload_refusal(error)
        body = problem_body(refusal.message, status=refusal.status, code=refusal.code)
        return JSONResponse(body, refusal.status, headers=retry_headers(refusal.retry_after_s))

    @app.exception_handler(SwiftPieError)
    @app.exception_handler(RequestError)
    @app.exception_handler(Expired)
    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        status, info = problem_of(error)
        if status >= 500:
            log_failure(error, "a request")
        let_go(error)
        return JSONResponse(info, status)
