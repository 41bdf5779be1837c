"""Uploaded pictures, decoded in a process that may be killed, within bounds of memory.

Callers take turns. What their pictures take until they are drawn counts in a budget of memory, and
is charged before they are decoded: what does not fit waits. The memory of large ones goes back to
the system.
"""

import asyncio
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from swiftpie.errors import ImageError
from swiftpie.imageio.decoding import PLAIN
from swiftpie.imageio.decoding_process import HEAD, MAX_MIB, MAX_SECONDS, DecodedPicture, ask, start
from swiftpie.server.errors import Overloaded

if TYPE_CHECKING:
    from asyncio.subprocess import Process

SOON_S = 0.25  # for which a picture waits before a spare process takes it
PATIENCE = 4.0  # times MAX_SECONDS by the clock, for machines that do other work
LARGE_BYTES = 24 << 20  # What takes more waits for others of its kind, and holds up no small one.
# Of all large, and of all small ones. What takes more than all is drawn beside small ones alone.
BUDGETS = {True: 576 << 20, False: 96 << 20}
SHOWN_BYTES = 8  # that a pixel takes, with a copy of it
# That a pixel of a photograph takes while words change it, and while another task does, as measured
# for 39 million pixels, and for a box over 12 million.
CHANGED_BYTES, REDRAWN_BYTES = 15, 100
SEARCHED_BYTES = 30  # that one takes while a subject or a face is looked for
RETRY_S = 2.0
QUICK_S = 1.0  # a process that ends within this may have died before


class _Charge:
    """Memory that is charged for as long as this exists."""


class MemoryBudget:
    """Bytes that pictures take until they are gone; the first one to wait is the first to go on."""

    def __init__(self, most: int) -> None:
        self._most, self.taken = most, 0
        self._turn, self._returned = asyncio.Lock(), asyncio.Event()

    async def take(self, num_bytes: int) -> _Charge:
        """Wait until so many bytes are free, or all if it is more, and charge them."""
        charge, num_bytes = _Charge(), min(num_bytes, self._most)
        async with self._turn:
            while self.taken + num_bytes > self._most:
                self._returned.clear()
                await self._returned.wait()
            self.taken += num_bytes
        loop = asyncio.get_running_loop()

        def freed() -> None:  # in any thread
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._give, num_bytes)

        weakref.finalize(charge, freed).atexit = False
        return charge

    def _give(self, num_bytes: int) -> None:
        self.taken -= num_bytes
        self._returned.set()


class Upload(NamedTuple):
    """A picture as it came, and what becomes of it."""

    data: bytes
    name: str = "The picture"  # in messages
    most_px: int | None = None  # to which a longer side is shrunk
    keeps_original: bool = False  # also in the colours of its file
    pixel_bytes: int = SHOWN_BYTES


class Decoder:
    """A process that decodes, replaced when it dies, and a spare one for when it takes long."""

    def __init__(self, *, has_spare: bool = True, signs: bool = False) -> None:
        """`signs`: originals are kept as sources of content credentials."""
        self._signs = signs
        self._spare = Decoder(has_spare=False, signs=signs) if has_spare else None
        self._child: Process | None = None
        self._free = asyncio.Lock()
        # A key waits for the process and for memory with one request, so that keys take turns.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._budgets = {is_large: MemoryBudget(most) for is_large, most in BUDGETS.items()}

    async def __aenter__(self) -> Self:
        self._child = await start(signs=self._signs)
        if self._spare is not None:
            await self._spare.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
        if self._spare is not None:
            await self._spare.stop()

    async def decode(self, data: bytes, *, key: str = "", **facts: Any) -> DecodedPicture:  # noqa: ANN401 - of `Upload`
        """Return what `decode_all` does of one picture."""
        (picture,) = await self.decode_all([Upload(data, **facts)], key=key)
        return picture

    async def decode_all(self, uploads: Sequence[Upload], *, key: str = "") -> list[DecodedPicture]:
        """Return the pictures of a request, once there is memory for all of them.

        `key` is the caller's. One request of a caller waits with large pictures, one with small.

        Raises:
            ImageError: One is no picture, broken, or takes more time or memory than one may.
        """
        async with self._turn(key):
            sizes = [(await self._read(upload, is_size=True)).num_pixels for upload in uploads]
        needed = sum(map(mul, sizes, (upload.pixel_bytes for upload in uploads)))
        is_large = needed > LARGE_BYTES
        async with self._turn(f"{key} {is_large}"):
            charge = await self._budgets[is_large].take(needed)
            pictures = [await self._read(upload) for upload in uploads]
        for picture in pictures:
            for image in (picture.image, *([picture.own] if picture.profile else [])):
                setattr(image, PLAIN, True)  # the process has made it so
                vars(image)["charge"] = charge  # until all of them are gone
        return pictures

    def _turn(self, key: str) -> asyncio.Lock:
        return self._turns.setdefault(key, asyncio.Lock())

    async def _read(self, upload: Upload, *, is_size: bool = False) -> DecodedPicture:
        keeps, data = upload.keeps_original, upload.data
        head = HEAD.pack(upload.most_px or 0, keeps, is_size, len(data))
        picture = await self.answer(head, data, name=upload.name)
        if picture.error:
            raise ImageError(f"{upload.name}{picture.error}")
        return picture._replace(data=picture.data or data) if keeps and self._signs else picture

    async def answer(self, head: bytes, data: bytes, *, name: str) -> DecodedPicture:
        try:
            async with asyncio.timeout(None if self._spare is None else SOON_S):
                await self._free.acquire()
        except TimeoutError:
            assert self._spare is not None, "else it waits for as long as it takes"
            return await self._spare.answer(head, data, name=name)
        try:
            return await self._asked(head, data)
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            await self.stop()
            raise ImageError(
                f"{name} takes more than {MAX_SECONDS} s or {MAX_MIB} MiB to decode. A picture "
                "that decodes in that is needed. Save it again as a plain PNG or JPEG."
            ) from error
        except BaseException:  # the caller has left meanwhile
            await self.stop()
            raise
        finally:
            self._free.release()

    async def _asked(self, head: bytes, data: bytes) -> DecodedPicture:
        """Ask, and once more where the process may have died before this picture came."""
        last_s = time.monotonic() + QUICK_S
        while True:
            try:
                self._child = self._child or await start(signs=self._signs)
            except OSError as error:  # the machine has no more processes or memory
                raise Overloaded(RETRY_S, of_key=False) from error
            try:
                return await asyncio.wait_for(ask(self._child, head, data), MAX_SECONDS * PATIENCE)
            except (asyncio.IncompleteReadError, ConnectionError):
                if time.monotonic() > last_s:
                    raise
            await self.stop()
            last_s = 0.0

    async def stop(self) -> None:
        """End the process; another one starts for the next picture."""
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.communicate()  # closes the pipes, whatever is in them
