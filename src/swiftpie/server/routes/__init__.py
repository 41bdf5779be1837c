"""What routes share: bodies within our own bounds, callers, deadlines, and files that are sent."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from PIL import Image
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from swiftpie.imageio.writing import encode_image
from swiftpie.server.forms import read_form
from swiftpie.server.guard import LEFT
from swiftpie.server.jobs import Expired, take_error
from swiftpie.server.schemas import MAX_IMAGE_BYTES, Drawing, RequestError, read_json
from swiftpie.server.worker import Caller

Result = TypeVar("Result")


class BodyRequest(Request):
    """A request whose body is read by our own bounds, as JSON or as a form."""

    def __init__(self, request: Request, *, texts: Collection[str], files: Collection[str]) -> None:
        super().__init__(request.scope, request.receive)
        self._texts, self._files = texts, files

    async def json(self) -> Any:  # noqa: ANN401 - whatever came
        """Return what the body says."""
        return read_json(await self.body())

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]  # noqa: ANN401
        """Return texts and files of the names that the route reads."""
        kind = self.headers.get("content-type", "")
        return await read_form(kind, await self.body(), texts=self._texts, files=self._files)


class BodyRoute(APIRoute):
    """A route that reads a body first, and stops when its caller leaves or the deadline passes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        names: dict[bool, list[str]] = {True: [], False: []}
        for field in self.dependant.body_params:
            names[isinstance(field.field_info, params.File)].append(field.alias)

        async def handler(request: Request) -> Response:
            whole = BodyRequest(request, texts=names[False], files=names[True])
            await whole.body()
            deadline_s = request.app.state.worker.limits.deadline_s
            return await _while_wanted(whole, answer(whole), deadline_s)

        return handler


async def _while_wanted(request: Request, work: Awaitable[Result], deadline_s: float) -> Result:
    """Return the result of `work`; cancel it when the caller leaves or the deadline passes."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(take_error)
    left = asyncio.ensure_future(_until_left(request))
    try:
        await asyncio.wait({task, left}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
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


def caller_of(request: Request, body: Drawing | None = None) -> Caller:
    """Return the caller; holders of the token may name a user in the body, too."""
    key: str = request.state.key
    if body is not None and body.user and request.state.may_name_users:
        key = f"{key} {body.user}"
    return Caller(key, request.state.owner)


async def read_upload(upload: object, *, param: str) -> bytes:
    """Return the bytes of a file in a form."""
    if isinstance(upload, str):
        raise RequestError(
            f"'{param}' is text. A file is needed.", param=param, code="invalid_image"
        )
    size = getattr(upload, "size", None) or 0
    if size > MAX_IMAGE_BYTES:
        raise RequestError(
            f"'{param}' has {size / 1e6:.1f} MB; at most {MAX_IMAGE_BYTES / 1e6:.1f} MB are read. "
            "Send a smaller one.",
            status=413,
            code="image_file_too_large",
            param=param,
        )
    data: bytes = await upload.read()  # type: ignore[attr-defined]
    if not data:
        raise RequestError(f"'{param}' is empty.", code="empty_image_file", param=param)
    return data


async def as_png(image: Image.Image) -> bytes:
    """Return a mask as a file."""
    return await asyncio.to_thread(encode_image, image, ".png", metadata=None)


def pictured(kind: str) -> dict[str, Any]:
    """Return how a route is described that answers with a picture."""
    info = {"content": {f"image/{kind}": {}}, "description": "The picture."}
    return {"response_class": Response, "responses": {200: info}}
