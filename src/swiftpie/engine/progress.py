"""Shows how far a long call has come, in terminals and notebooks."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY_S = 2.0


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
