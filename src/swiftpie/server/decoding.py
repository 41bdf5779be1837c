"""Uploaded pictures, decoded in a process that may be killed, within bounds of memory.

Callers take turns, a picture each. What a caller's pictures hold at once is bounded, and what all
hold together. The memory of large ones goes back to the system.

Run as a module, this file is such a process: it reads pictures from standard input and writes their
pixels to standard output, within limits of memory and time that the system keeps. It imports no
tensor library, so that it starts at once and has little that could be attacked.
"""

import asyncio
import json
import os
import struct
import sys
import weakref
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Self

from PIL import Image

from swiftpie.errors import ImageError, short_reason
from swiftpie.imageio.decoding import MAX_PIXELS, load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie.server.errors import Overloaded

MAX_SECONDS = 5  # of a processor, for one picture
MAX_MIB = 1024
PATIENCE = 4.0  # times MAX_SECONDS by the clock, for machines that do other work
LENGTH = struct.Struct(">Q")
FACTS = (  # of what made a picture: all that the page shows or uses
    *("prompt", "source_prompt", "task", "preset", "seed", "swiftpie", "scene", "subjects"),
    *("identity_scale", "detail_scale", "balance"),
)
MAX_FACT = 4_000  # letters, as of a prompt
MAX_KEY_PIXELS = 3 * MAX_PIXELS  # of one caller's pictures in memory: a photo, a mask, more
MAX_HELD_PIXELS = 3 * MAX_KEY_PIXELS  # of all pictures in memory; four bytes each
RETRY_S = 2.0
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # glibc then returns what a picture took at once
}


class Decoder:
    """Such a process, which has one picture at a time and is replaced when it dies."""

    def __init__(self) -> None:
        self._child: Process | None = None
        self._free = asyncio.Lock()
        # A key waits for the process with one picture, so that keys take turns.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._held: Counter[str] = Counter()  # pixels of pictures in memory, by key

    async def __aenter__(self) -> Self:
        self._child = await _start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stop()

    async def decode(
        self, data: bytes, *, name: str = "The picture", key: str = "", most_px: int | None = None
    ) -> tuple[Image.Image, Mapping[str, str]]:
        """Return the picture in `data` as upright sRGB, and `FACTS` of what made it if we did.

        Messages call it by `name`; `key` is the caller's; a side longer than `most_px` is shrunk.

        Raises:
            ImageError: It is no picture, broken, or takes more time or memory than one may.
            Overloaded: Pictures of this key, or of all, hold too much already.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            self._check_room(key, 1)
            answer = await self._answer(data, name=name, most_px=most_px)
            if answer.error:
                raise ImageError(f"{name}{answer.error}")
            self._check_room(key, answer.num_pixels)
            image = Image.frombytes(answer.mode, answer.size, answer.pixels)
            self._hold(image, key)
        return image, answer.origin

    def _check_room(self, key: str, num_pixels: int) -> None:
        if self._held[key] + num_pixels > MAX_KEY_PIXELS:
            raise Overloaded(RETRY_S, of_key=True)
        if self._held.total() + num_pixels > MAX_HELD_PIXELS:
            raise Overloaded(RETRY_S, of_key=False)

    def _hold(self, image: Image.Image, key: str) -> None:
        """Count the pixels of a picture until it is released."""
        num_pixels, loop = image.width * image.height, asyncio.get_running_loop()
        self._held[key] += num_pixels

        def released() -> None:
            self._held[key] -= num_pixels
            if not self._held[key]:
                del self._held[key]

        def freed() -> None:  # in any thread
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(released)

        weakref.finalize(image, freed).atexit = False

    async def _answer(self, data: bytes, *, name: str, most_px: int | None) -> "Answer":
        async with self._free:
            try:
                self._child = self._child or await _start()
                answer = _ask(self._child, data, most_px=most_px)
                return await asyncio.wait_for(answer, MAX_SECONDS * PATIENCE)
            except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
                await self._stop()
                raise ImageError(
                    f"{name} takes more than {MAX_SECONDS} s or {MAX_MIB} MiB to decode. A picture "
                    "that decodes in that is needed. Save it again as a plain PNG or JPEG."
                ) from error
            except BaseException:  # the caller has left meanwhile
                await self._stop()
                raise

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.communicate()  # closes the pipes, whatever is in them


async def _start() -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )


class Answer(NamedTuple):
    """A decoded picture, or why it is none."""

    error: str  # follows the picture's name in a message; empty if there are pixels
    mode: str
    size: tuple[int, int]
    pixels: bytes | bytearray
    origin: Mapping[str, str] = MappingProxyType({})

    @property
    def num_pixels(self) -> int:
        """How many pixels there are."""
        return self.size[0] * self.size[1]


async def _ask(process: Process, data: bytes, *, most_px: int | None) -> Answer:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write(LENGTH.pack(most_px or 0) + LENGTH.pack(len(data)))
    stdin.write(data)
    await stdin.drain()
    (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
    head = json.loads(await stdout.readexactly(length))
    (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
    pixels = await _all(stdout, length)
    return Answer(head["error"], head["mode"], tuple(head["size"]), pixels, head["origin"])


async def _all(stream: asyncio.StreamReader, length: int) -> bytearray:
    """Return `length` bytes; `readexactly` would copy the beginning again with every piece."""
    whole, place = bytearray(length), 0
    while place < length:
        piece = await stream.read(min(length - place, 1 << 20))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        whole[place : place + len(piece)] = piece
        place += len(piece)
    return whole


def answer_to(data: bytes, *, most_px: int | None = None) -> Answer:
    """Decode one picture."""
    try:
        image, stored = load_image(data, most_px=most_px), read_metadata(data)
    except ImageError as error:
        return Answer(_without_name(str(error)), "", (0, 0), b"")
    except MemoryError:
        return Answer(
            f" takes more than {MAX_MIB} MiB to decode. A smaller picture is needed. Shrink it.",
            *("", (0, 0), b""),
        )
    origin = {name: text for name, text in stored.items() if name in FACTS}
    origin = {name: text for name, text in origin.items() if len(text) <= MAX_FACT}
    return Answer("", image.mode, image.size, image.tobytes(), origin)


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer until standard input ends."""
    while len(start := stdin.read(2 * LENGTH.size)) == 2 * LENGTH.size:
        ((most_px,), (length,)) = LENGTH.iter_unpack(start)
        _limit_time()
        answer = answer_to(stdin.read(length), most_px=most_px or None)
        info = {"error": answer.error, "mode": answer.mode, "size": answer.size}
        head = json.dumps({**info, "origin": dict(answer.origin)})
        for part in (head.encode(), answer.pixels):
            stdout.write(LENGTH.pack(len(part)))
            stdout.write(part)
        stdout.flush()


def _without_name(message: str) -> str:
    """Return an error message without the name of the picture."""
    start = "The picture"
    if message.startswith(start):
        return message.removeprefix(start)
    return f": {short_reason(message)}"


def _limit_memory() -> None:
    with suppress(ImportError):  # systems without it rely on the clock of the caller
        import resource

        limit = MAX_MIB << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    with suppress(ImportError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + MAX_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _limit_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer)
