"""Forms of requests, read from memory: texts and files by the names that a route reads."""

import io
import re
from collections.abc import Collection, Iterator
from email.message import Message
from email.parser import HeaderParser

from starlette.datastructures import FormData, UploadFile

from swiftpie.server.schemas import MAX_IMAGES, MAX_NAME, RequestError

FORM = "multipart/form-data"
MAX_TEXT_BYTES = 256 << 10  # of a field, and of a request without pictures
MAX_FORM_PARTS = 2 * MAX_IMAGES + 1 + 64
MAX_HEAD_BYTES = 4096  # of a part
MAX_BOUNDARY = 70  # letters, by RFC 2046
CHARSETS = ("", "utf-8", "utf8", "us-ascii", "ascii")  # others are slow or ambiguous to decode
PLURAL = "images"  # which OpenAI's JSON has in place of `image`
NUMBERED = re.compile(r"\[\d{0,4}\]$")  # clients write image[], image[1], mask[]


def _broken(reason: str) -> RequestError:
    """Return the error about a form that is not as RFC 7578 has it."""
    return RequestError(
        f"The form is broken. {reason} Send a complete one, as libraries for HTTP write it.",
        code="invalid_form",
    )


def read_form(
    content_type: str,
    data: bytes,
    *,
    texts: Collection[str],
    files: Collection[str],
    takes_more: bool = False,
) -> FormData:
    """Return the texts and files of a form.

    Parts named in `texts` are texts, even if they are sent as files. Files have the names of
    `files`, however a client numbers them: `image[]`, `image[1]` and `images` are `image`. A part
    without a file's name is a file if its type is that of one. Texts of other names are refused
    unless `takes_more`; files of other names always are.

    Raises:
        RequestError: It is broken, no form, in another encoding, or has what is not read.
    """
    kind = _headers_of(f"content-type: {content_type[:MAX_HEAD_BYTES]}")
    if kind.get_content_type() != FORM:
        raise RequestError(
            f"The content type is {content_type[:MAX_NAME]!r}. {FORM} is needed. Send a form.",
            status=415,
            code="unsupported_media_type",
        )
    _check_charset(kind)
    parts: list[tuple[str, str | UploadFile]] = []
    for headers, content in _parts(data, str(kind.get_param("boundary", ""))):
        name = _name_of(headers)
        filename = headers.get_param("filename", None, "content-disposition")
        is_text = headers.get_content_type().startswith(("text/", "application/json"))
        if name in texts or (filename is None and is_text):
            _check_known("field", name, [name] if takes_more else [*texts, *files])
            _check_charset(headers)
            parts.append((name, _text(content, name)))
            continue
        plain = NUMBERED.sub("", name)
        plain = "image" if plain == PLURAL else plain
        _check_known("file", plain, files, shown=name)
        file = io.BytesIO(content)
        parts.append((plain, UploadFile(file, size=len(content), filename=str(filename))))
    return FormData(parts)


def _parts(data: bytes, boundary: str) -> Iterator[tuple[Message, bytes]]:
    """Yield headers and content of each part, as RFC 7578 has them."""
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise _broken("Its boundary is missing or too long.")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, found, data = data.partition(mark[2:])
    if not found:
        raise _broken("It does not begin with its boundary.")
    at = 0
    for _ in range(MAX_FORM_PARTS + 1):
        if data.startswith(b"--", at):
            return
        head_end = data.find(b"\r\n\r\n", at, at + MAX_HEAD_BYTES)
        end = data.find(mark, head_end + 2)
        if min(head_end, end) < 0:
            raise _broken("It is cut off, or a part has no head of a usual length.")
        head = data[at:head_end].decode(errors="replace")
        yield _headers_of(head.lstrip()), data[head_end + 4 : end]
        at = end + len(mark)
    raise _broken(f"It has more than {MAX_FORM_PARTS} parts.")


def _name_of(headers: Message) -> str:
    name = headers.get_param("name", None, "content-disposition")
    if not isinstance(name, str):
        raise _broken("A part has no name.")
    return name


def _headers_of(head: str) -> Message:
    return HeaderParser().parsestr(head)


def _check_charset(headers: Message) -> None:
    charset = str(headers.get_param("charset", "")).strip().lower()
    if charset not in CHARSETS:
        raise RequestError(
            f"The charset is {charset[:40]!r}. UTF-8 is needed. Send the form in UTF-8.",
            status=415,
            code="unsupported_charset",
        )


def _text(content: bytes, name: str) -> str:
    shown = name[:MAX_NAME]
    if len(content) > MAX_TEXT_BYTES:
        raise RequestError(
            f"{shown!r} has {len(content)} bytes. At most {MAX_TEXT_BYTES} are read of a text. "
            "Send less.",
            status=413,
            code="request_too_large",
            param=shown,
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RequestError(
            f"{shown!r} is not valid UTF-8. Send the form in UTF-8.",
            code="unsupported_charset",
            param=shown,
        ) from None


def _check_known(kind: str, name: str, known: Collection[str], *, shown: str = "") -> None:
    if name in known:
        return
    shown = (shown or name)[:MAX_NAME]
    raise RequestError(
        f"The form has a {kind} {shown!r}, which is not read. Rename it to one of "
        f"{', '.join(sorted(known))}, or leave it out.",
        code="unknown_field",
        param=shown,
    )
