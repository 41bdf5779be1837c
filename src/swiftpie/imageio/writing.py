"""Picture files with their origin and what an edited one had; loads no tensor library."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageCms, PngImagePlugin

from swiftpie.errors import InputError, require
from swiftpie.imageio.atomic import atomic_folder, check_target, write_file
from swiftpie.imageio.decoding import (
    DECODER_ERRORS,
    Source,
    colour_profile,
    describe,
    image_errors,
    load_image,
    open_image,
    to_plain,
    to_straight,
    to_upright,
)

FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
FILM_SUFFIXES = (".webp", ".gif", ".mp4")
MAX_FPS = 50.0  # what GIF and browsers show
CRF = "18"  # of H.264, by which hardly any loss is to be seen
METADATA_KEY = "swiftpie"
EXIF_BLOCK = 0x8769
USER_COMMENT = 0x9286
ASCII_COMMENT = b"ASCII\0\0\0"  # EXIF's way to say how the comment is encoded
MAX_METADATA_BYTES = 60_000  # a JPEG's EXIF block holds 64 KiB at most
QUALITY: Mapping[str, Mapping[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 92},
    "TIFF": {"compression": "raw"},  # with others, Pillow writes no EXIF data
}
LOSSLESS = ("PNG", "TIFF")
XMP_TAG = 700  # of TIFF

GPS_BLOCK = 0x8825
MAKER_NOTE = 0x927C
EXIF_SIZE = (0xA002, 0xA003)  # width and height, which upright may be exchanged
EXIF_POINTER = 0xA005  # to another block, which is never read
# Tags of the first block that describe the picture, not its storage or orientation.
EXIF_WORDS = (*range(0x010E, 0x0111), 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C)
EXIF_WORDS += (0x8298, *range(0x9C9B, 0x9CA0))
MAX_KEPT_EXIF = 5_000  # bytes; a JPEG also has to hold how the picture was made

OTHER_COLOURS = {
    "I": "numbers of 32 bit",
    "F": "numbers of 32 bit",
    "CMYK": "colours for print (CMYK)",
    "LAB": "colours in Lab",
    "YCbCr": "colours in YCbCr",
}
GREYS = ("L", "LA")

XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType="
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


class PictureData(NamedTuple):
    """A picture with the other contents of its file."""

    pixels: Image.Image  # RGB or RGBA
    profile: bytes = b""  # ICC, of these colours; empty for sRGB
    exif: bytes = b""


def save_image(
    image: Image.Image | PictureData,
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None,
    force: bool = False,
) -> None:
    """Write a picture, a generated one with its origin; equal arguments give equal bytes.

    Args:
        image: the picture; JPEG has no transparency, so it is laid on white there.
        path: its suffix (.png, .jpg, .jpeg, .webp, .tif or .tiff) chooses the format.
        metadata: stored as JSON, and the file is marked as made by a trained model (IPTC); None
            for a picture that no model made, which gets neither.
        force: replace an existing file.

    Raises:
        InputError: The suffix is unknown, the file exists, the folder cannot be written to, or the
            metadata is too long.
    """
    data = encode_image(image, Path(path).suffix, metadata=metadata, name=f"'{path}'")
    write_file(path, data, force=force)


def encode_image(
    image: Image.Image | PictureData,
    suffix: str,
    *,
    metadata: Mapping[str, str] | None,
    name: str = "The picture",
    quality: int | None = None,
) -> bytes:
    """Return the bytes that `save_image` would write to a file with this suffix.

    `quality`, 0 to 100, is that of JPEG and WebP; None: hardly any loss to be seen.

    Raises:
        InputError: The suffix is unknown or the metadata is too long.
    """
    file_format = format_of(suffix, name=name)
    pixels, profile, exif = image if isinstance(image, PictureData) else PictureData(image)
    notes = picture_notes(metadata, file_format, exif=exif, name=name)
    if profile:
        notes["icc_profile"] = profile
    plain = pixels.copy() if pixels.mode in {"L", "RGB", "RGBA"} else pixels.convert("RGB")
    plain.info = {}  # nothing of the input may travel along
    if file_format == "JPEG" and plain.mode == "RGBA":
        ground = Image.new("RGBA", plain.size, "white")
        plain = Image.alpha_composite(ground, plain).convert("RGB")
    buffer = io.BytesIO()
    chosen = {} if quality is None or file_format in LOSSLESS else {"quality": quality}
    plain.save(buffer, file_format, **{**QUALITY[file_format], **chosen}, **notes)
    return buffer.getvalue()


def read_metadata(source: Source) -> dict[str, str]:
    """Return what `save_image` stored in a picture; empty for pictures of other origin.

    So it is for more than `MAX_METADATA_BYTES`, which a small file can unpack to.

    Raises:
        ImageError: The file is missing or not a picture.
    """
    image = open_image(source)
    try:
        if image.format == "PNG":
            text = str(image.info.get(METADATA_KEY, ""))
        else:
            comment = image.getexif().get_ifd(EXIF_BLOCK).get(USER_COMMENT, b"")
            text = bytes(comment).removeprefix(ASCII_COMMENT).decode("ascii")
        stored = json.loads(text) if len(text.encode()) <= MAX_METADATA_BYTES else None
        found = {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}
        "".join([*found, *found.values()]).encode()  # fails for a half of a surrogate pair
    except DECODER_ERRORS:
        return {}
    return found


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
    name: str = "The picture",
) -> dict[str, Any]:
    """Return Pillow's arguments that store `metadata`, the mark of origin and EXIF data."""
    if metadata is None:
        return {"exif": exif} if exif else {}
    text = json.dumps(dict(metadata), sort_keys=True)
    if len(text) > MAX_METADATA_BYTES:
        raise InputError(
            f"The metadata for {name} has {len(text)} bytes. At most {MAX_METADATA_BYTES} fit "
            "into a picture. Shorten the prompt."
        )
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(METADATA_KEY, text)
        chunks.add_itxt("XML:com.adobe.xmp", XMP)
        return {"pnginfo": chunks} | ({"exif": exif} if exif else {})
    words = Image.Exif()
    words.load(exif)
    words.get_ifd(EXIF_BLOCK)[USER_COMMENT] = ASCII_COMMENT + text.encode("ascii")
    if file_format == "TIFF":
        words[XMP_TAG] = XMP.encode()
    return {"exif": words.tobytes(), "xmp": XMP.encode()}


class OriginalPicture(NamedTuple):
    """A picture before an edit."""

    stored: PictureData
    losses: tuple[str, ...]  # what its file holds and none that is written can


def read_original(source: str | Path | bytes | Image.Image) -> OriginalPicture:
    """Return a picture upright, of 8 bits and with the colours and words that its file has.

    Raises:
        ImageError: It cannot be read; see `load_image`.
    """
    image = open_image(source)
    with image_errors(describe(source)):
        profile, lost = colour_profile(image), lost_colours(image)
        image.load()
        exif, losses = _kept_exif(image)
        losses += lost
        image = to_straight(to_upright(image, is_ours=image is not source))
        if image.mode in OTHER_COLOURS or (image.mode in GREYS and "icc_profile" in image.info):
            return OriginalPicture(PictureData(load_image(source), b"", exif), tuple(losses))
        return OriginalPicture(PictureData(to_plain(image), profile, exif), tuple(losses))


def lost_colours(image: Image.Image) -> list[str]:
    """Return the names of the pixels and colours that no edited file keeps, by a header alone."""
    losses = []
    if any(";16" in str(tile.args) for tile in getattr(image, "tile", ())):
        losses.append("its 16 bits")
    if getattr(image, "is_animated", False):
        losses.append("frames after its first")
    if not colour_profile(image) and image.info.get("icc_profile"):
        losses.append("its colour profile")
    if image.mode in OTHER_COLOURS:
        losses.append(f"its {OTHER_COLOURS[image.mode]}")
    return losses


def composite(original: OriginalPicture, edited: Image.Image, blend: Image.Image) -> PictureData:
    """Return `edited` over the original by the weights of `blend`; elsewhere bits stay the same.

    Args:
        original: Of size (W, H).
        edited: sRGB, as large. If it has transparency, that is the result's.
        blend: Mode L, as large; 0 leaves the original's pixel unchanged.
    """
    pixels, profile, _ = original.stored
    alpha = edited.getchannel("A") if edited.mode == "RGBA" else None
    edited = edited.convert("RGB")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(edited, srgb, own, outputMode="RGB")
        assert converted is not None  # only in-place conversion returns nothing
        edited = converted
    before = pixels if pixels.mode == "RGB" else pixels.convert("RGB")
    joined = Image.composite(edited, before, blend)
    if pixels.mode == "RGBA":
        joined.putalpha(alpha or pixels.getchannel("A"))
    return original.stored._replace(pixels=joined)


def is_clear(pixels: Image.Image) -> bool:
    """Whether any of a picture is transparent."""
    return pixels.mode == "RGBA" and pixels.getchannel("A").getextrema()[0] != 255


def losses_in(original: OriginalPicture, suffix: str) -> tuple[str, ...]:
    """Return the names of the parts of a picture that a file with this suffix loses."""
    (pixels, _, exif), losses = original.stored, list(original.losses)
    file_format = format_of(suffix)
    if file_format == "JPEG" and is_clear(pixels):
        losses.append("its transparency")
    if file_format != "PNG" and exif:
        kept = Image.Exif()
        kept.load(exif)
        if USER_COMMENT in kept.get_ifd(EXIF_BLOCK):
            losses.append("the comment in its EXIF data")
    return tuple(losses)


def _kept_exif(image: Image.Image) -> tuple[bytes, list[str]]:
    """Return EXIF data without orientation and thumbnail, and the names of lost parts."""
    losses: list[str] = []
    try:
        given, kept = image.getexif(), Image.Exif()
        for tag in EXIF_WORDS:
            if tag in given:
                kept[tag] = given[tag]
        for block in (EXIF_BLOCK, GPS_BLOCK):
            left_out = (MAKER_NOTE, EXIF_POINTER, *EXIF_SIZE)
            entries = given.get_ifd(block)
            if block == EXIF_BLOCK and MAKER_NOTE in entries:
                losses.append("the maker's notes in its EXIF data")
            if kept_entries := {
                tag: entry for tag, entry in entries.items() if tag not in left_out
            }:
                kept.get_ifd(block).update(kept_entries)
        has_words = len(kept) or any(map(kept.get_ifd, (EXIF_BLOCK, GPS_BLOCK)))
        data = kept.tobytes() if has_words else b""
    except DECODER_ERRORS:
        return b"", ["its EXIF data, which are damaged"]
    if len(data) > MAX_KEPT_EXIF:
        return b"", [f"its EXIF data of {len(data)} bytes"]
    words = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if words and words not in {XMP, XMP.encode()}:
        losses.append("its XMP data")
    return data, losses


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
