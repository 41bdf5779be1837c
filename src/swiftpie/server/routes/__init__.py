"""What routes share: bodies and forms within our own bounds, callers, deadlines, and files."""

import asyncio
import io
import json
import re
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from typing import Any, TypeVar

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from PIL import Image
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from swiftpie.imageio.writing import encode_image
from swiftpie.server.errors import Expired, RequestError
from swiftpie.server.guard import LEFT
from swiftpie.server.jobs import take_error
from swiftpie.server.schemas import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    MAX_NAME,
    MAX_TEXT_BYTES,
    Drawing,
    read_json,
)
from swiftpie.server.store import Caller

Result = TypeVar("Result")
FORM = "multipart/form-data"
PLURAL = "images"  # which OpenAI's JSON has in place of `image`
NESTED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]{0,64}\]){1,6})")  # swiftpie[task], swiftpie[box][]
NUMBERED = re.compile(r"\[\d{0,4}\]$")  # clients write image[], image[1], mask[]


class FormParser(MultiPartParser):
    """Starlette's parser, which uses no file of the disk, and guesses no encoding."""

    texts: Collection[str] = ()  # names of parts that are texts, even if they are sent as files

    def on_headers_finished(self) -> None:
        """Begin a part, in memory: the body is there already."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            part.file.file.close()
            is_text = part.field_name in self.texts
            part.file = None if is_text else UploadFile(io.BytesIO(), size=0)

    def on_part_end(self) -> None:
        """Refuse a text in another encoding."""
        try:
            self._current_part.data.decode()
        except UnicodeDecodeError:
            reason = "A text is not valid UTF-8, or a file has no file name."
            raise MultiPartException(reason) from None
        super().on_part_end()


async def read_form(
    content_type: str,
    data: bytes,
    *,
    texts: Collection[str],
    files: Collection[str],
    takes_more: bool = False,
) -> FormData:
    """Return the texts and files of a form.

    Parts named in `texts` are texts, even if they are sent as files; what `swiftpie[task]` and
    `swiftpie[box][]` say is JSON in `swiftpie`. Files have the names of `files`, however a client
    numbers them: `image[]`, `image[1]` and `images` are `image`. Texts of other names are refused
    unless `takes_more`; files of other names always are.

    Raises:
        RequestError: It is broken, no form, in another encoding, or has what is not read, or twice.
    """
    kind, options = parse_options_header(content_type)
    if kind != FORM.encode() or not _is_utf8(options):
        message = (
            f"The content type is {content_type[:MAX_NAME]!r}. {FORM} in UTF-8 is needed. Send a "
            "form."
        )
        raise RequestError(message, status=415, code="unsupported_media_type")

    async def whole() -> AsyncIterator[bytes]:
        yield data

    parser = FormParser(
        Headers({"content-type": content_type}),
        whole(),  # type: ignore[arg-type]  # any iterator is read
        max_files=2 * MAX_IMAGES + 1,
        max_fields=64,
        max_part_size=MAX_TEXT_BYTES,
    )
    parser.texts = texts
    reason = "It is cut off."
    try:
        form = await parser.parse()
    except MultiPartException as error:
        form, reason = FormData(), error.message
    if not form or b"--" + options[b"boundary"] + b"--" not in data[-MAX_NAME:]:
        raise RequestError(
            f"The form is broken. {reason} Send a complete one, as libraries for HTTP write it.",
            code="invalid_form",
        )
    found: list[tuple[str, UploadFile | str]] = []
    parts: dict[str, dict[str, Any]] = {}  # Texts by the name before the brackets.
    for name, value in form.multi_items():
        is_file = isinstance(value, UploadFile)
        nested = NESTED.fullmatch(name)
        if isinstance(value, str) and nested and nested[1] in texts:
            path = nested[2][1:-1].split("][")
            if not _put(parts.setdefault(nested[1], {}), path, value):
                found.append((name, value))  # which is refused below
            continue
        plain = NUMBERED.sub("", name) if is_file else name
        plain = "image" if is_file and plain == PLURAL else plain
        if plain not in (files if is_file else {*texts, *files}) and (is_file or not takes_more):
            message = (
                f"The form has a part {name[:MAX_NAME]!r}, which is not read. Rename it to one of "
                f"{', '.join(sorted({*texts, *files}))}, or leave it out."
            )
            raise RequestError(message, code="unknown_field", param=name[:MAX_NAME])
        found.append((plain, value))
    found += [(name, json.dumps(_with_lists(part))) for name, part in parts.items()]
    _check_once(found, texts=texts)
    return FormData(found)


async def form_of(request: Request, **names: Any) -> FormData:  # noqa: ANN401 - of `read_form`
    """Return the form of a request, whose body is let go, as its files are a copy."""
    data, request._body = await request.body(), b""  # noqa: SLF001 - where Starlette keeps it
    return await read_form(request.headers.get("content-type", ""), data, **names)


def _check_once(found: Sequence[tuple[str, UploadFile | str]], *, texts: Collection[str]) -> None:
    names = Counter(name for name, value in found if isinstance(value, str))
    for name, count in names.items():
        if name.partition("[")[0] in texts and (count > 1 or "[" in name):
            message = f"{name[:MAX_NAME]!r} came more than once. Send each field once."
            raise RequestError(message, code="invalid_form", param=name[:MAX_NAME])


def _put(whole: dict[str, Any], path: Sequence[str], value: str) -> bool:
    """Put a text where its path says, an empty key being the next number; False if that is taken.

    Items of a list have their numbers as keys.
    """
    key, *rest = path
    if not key:
        last = whole.get(str(len(whole) - 1))
        is_same_item = bool(rest and rest[0]) and isinstance(last, dict) and rest[0] not in last
        key = str(len(whole) - is_same_item)
    if rest:
        inner = whole.setdefault(key, {})
        return isinstance(inner, dict) and _put(inner, rest, value)
    is_free = key not in whole
    whole.setdefault(key, value)
    return is_free


def _with_lists(part: Any) -> Any:  # noqa: ANN401 - of JSON
    """Return a part of JSON with a list for each object whose keys are numbers."""
    if not isinstance(part, dict):
        return part
    values = {key: _with_lists(value) for key, value in part.items()}
    return [*values.values()] if all(map(str.isdecimal, values)) else values


class BodyRequest(Request):
    """A request whose body is read by our own bounds, as JSON or as a form."""

    def __init__(self, request: Request, *, texts: Collection[str], files: Collection[str]) -> None:
        super().__init__(request.scope, request.receive)
        self._texts, self._files = texts, files

    async def json(self) -> Any:  # noqa: ANN401 - whatever came
        """Return what the body says; a large one does not hold up other callers."""
        body = await self.body()
        if len(body) <= MAX_TEXT_BYTES:
            return read_json(body)
        return await asyncio.to_thread(read_json, body)

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]  # noqa: ANN401
        """Return texts and files of the names that the route reads."""
        return await form_of(self, texts=self._texts, files=self._files)


class BodyRoute(APIRoute):
    """A route that reads a body first, and stops when its caller leaves or the deadline passes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        names: dict[bool, list[str]] = {True: [], False: []}
        for field in self.dependant.body_params:
            names[isinstance(field.field_info, params.File)].append(field.alias)

        is_json = self.body_field is not None and not any(
            isinstance(field.field_info, params.Form) for field in self.dependant.body_params
        )

        async def handler(request: Request) -> Response:
            whole = BodyRequest(request, texts=names[False], files=names[True])
            await whole.body()
            if is_json:
                check_json(request.headers.get("content-type", ""))
            deadline_s = request.app.state.worker.limits.deadline_s
            return await _while_wanted(whole, answer(whole), deadline_s)

        return handler


def check_json(content_type: str) -> None:
    """Raise RequestError for JSON that does not say so, which pages of other sites may send."""
    kind, options = parse_options_header(content_type)
    subtype = kind.partition(b"/")[2]
    if (subtype != b"json" and not subtype.endswith(b"+json")) or not _is_utf8(options):
        message = (
            f"The content type is {content_type[:MAX_NAME]!r}. application/json in UTF-8 is "
            "needed. Send the header 'content-type: application/json'."
        )
        raise RequestError(message, status=415, code="unsupported_media_type")


def _is_utf8(options: Mapping[bytes, bytes]) -> bool:
    return options.get(b"charset", b"utf-8").lower() in {b"utf-8", b"utf8"}


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
    if isinstance(upload, str):
        message = f"'{param}' is text. A file is needed."
        raise RequestError(message, param=param, code="invalid_image")
    size = getattr(upload, "size", None) or 0
    if size > MAX_IMAGE_BYTES:
        message = (
            f"'{param}' has {size / 1e6:.1f} MB; at most {MAX_IMAGE_BYTES / 1e6:.1f} MB are read. "
            "Send a smaller one."
        )
        raise RequestError(message, status=413, code="image_file_too_large", param=param)
    data: bytes = upload.file.getvalue()  # type: ignore[attr-defined]  # which copies nothing
    if not data:
        raise RequestError(f"'{param}' is empty.", code="empty_image_file", param=param)
    return data


async def as_png(image: Image.Image) -> bytes:
    return await asyncio.to_thread(encode_image, image, ".png", metadata=None)


def pictured(kind: str) -> dict[str, Any]:
    """Return how a route is described that answers with a picture."""
    info = {"content": {f"image/{kind}": {}}, "description": "The picture."}
    return {"response_class": Response, "responses": {200: info}}
