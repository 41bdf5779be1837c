"""Warnings of a drawing that are found while it is made, for the log and for its result."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def warn(logger: logging.Logger, sentence: str) -> None:
    """Log a sentence, and add it to what the blocks of `hearing` around it hear."""
    logger.warning("%s", sentence)
    if (heard := _HEARD.get()) is not None:
        heard.append(sentence)


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Yield the list of what is warned of in the block, in this thread."""
    heard, outer = list[str](), _HEARD.get()
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)
        if outer is not None:
            outer += heard
