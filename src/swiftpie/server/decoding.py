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
import time
import weakref
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Self

from PIL import Image

from swiftpie.errors import ImageError, short_reason
from swiftpie.imageio.credentials import as_ingredient
from swiftpie.imageio.decoding import MAX_PIXELS, colour_profile, load_image, open_image
from swiftpie.imageio.originals import (
    OriginalPicture,
    kept_words,
    lost_colours,
    lost_credentials,
    read_original,
)
from swiftpie.imageio.writing import PictureData, read_metadata
from swiftpie.server.errors import Overloaded

MAX_SECONDS = 5  # Processor time for one picture.
MAX_MIB = 1024
SOON_S = 0.25  # for which a picture waits before a spare process takes it
PATIENCE = 4.0  # times MAX_SECONDS by the clock, for machines that do other work
SIGNS = "--signs"
LENGTH = struct.Struct(">Q")
HEAD = struct.Struct(">Q?Q")  # most_px or 0, keeps_original, the length of what follows
FACTS = (  # What the page shows or uses of a picture's record.
    *("prompt", "source_prompt", "task", "preset", "seed", "swiftpie", "scene", "subjects"),
    *("identity_scale", "detail_scale", "balance"),
)
MAX_FACT = 4_000  # letters, as of a prompt
MAX_KEY_PIXELS = 3 * MAX_PIXELS  # One caller's pictures in memory.
MAX_HELD_PIXELS = 3 * MAX_KEY_PIXELS  # All pictures in memory, at four bytes a pixel.
RETRY_S = 2.0
QUICK_S = 1.0  # a process that ends within this may have died before
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # glibc then returns what a picture took at once
}

NO_IMAGE = Image.new("RGB", (1, 1))


class Decoder:
    """Such a process, replaced when it dies; a spare one decodes while a picture takes long."""

    def __init__(self, *, has_spare: bool = True, signs: bool = False) -> None:
        """`signs`: originals are kept as sources of content credentials."""
        self._signs = signs
        self._spare = Decoder(has_spare=False, signs=signs) if has_spare else None
        self._child: Process | None = None
        self._free = asyncio.Lock()
        # A key waits for the process with one picture, so that keys take turns.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._held: Counter[str] = Counter()  # pixels of pictures in memory, by key

    async def __aenter__(self) -> Self:
        self._child = await self._start()
        if self._spare is not None:
            await self._spare.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
        if self._spare is not None:
            await self._spare.stop()

    async def decode(
        self,
        data: bytes,
        *,
        name: str = "The picture",
        key: str = "",
        most_px: int | None = None,
        keeps_original: bool = False,
    ) -> "DecodedPicture":
        """Return the picture in `data`, and once more in the colours of its file if those are kept.

        Messages call it by `name`; `key` is the caller's; a side longer than `most_px` is shrunk.

        Raises:
            ImageError: It is no picture, broken, or takes more time or memory than one may.
            Overloaded: Pictures of this key, or of all, hold too much already.
        """
        head = HEAD.pack(most_px or 0, keeps_original, len(data))
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            self._check_room(key, 1)
            found = await self.answer(head, data, name=name)
            if found.error:
                raise ImageError(f"{name}{found.error}")
            held = [found.image, *([found.own] if found.profile else [])]
            self._check_room(key, sum(image.width * image.height for image in held))
            for image in held:
                self._hold(image, key)
        return found._replace(data=found.data or data) if keeps_original and self._signs else found

    def _check_room(self, key: str, num_pixels: int) -> None:
        if self._held[key] + num_pixels > MAX_KEY_PIXELS:
            raise Overloaded(RETRY_S, of_key=True)
        if self._held.total() + num_pixels > MAX_HELD_PIXELS:
            raise Overloaded(RETRY_S, of_key=False)

    def _hold(self, image: Image.Image, key: str) -> None:
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

    async def answer(self, head: bytes, data: bytes, *, name: str) -> "DecodedPicture":
        try:
            async with asyncio.timeout(None if self._spare is None else SOON_S):
                await self._free.acquire()
        except TimeoutError:
            assert self._spare is not None, "else it waits for as long as it takes"
            return await self._spare.answer(head, data, name=name)
        try:
            return await self._asked_again(head, data)
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

    async def _asked_again(self, head: bytes, data: bytes) -> "DecodedPicture":
        """Ask, and once more where the process may have died before this picture came."""
        started = time.monotonic()
        try:
            return await self._asked(head, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            if time.monotonic() - started > QUICK_S:
                raise
            await self.stop()
            return await self._asked(head, data)

    async def _asked(self, head: bytes, data: bytes) -> "DecodedPicture":
        try:
            self._child = self._child or await self._start()
        except OSError as error:  # the machine has no more processes or memory
            raise Overloaded(RETRY_S, of_key=False) from error
        return await asyncio.wait_for(_ask(self._child, head, data), MAX_SECONDS * PATIENCE)

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *([SIGNS] * self._signs)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT},
        )

    async def stop(self) -> None:
        """End the process; another one starts for the next picture."""
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.communicate()  # closes the pipes, whatever is in them


class DecodedPicture(NamedTuple):
    """A picture as upright sRGB, or why it is none."""

    error: str = ""  # follows the picture's name in a message; empty if there is a picture
    image: Image.Image = NO_IMAGE
    origin: Mapping[str, str] = MappingProxyType({})  # `FACTS` of what made it if we did
    own: Image.Image = NO_IMAGE  # in the colours of `profile`
    profile: bytes = b""  # ICC; empty if `image` has the colours of the file
    losses: tuple[str, ...] = ()
    data: bytes = b""  # its file as a source of content credentials; empty: as it came
    words: Mapping[str, Any] = MappingProxyType({})  # resolution and texts, as `PictureData` has

    @property
    def original(self) -> OriginalPicture:
        pixels = self.own if self.profile else self.image
        stored = PictureData(pixels, self.profile, **self.words)
        return OriginalPicture(stored, self.losses, self.data)


async def _ask(process: Process, head: bytes, data: bytes) -> DecodedPicture:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.writelines((head, data))
    await stdin.drain()
    said, *parts = [await _part(stdout) for _ in range(5)]
    facts = json.loads(said)
    if facts["error"]:
        return DecodedPicture(facts["error"])
    shapes = zip(facts["modes"], facts["sizes"], parts, strict=False)
    image, *own = [Image.frombytes(mode, tuple(size), part) for mode, size, part in shapes]
    more = (own[0], bytes(parts[2])) if own else (NO_IMAGE, b"")
    losses, data, words = tuple(facts["losses"]), bytes(parts[3]), facts["words"]
    return DecodedPicture("", image, facts["origin"], *more, losses, data, words)


async def _part(stream: asyncio.StreamReader) -> bytearray:
    """Return the next part; `readexactly` would copy the beginning again with every piece."""
    (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
    whole, place = bytearray(length), 0
    while place < length:
        piece = await stream.read(min(length - place, 1 << 20))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        whole[place : place + len(piece)] = piece
        place += len(piece)
    return whole


def answer_to(
    data: bytes, *, most_px: int | None = None, keeps_original: bool = False, signs: bool = False
) -> DecodedPicture:
    """Decode one picture, and once more in its own colours if those are kept.

    `signs`: what C2PA would not read as a source becomes a file that it reads.
    """
    try:
        image, stored = load_image(data, most_px=most_px), read_metadata(data)
        original: dict[str, Any] = {}
        if keeps_original:
            header = open_image(data)
            original["words"], dropped = kept_words(header)
            original["losses"] = (*lost_colours(header), *dropped, *lost_credentials(data))
            if colour_profile(header):
                kept = read_original(data).stored
                original |= {"own": kept.pixels, "profile": kept.profile}
            if signs and (source := as_ingredient(data)) is not data:
                original["data"] = source
    except ImageError as error:
        return DecodedPicture(_without_name(str(error)))
    except MemoryError:
        return DecodedPicture(
            f" takes more than {MAX_MIB} MiB to decode. A smaller picture is needed. Shrink it."
        )
    origin = {name: text for name, text in stored.items() if name in FACTS}
    origin = {name: text for name, text in origin.items() if len(text) <= MAX_FACT}
    return DecodedPicture("", image, origin, **original)


def serve(stdin: BinaryIO, stdout: BinaryIO, *, signs: bool) -> None:
    """Answer until standard input ends."""
    while len(head := stdin.read(HEAD.size)) == HEAD.size:
        most_px, keeps_original, length = HEAD.unpack(head)
        _limit_time()
        answer = answer_to(
            stdin.read(length),
            most_px=most_px or None,
            keeps_original=bool(keeps_original),
            signs=signs,
        )
        for part in _parts(answer):
            stdout.write(LENGTH.pack(len(part)))
            stdout.write(part)
        del answer  # its pixels, before the next picture comes
        stdout.flush()


def _parts(answer: DecodedPicture) -> Iterator[bytes]:
    """Yield an answer as it is sent: its facts, the pixels of each picture, profile and source."""
    shown = [] if answer.error else [answer.image]
    shown += [answer.own] if answer.profile else []
    info = {
        "error": answer.error,
        "modes": [image.mode for image in shown],
        "sizes": [image.size for image in shown],
        "losses": answer.losses,
        "words": dict(answer.words),
        "origin": dict(answer.origin),
    }
    yield json.dumps(info).encode()
    for image in shown:
        yield image.tobytes()
    yield from [b""] * (2 - len(shown))
    yield answer.profile
    yield answer.data


def _without_name(message: str) -> str:
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
    serve(sys.stdin.buffer, sys.stdout.buffer, signs=SIGNS in sys.argv)
