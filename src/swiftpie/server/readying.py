"""Networks made ready before their first user, in this process or in one of their own."""

import asyncio
from collections.abc import Callable, Mapping
from multiprocessing import get_context

from swiftpie.engine.session import Session
from swiftpie.engine.warm_up import warm_up


def batch_sizes(most: int) -> tuple[int, ...]:
    """Return how many pictures are drawn together by networks of fixed sizes: powers of two."""
    return tuple(2**power for power in range(most.bit_length()))


def stages_of(session: Session, together: int) -> Mapping[str, Callable[[], object]]:
    """Return what is to be drawn once, so that first requests do not wait."""
    sizes = batch_sizes(together) if session.components.engine.has_fixed_sizes else ()
    return warm_up(session, together=sizes)


def made_ready(
    load: Callable[[], Session], together: int, is_given_up: Callable[[], bool] = lambda: False
) -> Session:
    """Return a session after its stages, the rest of which are left out once given up."""
    session = load()
    for draw in stages_of(session, together).values():
        if not is_given_up():
            draw()
    return session


async def make_apart(load: Callable[[], Session], together: int) -> None:
    """Let another process make what is made once and kept on disk, and wait for it."""
    process = get_context("spawn").Process(target=made_ready, args=(load, together), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()
