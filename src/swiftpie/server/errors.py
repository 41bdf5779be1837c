"""Errors of the server, as OpenAI's clients read them."""

import logging
import math
import re
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    ImageError,
    InputError,
    NoSubject,
    SwiftPieError,
    UnknownSubjectError,
)
from swiftpie.remedies import SHAPES, SHAPES_OF_TOOLS, Tongue, said_of

if TYPE_CHECKING:
    from fastapi.exceptions import RequestValidationError
    from pydantic import ValidationError

MAX_PLACE = 200  # letters of a field's name, which a caller writes
KINDS = {  # by pydantic's names of errors
    **dict.fromkeys(("tuple_type", "list_type"), "a list is needed"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "an object is needed"),
    "extra_forbidden": "there is no such field",
}
OWN_WORDS = ("value_error", "string_too_")  # errors of values whose kind is right
OF_UNION = re.compile(r".*\[.*|constrained-.*|str|int|float|bool")  # how it calls kinds of a value

logger = logging.getLogger(__name__)


class RequestError(HTTPException):
    """What is wrong with a request, and when to try again, as OpenAI's interface spells it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        **more: object,  # facts
    ) -> None:
        headers = None
        if retry_after_s is not None:
            whole = max(1, math.ceil(retry_after_s))  # browsers know no fractions
            milliseconds = str(round(retry_after_s * 1000))
            headers = {"retry-after": str(whole), "retry-after-ms": milliseconds}
        super().__init__(status, message, headers)
        self.code, self.param, self.retry_after_s, self.more = code, param, retry_after_s, more

    def __str__(self) -> str:
        return self.detail

    @property
    def body(self) -> dict[str, Any]:
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        usual = "server_error" if self.status_code >= 500 else "invalid_request_error"
        kind = kinds.get(self.status_code, usual)
        facts = {"message": self.detail, "type": kind, "param": self.param, "code": self.code}
        return {"error": facts | self.more}

    @property
    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, self.headers)


class Overloaded(RequestError):  # noqa: N818 - a state, whose remedy is to wait
    """The queue is full, or full of this key's own, or a picture would be late."""

    def __init__(self, retry_after_s: float, *, of_key: bool = False, why: str = "") -> None:
        all_wait = "Too many pictures wait already. Ask again a little later."
        own_wait = "Too many of your pictures wait already. Ask again when some are done."
        message, code = why or (own_wait if of_key else all_wait), "rate_limit_exceeded"
        super().__init__(message, status=429, code=code, retry_after_s=retry_after_s)
        self.of_key = of_key


class Expired(RequestError):  # noqa: N818 - a state, no fault
    """The deadline passed before the picture was there."""

    def __init__(self) -> None:
        message = "The picture was not drawn within its time. Ask again."
        super().__init__(message, status=504, code="timeout")


def error_of_fields(
    error: "ValidationError | RequestValidationError", tongue: Tongue = Tongue.HTTP
) -> RequestError:
    """Return what is wrong with a field, in words of JSON."""
    first = error.errors()[0]
    shapes = SHAPES | (SHAPES_OF_TOOLS if tongue is Tongue.TOOLS else {})
    place = [part for part in first["loc"] if part != "body" and not OF_UNION.fullmatch(str(part))]
    reason = str(first["msg"]).removeprefix("Value error, ").removesuffix(".")
    reason = KINDS.get(first["type"], reason)
    inside = next((n for n, part in enumerate(reversed(place)) if isinstance(part, str)), 0)
    if "UploadFile" in reason:
        reason = "a file is needed, and text came. Send it as a part with a file name"
    elif first["type"] == "too_long":
        reason = "at most {max_length} are taken, and {actual_length} came".format(**first["ctx"])
    elif place and not str(first["type"]).startswith(OWN_WORDS):
        shape = shapes.get(str(place[-1 - inside]))
        place, reason = (place[: len(place) - inside], shape) if shape else (place, reason)
    where = ".".join(str(part)[:MAX_PLACE] for part in place)
    message = f"{where or 'The request'}: {reason}."
    return RequestError(message, code="invalid_value", param=where or None)


def as_request_error(error: BaseException | None, tongue: Tongue = Tongue.HTTP) -> RequestError:
    message = said_of(error, tongue) if isinstance(error, SwiftPieError) else ""
    match error:
        case RequestError():
            return error
        case NoSubject():
            return RequestError(message, code="subject_not_found", param="image")
        case UnknownSubjectError():
            return RequestError(
                message,
                code="subject_not_named",
                param="prompt",
                word=error.word,
                near=list(error.near),
            )
        case ImageError():
            return RequestError(message, code="invalid_image", param="image")
        case InputError() | ConfigError() | CapabilityError():
            return RequestError(message)
        case _:
            message = "The picture could not be drawn. The server's log says why."
            return RequestError(message, status=500)


def answer_to(error: Exception, what: str, tongue: Tongue = Tongue.HTTP) -> RequestError:
    """Return what is sent about an error that ends here: log a fault of ours, free frames."""
    answer = as_request_error(error, tongue)
    if answer.status_code >= 500 and answer is not error:
        # Where it failed, and nothing that a caller wrote, as messages may hold.
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s failed: %s\n%s", what, type(error).__name__, frames)
    free_frames(error)
    return answer


def all_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what caused it, what caused that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def free_frames(error: BaseException) -> None:
    """Free the locals of the functions that raised an answered error, pictures above all.

    Else the error and its frames hold each other until the next garbage collection.
    """
    for cause in all_of(error):
        cause.__traceback__ = None
