"""Files of the user: pictures inside of allowed folders, and pictures that are written."""

import base64
import binascii
import stat
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from swiftpie.errors import ConfigError, ImageError, printable, system_reason
from swiftpie.imageio.atomic import make_folder, write_file
from swiftpie.server.mcp.tools import Picture
from swiftpie.server.schemas import MAX_IMAGE_BYTES

MOST_MB = MAX_IMAGE_BYTES / 1e6


class Folders:
    """Folders that a user allows, and the one that pictures are written to."""

    def __init__(self, allowed: Sequence[Path], *, out: Path | None = None) -> None:
        """Resolve the folders, and make `out`."""
        if out is not None:
            make_folder(out)
        for folder in allowed:
            if not folder.is_dir():
                raise ConfigError(
                    f"--folder '{folder}' is no folder. One that exists is needed. Check the path."
                )
        self._allowed = [folder.resolve() for folder in (*allowed, *([] if out is None else [out]))]
        self._out = None if out is None else out.resolve()

    def read(self, picture: Picture, *, name: str) -> bytes:
        """Return the bytes of a picture."""
        data = self._read_file(picture.path, name) if picture.path else _decoded(picture.data, name)
        if len(data) > MAX_IMAGE_BYTES:
            raise ImageError(
                f"'{name}' has more than {MOST_MB:.1f} MB, the most that is read. Give a smaller "
                "one."
            )
        return data

    def write(self, data: bytes, *, name: str, suffix: str) -> Path | None:
        """Write a picture under the next free name; return that, None if none are written."""
        if self._out is None:
            return None
        names = (self._out / f"{name}-{number:04}{suffix}" for number in count(1))
        path = next(path for path in names if not path.exists())
        write_file(path, data)
        return path

    def _read_file(self, path: str, name: str) -> bytes:
        """Return at most one byte more than may be read of a plain file inside of the folders."""
        shown = printable(path)
        try:
            found = self._find(path)
            is_file = found is not None and stat.S_ISREG(found.stat().st_mode)
            if found is not None and is_file:  # a pipe would wait for ever
                with found.open("rb") as file:
                    return file.read(MAX_IMAGE_BYTES + 1)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(
                f"'{name}' is '{shown}', which cannot be read ({system_reason(error)}). Give a "
                "picture that exists."
            ) from error
        allowed = ", ".join(map(str, self._allowed)) or "none; start with --folder DIR"
        raise ImageError(
            f"'{name}' is '{shown}', which is no file in a folder that may be read ({allowed}). "
            "Give a file inside of one, or its bytes as 'data'."
        )

    def _find(self, path: str) -> Path | None:
        """Return where a path leads, links followed; None if that is outside of all folders."""
        places = [(folder / path).resolve() for folder in self._allowed]
        inside = [
            place
            for place, folder in zip(places, self._allowed, strict=True)
            if place.is_relative_to(folder)
        ]
        return next((place for place in inside if place.exists()), inside[0] if inside else None)


def _decoded(text: str, name: str) -> bytes:
    """Return the bytes of base64, with or without the head of a data URL."""
    head, comma, rest = text.partition(",")
    is_url = comma and head.startswith("data:image/") and head.endswith(";base64")
    try:
        return base64.b64decode(rest if is_url else text, validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"'{name}' is no base64. Give the bytes of a picture's file in base64, or a path."
        ) from error
