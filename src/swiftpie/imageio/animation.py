"""Writing the frames of an animation: as WebP, GIF or MP4, or as a folder of pictures."""

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from swiftpie.errors import InputError, require
from swiftpie.imageio.atomic import atomic_folder, check_target, write_file
from swiftpie.imageio.writing import METADATA_KEY, QUALITY, encode_image, picture_notes

SUFFIXES = (".webp", ".gif", ".mp4")
MAX_FPS = 50.0  # what GIF and browsers show
CRF = "18"  # of H.264, by which hardly any loss is to be seen


def save_animation(
    frames: Sequence[Image.Image],
    path: str | Path,
    *,
    fps: float,
    metadata: Mapping[str, str],
    force: bool = False,
) -> None:
    """Write frames of one size, with their origin; WebP and GIF play again and again.

    Args:
        frames: The pictures, RGB.
        path: Its suffix (.webp, .gif or .mp4) chooses the format; without a suffix it is a folder
            of PNG files, which alone keep every pixel.
        fps: Frames a second, up to `MAX_FPS`.
        metadata: As of `save_image`.
        force: Replace an existing file; an existing folder is never replaced.

    Raises:
        InputError: The suffix or the speed cannot be used, or the file exists or cannot be written.
        MissingExtra: MP4 needs a package that is not installed.
    """
    path = Path(path)
    check_animation_target(path, fps=fps, force=force)
    if not path.suffix:
        with atomic_folder(path) as folder:
            for name, data in frame_files(frames, folder, metadata=metadata).items():
                write_file(name, data)
        return
    write_file(path, encode_animation(frames, path.suffix, fps=fps, metadata=metadata), force=force)


def frame_files(
    frames: Sequence[Image.Image], folder: Path, *, metadata: Mapping[str, str]
) -> dict[Path, bytes]:
    """Return the PNG files of a folder of frames."""
    return {
        folder / f"frame-{number:04}.png": encode_image(frame, ".png", metadata=metadata)
        for number, frame in enumerate(frames, start=1)
    }


def encode_animation(
    frames: Sequence[Image.Image],
    suffix: str,
    *,
    fps: float,
    metadata: Mapping[str, str],
    quality: int | None = None,
) -> bytes:
    """Return the bytes that `save_animation` writes to a file with this suffix.

    `quality`, 0 to 100, is that of WebP; None: hardly any loss to be seen.
    """
    buffer, text = io.BytesIO(), json.dumps(dict(metadata), sort_keys=True)
    shown = {"save_all": True, "append_images": frames[1:], "duration": 1000 / fps, "loop": 0}
    match suffix.lower():
        case ".webp":
            notes = picture_notes(metadata, "WEBP")
            chosen = QUALITY["WEBP"] if quality is None else {"quality": quality}
            frames[0].save(buffer, "WEBP", **shown, **chosen, **notes)
        case ".gif":
            frames[0].save(buffer, "GIF", **shown, comment=text.encode())
        case _:
            _write_mp4(frames, buffer, fps=fps, text=text)
    return buffer.getvalue()


def check_animation_target(path: Path, *, fps: float, force: bool = False) -> None:
    """Refuse what `save_animation` would refuse, before any work is done for it."""
    suffix = path.suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise InputError(
            f"'{path}' does not end in a known suffix. Choose one of {', '.join(SUFFIXES)}, or a "
            "name without one for a folder of frames."
        )
    check_film(suffix, fps=fps)
    if not suffix and path.exists():
        raise InputError(f"'{path}' exists already. Choose a new name for the folder of frames.")
    check_target(path, force=force)


def check_film(suffix: str, *, fps: float) -> None:
    """Refuse a speed that cannot be shown, and a format whose package is not installed."""
    if not 0 < fps <= MAX_FPS:
        raise InputError(
            f"{fps} frames a second were asked for; above 0 and up to {MAX_FPS:g} are possible."
        )
    if suffix == ".mp4":
        require("av", extra="video", use="Writing MP4")


def _write_mp4(frames: Sequence[Image.Image], buffer: io.BytesIO, *, fps: float, text: str) -> None:
    """Write H.264 in the colours that every player shows, without a last odd row or column."""
    av = require("av", extra="video", use="Writing MP4")
    width, height = (side - side % 2 for side in frames[0].size)
    with av.open(buffer, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as file:
        file.metadata[METADATA_KEY] = text
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = width, height
        stream.pix_fmt, stream.options = "yuv420p", {"crf": CRF}
        for frame in frames:
            picture = av.VideoFrame.from_image(frame.crop((0, 0, width, height)))
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
