"""Forms of requests, read from memory: texts and files by the names that a route reads."""

import io
import re
from collections.abc import AsyncIterator, Collection

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from swiftpie.server.schemas import MAX_IMAGES, MAX_NAME, RequestError

FORM = "multipart/form-data"
MAX_TEXT_BYTES = 256 << 10  # of a field, and of a request without pictures
PLURAL = "images"  # which OpenAI's JSON has in place of `image`
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

    Parts named in `texts` are texts, even if they are sent as files. Files have the names of
    `files`, however a client numbers them: `image[]`, `image[1]` and `images` are `image`. Texts of
    other names are refused unless `takes_more`; files of other names always are.

    Raises:
        RequestError: It is broken, no form, in another encoding, or has what is not read.
    """
    kind, options = parse_options_header(content_type)
    if kind != FORM.encode() or options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise RequestError(
            f"The content type is {content_type[:MAX_NAME]!r}. {FORM} in UTF-8 is needed. Send a "
            "form.",
            status=415,
            code="unsupported_media_type",
        )

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
    found = []
    for name, value in form.multi_items():
        is_file = isinstance(value, UploadFile)
        plain = NUMBERED.sub("", name) if is_file else name
        plain = "image" if is_file and plain == PLURAL else plain
        if plain not in (files if is_file else {*texts, *files}) and (is_file or not takes_more):
            raise RequestError(
                f"The form has a part {name[:MAX_NAME]!r}, which is not read. Rename it to one of "
                f"{', '.join(sorted({*texts, *files}))}, or leave it out.",
                code="unknown_field",
                param=name[:MAX_NAME],
            )
        found.append((plain, value))
    return FormData(found)
