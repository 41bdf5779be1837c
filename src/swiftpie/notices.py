"""What a call says while it runs: warnings, for the log and for its result, and how far it is."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DELAY_S = 2.0

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


@contextmanager
def progress_bar(
    what: str, *, total: int | None = None, is_on: bool | None, delay_s: float = DELAY_S
) -> Iterator[Callable[[str], None] | None]:
    """Yield what is called with the name of each stage that ends, and moves a bar; None for none.

    Args:
        what: What is done, before the bar.
        total: The number of stages; None if nothing is known.
        is_on: None shows the bar where it can be seen: in a terminal or a notebook.
        delay_s: Quicker calls show nothing.
    """
    if not (is_watched() if is_on is None else is_on):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True, force_terminal=is_on), transient=True)
    task, started = bar.add_task(what, total=total), time.monotonic()

    def advance(stage: str) -> None:
        bar.update(task, advance=1, description=f"{what}: {stage}" if stage != "layer" else None)
        if time.monotonic() - started > delay_s:
            bar.start()  # again and again is as once

    try:
        yield advance
    finally:
        bar.stop()


def is_watched() -> bool:
    """Whether standard error is a terminal, or this is a notebook."""
    is_notebook = "ipykernel" in sys.modules and "IPython" in sys.modules
    return is_notebook or bool(getattr(sys.stderr, "isatty", lambda: False)())
