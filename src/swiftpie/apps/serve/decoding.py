"""Pictures of strangers, decoded in processes that may be killed.

Run as a module, this file is such a process: it reads pictures from standard input and writes their
pixels to standard output, within limits of memory and time that the system keeps. It imports no
tensor library, so that it starts at once and has little that could be attacked.
"""

import asyncio
import json
import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Self

from PIL import Image

from swiftpie.errors import ImageError, short_reason
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata

MAX_SECONDS = 5  # of a processor, for one picture
MAX_MIB = 1024
PATIENCE = 4.0  # times MAX_SECONDS by the clock, for machines that do other work
LENGTH = struct.Struct(">Q")


class Decoders:
    """A few such processes; each has one picture at a time, and is replaced when it dies."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free: asyncio.Queue[_Child | None] = asyncio.Queue()
        self._all: set[_Child] = set()

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            self._free.put_nowait(await self._start())
        return self

    async def __aexit__(self, *error: object) -> None:
        for child in list(self._all):
            await self._stop(child)

    async def decode(self, data: bytes, *, name: str = "The picture") -> "Decoded":
        """Return the picture in `data` as upright sRGB; `name` is what messages call it.

        Raises:
            ImageError: It is no picture, broken, or takes more time or memory than one may.
        """
        child = await self._free.get()
        try:
            if child is None:
                child = await self._start()
            answer = await asyncio.wait_for(child.ask(data), MAX_SECONDS * PATIENCE)
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            await self._stop(child)
            child = None
            raise ImageError(
                f"{name} takes more than {MAX_SECONDS} s or {MAX_MIB} MiB to decode. A picture "
                "that decodes in that is needed. Save it again as a plain PNG or JPEG."
            ) from error
        except BaseException:  # the caller has left meanwhile
            await self._stop(child)
            child = None
            raise
        finally:
            self._free.put_nowait(child)
        if answer.error:
            raise ImageError(f"{name}{answer.error}")
        image = Image.frombytes(answer.mode, answer.size, answer.pixels)
        return Decoded(image, answer.origin)

    async def _start(self) -> "_Child":
        child = _Child(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __name__),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        )
        self._all.add(child)
        return child

    async def _stop(self, child: "_Child | None") -> None:
        if child is not None:
            self._all.discard(child)
            await child.end()


class Decoded(NamedTuple):
    """A picture of a stranger."""

    image: Image.Image
    origin: Mapping[str, str]  # what made it, if it is one of ours


class Answer(NamedTuple):
    """What a process says of a picture."""

    error: str  # behind the picture's name; empty if there are pixels
    mode: str
    size: tuple[int, int]
    pixels: bytes
    origin: Mapping[str, str] = MappingProxyType({})


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, data: bytes) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(LENGTH.pack(len(data)) + data)
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        head = json.loads(await stdout.readexactly(length))
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        pixels = await _all(stdout, length)
        return Answer(head["error"], head["mode"], tuple(head["size"]), pixels, head["origin"])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        self.kill()
        await self._process.communicate()  # lets go of the pipes, whatever is in them


async def _all(stream: asyncio.StreamReader, length: int) -> bytes:
    """Return `length` bytes; `readexactly` would copy the beginning again with every piece.

    Raises:
        IncompleteReadError: The process ended before.
    """
    pieces: list[bytes] = []
    while length:
        pieces.append(await stream.read(min(length, 1 << 20)))
        if not pieces[-1]:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(pieces[-1])
    return b"".join(pieces)


def answer_to(data: bytes) -> Answer:
    """Decode one picture."""
    try:
        image, origin = load_image(data), read_metadata(data)
    except ImageError as error:
        return Answer(_without_name(str(error)), "", (0, 0), b"")
    except MemoryError:
        return Answer(
            f" takes more than {MAX_MIB} MiB to decode. A smaller picture is needed. Shrink it.",
            *("", (0, 0), b""),
        )
    return Answer("", image.mode, image.size, image.tobytes(), origin)


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer until nobody asks any more."""
    while len(start := stdin.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(start)
        _limit_time()
        answer = answer_to(stdin.read(length))
        info = {"error": answer.error, "mode": answer.mode, "size": answer.size}
        head = json.dumps({**info, "origin": dict(answer.origin)})
        for part in (head.encode(), answer.pixels):
            stdout.write(LENGTH.pack(len(part)))
            stdout.write(part)
        stdout.flush()


def _without_name(message: str) -> str:
    """Return what a message says of a picture that was given as bytes."""
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
