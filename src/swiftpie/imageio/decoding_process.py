"""A process that decodes pictures of strangers, within limits of memory and time.

It reads pictures from standard input and writes their pixels to standard output. It imports no
tensor library, so that it starts at once and has little that could be attacked.
"""

import asyncio
import json
import math
import os
import struct
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from swiftpie.errors import ImageError, short_reason
from swiftpie.imageio.credentials import as_ingredient
from swiftpie.imageio.decoding import colour_profile, load_image, open_image
from swiftpie.imageio.originals import (
    OriginalPicture,
    kept_words,
    lost_colours,
    lost_credentials,
    read_original,
)
from swiftpie.imageio.writing import PictureData, read_metadata

MAX_SECONDS = 5  # Processor time for one picture.
MAX_MIB = 1024
SIGNS = "--signs"
LENGTH = struct.Struct(">Q")
# most_px or 0, keeps_original, whether the number of pixels is enough, the length of what follows
HEAD = struct.Struct(">Q??Q")
FACTS = (  # What the page shows or uses of a picture's record.
    *("prompt", "source_prompt", "task", "preset", "seed", "swiftpie", "scene", "subjects"),
    *("identity_scale", "detail_scale", "balance"),
)
MAX_FACT = 4_000  # letters, as of a prompt
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # glibc then returns what a picture took at once
}

NO_IMAGE = Image.new("RGB", (1, 1))


async def start(*, signs: bool) -> Process:
    """Start such a process; `signs`: originals become sources of content credentials."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, *([SIGNS] * signs)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )


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


async def ask(process: Process, head: bytes, data: bytes) -> DecodedPicture:
    """Return what a process answers to a head and the file of a picture."""
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
