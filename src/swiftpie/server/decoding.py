"""Uploaded pictures, decoded in a process that may be killed, within bounds of memory.

Callers take turns. What their pictures take until they are drawn counts in a budget of memory, and
is charged before they are decoded: what does not fit waits. The memory of large ones goes back to
the system.

Run as a module, this file is such a process: it reads pictures from standard input and writes their
pixels to standard output, within limits of memory and time that the system keeps. It imports no
tensor library, so that it starts at once and has little that could be attacked.
"""

import asyncio
import json
import math
import os
import struct
import sys
import time
import weakref
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import mul
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Self

from PIL import Image

from swiftpie.errors import ImageError, short_reason
from swiftpie.imageio.credentials import as_ingredient
from swiftpie.imageio.decoding import PLAIN, colour_profile, load_image, open_image
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
# most_px or 0, keeps_original, whether the number of pixels is enough, the length of what follows
HEAD = struct.Struct(">Q??Q")
FACTS = (  # What the page shows or uses of a picture's record.
    *("prompt", "source_prompt", "task", "preset", "seed", "swiftpie", "scene", "subjects"),
    *("identity_scale", "detail_scale", "balance"),
)
MAX_FACT = 4_000  # letters, as of a prompt
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
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # glibc then returns what a picture took at once
}

NO_IMAGE = Image.new("RGB", (1, 1))


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
    """Such a process, replaced when it dies; a spare one decodes while a picture takes long."""

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
        self._child = await self._start()
        if self._spare is not None:
            await self._spare.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
        if self._spare is not None:
            await self._spare.stop()

    async def decode(self, data: bytes, *, key: str = "", **facts: Any) -> "DecodedPicture":  # noqa: ANN401 - of `Upload`
        """Return what `decode_all` does of one picture."""
        (picture,) = await self.decode_all([Upload(data, **facts)], key=key)
        return picture

    async def decode_all(
        self, uploads: Sequence["Upload"], *, key: str = ""
    ) -> "list[DecodedPicture]":
        """Return the pictures of a request, once there is memory for all of them.

        `key` is the caller's, of whom one request with large pictures waits, and one with small.

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

    async def _read(self, upload: "Upload", *, is_size: bool = False) -> "DecodedPicture":
        keeps, data = upload.keeps_original, upload.data
        head = HEAD.pack(upload.most_px or 0, keeps, is_size, len(data))
        picture = await self.answer(head, data, name=upload.name)
        if picture.error:
            raise ImageError(f"{upload.name}{picture.error}")
        return picture._replace(data=picture.data or data) if keeps and self._signs else picture

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
    num_pixels: int = 0  # if only that was asked for, once more for other colours that are kept
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
    if facts["error"] or facts["num_pixels"]:
        return DecodedPicture(facts["error"], facts["num_pixels"])
    shapes = zip(facts["modes"], facts["sizes"], parts, strict=False)
    image, *own = [Image.frombytes(mode, tuple(size), part) for mode, size, part in shapes]
    more = (own[0], bytes(parts[2])) if own else (NO_IMAGE, b"")
    losses, data, words = tuple(facts["losses"]), bytes(parts[3]), facts["words"]
    return DecodedPicture("", 0, image, facts["origin"], *more, losses, data, words)


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
    return DecodedPicture("", 0, image, origin, **original)


def size_of(data: bytes, *, most_px: int | None, keeps_original: bool) -> DecodedPicture:
    """Look at the header of a picture alone."""
    try:
        header = open_image(data)
    except ImageError as error:
        return DecodedPicture(_without_name(str(error)))
    share = min(1.0, (most_px or math.inf) / max(header.size))
    copies = 2 if keeps_original and colour_profile(header) else 1
    return DecodedPicture("", math.ceil(share**2 * math.prod(header.size)) * copies)


def serve(stdin: BinaryIO, stdout: BinaryIO, *, signs: bool) -> None:
    """Answer until standard input ends."""
    while len(head := stdin.read(HEAD.size)) == HEAD.size:
        most_px, keeps_original, is_size, length = HEAD.unpack(head)
        _limit_time()
        facts = {"most_px": most_px or None, "keeps_original": keeps_original}
        data = stdin.read(length)
        answer = size_of(data, **facts) if is_size else answer_to(data, **facts, signs=signs)
        for part in _parts(answer):
            stdout.write(LENGTH.pack(len(part)))
            stdout.write(part)
        del answer  # its pixels, before the next picture comes
        stdout.flush()


def _parts(answer: DecodedPicture) -> Iterator[bytes]:
    """Yield an answer as it is sent: its facts, the pixels of each picture, profile and source."""
    shown = [] if answer.error or answer.num_pixels else [answer.image]
    shown += [answer.own] if answer.profile else []
    info = {
        "error": answer.error,
        "num_pixels": answer.num_pixels,
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
