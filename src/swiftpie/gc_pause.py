"""A pause of Python's garbage collector while libraries are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector inside the block.

    Importing PyTorch and its libraries makes over 600,000 objects that all stay. Python collects
    after every 700 new objects, which takes a quarter of the time to the first picture. After the
    pause, the objects count as old, so the next collection does not search them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # objects that others froze stay frozen
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()
