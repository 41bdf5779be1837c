"""Files of pictures and films with their origin; loads no tensor library."""

import io
import json
import os
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

import numpy as np
from PIL import Image, PngImagePlugin

from swiftpie.arguments import checked
from swiftpie.errors import InputError, require
from swiftpie.imageio.atomic import atomic_folder, check_target, write_file
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE, SOURCES, TRAINED, Data, signed
from swiftpie.imageio.decoding import DECODER_ERRORS, Source, open_image
from swiftpie.validation import MAX_FPS, MAX_METADATA_BYTES, MIN_FPS

FORMAT_OF_SUFFIX = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
FORMAT_OF_SUFFIX |= {".tif": "TIFF", ".tiff": "TIFF"}
METADATA_KEY = "swiftpie"
FILM_SUFFIXES = (".webp", ".gif", ".mp4")
CRF = "18"  # quality of H.264 at which hardly any loss is visible
XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")  # Adobe's box for XMP in an MP4
# The application block of a GIF, and what leads a reader that does not know it to its end.
XMP_BLOCK = b"\x21\xff\x0bXMP DataXMP"
XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
GIF_COLOURS = 255  # one is left for what does not change
MAX_SAMPLED = 12  # frames whose colours make the palette
# Thresholds of ordered dithering, 4 x 4: what stands still is drawn with the same ones.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 15 - 0.5
DITHER = 8.0  # levels; least error of means of 5 x 5 pixels in three films of mini
# The box of an MP4 that holds its record as JSON.
RECORD_BOX = UUID("5f9c2c1b-7a43-4e0e-9b0d-5b1d3f6f8a21")
MAX_BOXES = 1_000  # boxes that are read of an MP4; ours has five
EXIF_BLOCK = 0x8769
USER_COMMENT = 0x9286
ASCII_COMMENT = b"ASCII\0\0\0"  # EXIF's way to say how the comment is encoded
# PNG and WebP are quick: 768x576 takes 34 and 23 ms in place of 117 and 60, for files that are 8
# and 17 % larger.
QUALITY: Mapping[str, Mapping[str, Any]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 92, "method": 2},
    "TIFF": {"compression": "raw"},  # Pillow writes EXIF data with this compression alone
}
LOSSLESS = ("PNG", "TIFF")
WEBP_FILM, WEBP_CLEAR = 0x02 | 0x04 | 0x08, 0x10  # moves, has XMP, has EXIF; is transparent
XMP_KEYWORD = "XML:com.adobe.xmp"  # of PNG's text
XMP_TAG = 700  # the TIFF tag of XMP

NO_TEXTS: Mapping[str, str] = MappingProxyType({})
COMMENT = "comment"  # Pillow's name for that of a JPEG
EXIF_TAGS = {"Description": 0x010E, "Author": 0x013B, "Copyright": 0x8298}  # by PNG's keywords
RESOLUTION = (0x011A, 0x011B, 0x0128)  # tags: across, down, and their unit
INCH = 2
XMP = (  # of a picture of one of IPTC's types
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType'
    f'="{SOURCES}{{}}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def is_clear(pixels: Image.Image) -> bool:
    """Whether any of a picture is transparent."""
    return pixels.mode == "RGBA" and pixels.getchannel("A").getextrema()[0] != 255


class PictureData(NamedTuple):
    """A picture with the other contents of its file."""

    pixels: Image.Image  # RGB or RGBA
    profile: bytes = b""  # ICC, of these colours; empty for sRGB
    exif: bytes = b""
    dpi: tuple[float, float] | None = None  # pixels an inch, across and down
    texts: Mapping[str, str] = NO_TEXTS  # such as "Copyright", by PNG's keywords


def save_image(
    image: Image.Image | PictureData,
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None,
    force: bool = True,
    sign: str | Path | None = None,
    source: Data | None = None,
) -> None:
    """Write a picture, a generated one with its origin; unsigned files of equal calls are equal.

    Args:
        image: the picture; JPEG has no transparency, so it is laid on white there.
        path: its suffix (.png, .jpg, .jpeg, .webp, .tif or .tiff) chooses the format.
        metadata: stored as JSON, and the file is marked as made by a trained model (IPTC), or as
            the composite that `metadata` says it is; None for a picture that no model made, which
            gets neither.
        force: replace an existing file.
        sign: a PEM file by which the picture gets content credentials; needs the extra `c2pa`.
        source: the picture that was changed, which these keep as an ingredient.

    Raises:
        InputError: The suffix is unknown, the file exists (and not `force`), the folder cannot be
            written to, or the metadata is too long.
    """
    data = encode_image(
        image, Path(path).suffix, metadata=metadata, name=f"'{path}'", sign=sign, source=source
    )
    write_file(path, data, force=force)


def encode_image(
    image: Image.Image | PictureData,
    suffix: str,
    *,
    metadata: Mapping[str, str] | None,
    name: str = "The picture",
    quality: int | None = None,
    sign: str | Path | None = None,
    source: Data | None = None,
) -> bytes:
    """Return the bytes that `save_image` would write to a file with this suffix.

    `quality`, 0 to 100, is that of JPEG and WebP; None: hardly any loss to be seen.

    Raises:
        InputError: The suffix is unknown or the metadata is too long.
    """
    file_format = format_of(suffix, name=name)
    stored = image if isinstance(image, PictureData) else PictureData(image)
    pixels, profile, exif, dpi, texts = stored
    notes = picture_notes(metadata, file_format, exif=exif, dpi=dpi, texts=texts, name=name)
    if profile:
        notes["icc_profile"] = profile
    plain = pixels.copy() if pixels.mode in {"L", "RGB", "RGBA"} else pixels.convert("RGB")
    plain.info = {}  # nothing of the input may travel along
    if file_format == "JPEG" and plain.mode == "RGBA":
        plain = Image.alpha_composite(Image.new("RGBA", plain.size, "white"), plain).convert("RGB")
    buffer = io.BytesIO()
    chosen = {} if quality is None or file_format in LOSSLESS else {"quality": quality}
    Image.Image.save(plain, buffer, file_format, **{**QUALITY[file_format], **chosen}, **notes)
    data = buffer.getvalue()
    if sign is None:
        return data
    kind = source_type_of(metadata)
    return signed(data, file_format, key=sign, source=source, source_type=kind)


def read_metadata(source: Source) -> dict[str, str]:
    """Return what is stored in a picture or film of ours; empty for files of other origin.

    So it is for more than `MAX_METADATA_BYTES`, which a small file can unpack to.

    Raises:
        ImageError: The file is missing or no picture, and no MP4.
    """
    film = _text_of_mp4(source)
    image = None if film is not None else open_image(source)
    try:
        if image is None:
            text = (film or b"").decode()
        elif image.format == "PNG":
            text = str(image.info.get(METADATA_KEY, ""))
        elif image.format == "GIF":
            text = bytes(image.info.get("comment", b"")).decode("ascii")
        else:
            comment = image.getexif().get_ifd(EXIF_BLOCK).get(USER_COMMENT, b"")
            text = bytes(comment).removeprefix(ASCII_COMMENT).decode("ascii")
        stored = json.loads(text) if len(text.encode()) <= MAX_METADATA_BYTES else None
        found = {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}
        "".join([*found, *found.values()]).encode()  # fails for a half of a surrogate pair
    except DECODER_ERRORS:
        return {}
    return found


def boxed(name: UUID, data: bytes) -> bytes:
    """Return a box of an MP4, which players skip."""
    return struct.pack(">I4s16s", 24 + len(data), b"uuid", name.bytes) + data


def _text_of_mp4(source: Source) -> bytes | None:
    """Return what `boxed` has put at the end of a film of ours; None of what is no MP4."""
    if isinstance(source, bytes):
        return _text_in_boxes(io.BytesIO(source))
    try:
        if isinstance(source, str | Path) and Path(source).is_file():  # a pipe would wait
            with Path(source).open("rb") as file:
                return _text_in_boxes(file)
    except (OSError, ValueError):
        pass  # said by what reads pictures
    return None


def _text_in_boxes(file: BinaryIO) -> bytes | None:
    for number in range(MAX_BOXES):
        length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if number == 0 and kind != b"ftyp":
            return None
        if length == 1:
            length = int.from_bytes(file.read(8)) - 8
        if length < 8:
            break
        if kind == b"uuid" and length - 24 <= MAX_METADATA_BYTES:
            data = file.read(length - 8)
            if data.startswith(RECORD_BOX.bytes):
                return data[16:]
            length = 8
        file.seek(length - 8, io.SEEK_CUR)
    return b""


def numbered(path: Path, count: int) -> list[Path]:
    """Return names for `count` files: `out-1.png`, `out-2.png` and so on for `out.png`."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]


def check_image_target(path: str | Path, *, force: bool = False) -> None:
    """Refuse what `save_image` would refuse, before any work is done for it."""
    format_of(Path(path).suffix, name=f"'{path}'")
    check_target(path, force=force)


def format_of(suffix: str, *, name: str = "The picture") -> str:
    """Return Pillow's name of the format that a suffix chooses."""
    file_format = FORMAT_OF_SUFFIX.get(suffix.lower())
    if file_format is None:
        raise InputError(
            f"{name} does not end in a known suffix. Choose one of {', '.join(FORMAT_OF_SUFFIX)}."
        )
    return file_format


def picture_notes(
    metadata: Mapping[str, str] | None,
    file_format: str,
    *,
    exif: bytes = b"",
    dpi: tuple[float, float] | None = None,
    texts: Mapping[str, str] = NO_TEXTS,
    name: str = "The picture",
) -> dict[str, Any]:
    """Return Pillow's arguments that store `metadata`, the mark of origin, and a file's words."""
    notes: dict[str, Any] = {} if dpi is None else {"dpi": dpi}
    text, mark = "", ""
    if metadata is not None:
        text, mark = json.dumps(dict(metadata), sort_keys=True), mark_of(metadata)
    if len(text) > MAX_METADATA_BYTES:
        raise InputError(
            f"The metadata for {name} has {len(text)} bytes. At most {MAX_METADATA_BYTES} fit "
            "into a picture. Shorten the prompt."
        )
    texts = {name: words for name, words in texts.items() if holds_text(file_format, name, words)}
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        for keyword in texts:
            chunks.add_text(keyword, texts[keyword])
        if mark:
            chunks.add_itxt(METADATA_KEY, text)
            chunks.add_itxt(XMP_KEYWORD, mark)
        return notes | {"pnginfo": chunks} | ({"exif": exif} if exif else {})
    words = _exif_of(exif, dpi, texts)
    if COMMENT in texts:
        notes["comment"] = texts[COMMENT].encode()
    if mark:
        words.get_ifd(EXIF_BLOCK)[USER_COMMENT] = ASCII_COMMENT + text.encode("ascii")
        notes["xmp"] = mark.encode()
    if mark and file_format == "TIFF":
        words[XMP_TAG] = mark.encode()
    return notes | ({"exif": words.tobytes()} if mark or exif or len(words) else {})


def holds_text(file_format: str, keyword: str, text: str) -> bool:
    """Whether a file of a format keeps a text; Pillow writes ASCII alone into the tags of TIFF."""
    if file_format == "PNG" or (file_format == "JPEG" and keyword == COMMENT):
        return True
    return keyword in EXIF_TAGS and (file_format != "TIFF" or text.isascii())


def _exif_of(exif: bytes, dpi: tuple[float, float] | None, texts: Mapping[str, str]) -> Image.Exif:
    """Return EXIF data with what it lacks of a resolution and of texts."""
    words = Image.Exif()
    words.load(exif)
    for keyword in texts.keys() & EXIF_TAGS:  # as UTF-8, which readers take it for
        words.setdefault(EXIF_TAGS[keyword], texts[keyword].encode())
    if dpi is not None:
        for tag, value in zip(RESOLUTION, (*dpi, INCH), strict=True):
            words.setdefault(tag, value)
    return words


def mark_of(metadata: Mapping[str, str] | None) -> str:
    """Return the XMP by which a file of that record says that a model made it, or a part of it."""
    return XMP.format(source_type_of(metadata))


def source_type_of(metadata: Mapping[str, str] | None) -> str:
    """Return IPTC's type of a picture by its record."""
    return COMPOSITE if metadata and metadata.get(SOURCE_TYPE) == COMPOSITE else TRAINED


@checked
def save_animation(
    frames: Sequence[Image.Image],
    path: str | Path,
    *,
    fps: float,
    metadata: Mapping[str, str],
    force: bool = True,
    sign: str | Path | None = None,
) -> None:
    """Write frames of one size, with their origin; WebP and GIF play again and again.

    Args:
        frames: The pictures, RGB.
        path: Its suffix (.webp, .gif or .mp4) chooses the format; without a suffix it is a folder
            of PNG files, which alone keep every pixel.
        fps: Frames a second, `MIN_FPS` to `MAX_FPS`.
        metadata: As of `save_image`.
        force: Replace an existing file; an existing folder is never replaced.
        sign: As of `save_image`.

    Raises:
        InputError: The suffix or the speed cannot be used, or the file exists or cannot be written.
        MissingExtra: MP4 needs a package that is not installed.
    """
    path = Path(path)
    if not frames:
        raise InputError("There are no frames to write. Give `result.images` of an animation.")
    check_animation_target(path, fps=fps, force=force)
    if not path.suffix:
        with atomic_folder(path) as folder:
            for name, data in frame_files(frames, folder, metadata=metadata, sign=sign).items():
                write_file(name, data)
        return
    data = encode_animation(frames, path.suffix, fps=fps, metadata=metadata, sign=sign)
    write_file(path, data, force=force)


def frame_files(
    frames: Sequence[Image.Image],
    folder: Path,
    *,
    metadata: Mapping[str, str],
    sign: str | Path | None = None,
) -> dict[Path, bytes]:
    return {
        folder / f"frame-{number:04}.png": encode_image(frame, ".png", metadata=metadata, sign=sign)
        for number, frame in enumerate(frames, start=1)
    }


def encode_animation(
    frames: Sequence[Image.Image],
    suffix: str,
    *,
    fps: float,
    metadata: Mapping[str, str],
    quality: int | None = None,
    sign: str | Path | None = None,
) -> bytes:
    """Return the bytes that `save_animation` writes to a file with this suffix.

    `quality`, 0 to 100, is that of WebP; None: hardly any loss to be seen.
    """
    buffer, text = io.BytesIO(), json.dumps(dict(metadata), sort_keys=True)
    mark = mark_of(metadata).encode()
    match suffix.lower():
        case ".webp":
            notes = picture_notes(metadata, "WEBP")
            data = _webp_film(frames, frame_delays(len(frames), fps=fps), notes, quality=quality)
        case ".gif":
            delays = frame_delays(len(frames), fps=fps, unit_ms=10)
            first, *rest = in_one_palette(frames)
            shown = {"save_all": True, "append_images": rest, "duration": delays, "loop": 0}
            first.save(buffer, "GIF", **shown, comment=text.encode())
            data = buffer.getvalue()[:-1] + XMP_BLOCK + mark + XMP_TRAILER + b";"
        case _:
            _write_mp4(frames, buffer, fps=fps, text=text)
            data = buffer.getvalue() + boxed(XMP_BOX, mark)
            data += boxed(RECORD_BOX, text.encode())
    kind = source_type_of(metadata)
    return data if sign is None else signed(data, suffix[1:].upper(), key=sign, source_type=kind)


def frame_delays(count: int, *, fps: float, unit_ms: int = 1) -> list[int]:
    """Return the milliseconds of each frame, in whole units that add up rightly."""
    ends = [round(1000 / unit_ms * number / fps) for number in range(count + 1)]
    return [unit_ms * (end - start) for start, end in pairwise(ends)]


def _webp_film(
    frames: Sequence[Image.Image],
    delays: Sequence[int],
    notes: Mapping[str, bytes],
    *,
    quality: int | None,
) -> bytes:
    """Return a WebP that repeats whole frames.

    The encoder of films in libwebp drops frames and blocks that differ little from those before
    them, whatever is shown there, so that slow changes of light are lost.
    """
    chunks, is_any_clear = [], False
    for frame, delay in zip(frames, delays, strict=True):
        pixels = encode_image(frame, ".webp", metadata=None, quality=quality)[12:]
        if pixels.startswith(b"VP8X"):  # transparency is in a chunk before that of the colours
            pixels, is_any_clear = pixels[18:], True
        place = bytes(6) + _webp_size(frame) + delay.to_bytes(3, "little") + b"\2"
        chunks.append(_webp_chunk(b"ANMF", place + pixels))
    flags = WEBP_FILM | (WEBP_CLEAR if is_any_clear else 0)
    body = [
        _webp_chunk(b"VP8X", struct.pack("<I", flags) + _webp_size(frames[0])),
        _webp_chunk(b"ANIM", bytes(6)),
        *chunks,
        _webp_chunk(b"EXIF", notes["exif"].removeprefix(b"Exif\0\0")),
        _webp_chunk(b"XMP ", notes["xmp"]),
    ]
    return _webp_chunk(b"RIFF", b"WEBP" + b"".join(body))


def _webp_size(frame: Image.Image) -> bytes:
    return b"".join((side - 1).to_bytes(3, "little") for side in frame.size)


def _webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def in_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return frames with one palette for all, in which what stands still stays equal."""
    every = -(-len(frames) // MAX_SAMPLED)
    sampled = [np.asarray(frame.convert("RGB")) for frame in frames[::every]]
    sheet = Image.fromarray(np.concatenate(sampled))
    is_plain = sheet.getcolors(GIF_COLOURS) is not None
    palette = sheet.quantize(GIF_COLOURS, Image.Quantize.MEDIANCUT, kmeans=1)
    height, width = sampled[0].shape[:2]
    shifts = np.tile(BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None] * DITHER
    if is_plain:  # each colour has its place in the palette
        shifts = shifts * 0

    def reduced(frame: Image.Image) -> Image.Image:
        shifted = np.rint(np.asarray(frame.convert("RGB")) + shifts).clip(0, 255).astype(np.uint8)
        return Image.fromarray(shifted).quantize(palette=palette, dither=Image.Dither.NONE)

    return [reduced(frame) for frame in frames]


def check_animation_target(path: Path, *, fps: float, force: bool = False) -> None:
    """Refuse what `save_animation` would refuse, before any work is done for it."""
    suffix = path.suffix.lower()
    if suffix and suffix not in FILM_SUFFIXES:
        raise InputError(
            f"'{path}' does not end in a known suffix. Choose one of {', '.join(FILM_SUFFIXES)}, "
            "or a name without one for a folder of frames."
        )
    check_film(suffix, fps=fps)
    if not suffix and os.path.lexists(path):
        raise InputError(f"'{path}' exists already. Choose a new name for the folder of frames.")
    check_target(path, force=force)


def check_film(suffix: str, *, fps: float) -> None:
    """Refuse a speed that cannot be shown, and a format whose package is not installed."""
    if not MIN_FPS <= fps <= MAX_FPS:
        raise InputError(
            f"{fps} frames a second were asked for; {MIN_FPS:g} to {MAX_FPS:g} are possible."
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
