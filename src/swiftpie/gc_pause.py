"""Python's search for cyclic garbage, put off while hundreds of thousands of objects are made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Search for no garbage inside of the block.

    Importing PyTorch and its libraries makes over 600,000 objects, all of which stay. Searching
    them after every 700, as Python does, takes a quarter of the time to the first picture. They
    count as old afterwards, or the next search for young garbage would go through all of them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # what others have frozen shall stay so
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()
