"""Content credentials (C2PA): whether a picture has some and whose, and signing of pictures.

Finding a manifest needs no package. Naming its signer and signing need the extra `c2pa`.
"""

import functools
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from swiftpie.errors import MissingExtra, SigningError, require, short_reason, system_reason
from swiftpie.imageio.decoding import STARTS, load_image

MEDIA = {name: f"image/{name.lower()}" for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF")}
MEDIA["MP4"] = "video/mp4"  # all by Pillow's names of formats
START_OF_SCAN, APP11 = 0xDA, 0xEB  # the markers of a JPEG before which, and in which, manifests are
LABEL_BYTES = 200  # in which a box of a manifest names its kind
MAX_BLOCKS = 10_000  # of a file that are looked at
LOST = "its content credentials"  # starts the name of what an edit without a signature loses
ALGORITHMS = (b"es256", b"ps256", b"ed25519", b"es384", b"es512")  # of which a key fits one
KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----\s*", re.S)
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# IPTC's words for what a model made, and for a picture in which it made a part. A record of the
# second has it by this name.
TRAINED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
SOURCE_TYPE = "digital_source_type"
# Nothing is asked over the network, and no thumbnails of up to 600 kB are stored.
SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}

Data = str | Path | bytes


class Credentials(NamedTuple):
    """What a manifest says; whether its signer may be trusted is not checked."""

    signer: str | None = None  # None without the extra `c2pa`, "" of a damaged manifest
    maker: str = ""  # the program
    is_intact: bool | None = None  # whether picture and signature belong together; None as above

    def __str__(self) -> str:
        if self.signer is None:
            return "of a signer that `pip install swiftpie[c2pa]` names"
        if not self.signer:
            return "damaged, so that they name no signer and are not kept"
        state = "" if self.is_intact else ", which do not fit the picture any more"
        return f"signed by {self.signer!r}{f' with {self.maker!r}' * bool(self.maker)}{state}"


def credentials_in(source: object) -> Credentials | None:
    """Return the credentials of a PNG, JPEG or WebP file; None if it has none, or is no file."""
    if not isinstance(source, Data) or not (data := _read(source)) or not any(_manifests(data)):
        return None
    try:
        c2pa = _c2pa("Reading credentials")
    except MissingExtra:
        return Credentials()
    if not _is_ingredient(data):
        return Credentials("")
    try:
        with c2pa.Reader(_media_of(data), io.BytesIO(data), context=_context()) as reader:
            found = json.loads(reader.json())
        manifest = found["manifests"][found["active_manifest"]]
        signature, makers = manifest.get("signature_info", {}), manifest["claim_generator_info"]
    except (c2pa.C2paError, ValueError, LookupError, TypeError):
        return Credentials("?")
    names = [signature.get("issuer"), signature.get("common_name")]
    signer = next((short_reason(name) for name in names if name), "?")
    is_intact = found.get("validation_state") in {"Valid", "Trusted"}
    return Credentials(signer, short_reason(makers[0].get("name", "")) if makers else "", is_intact)


def signed(
    data: bytes,
    file_format: str,
    *,
    key: str | Path,
    source: Data | None = None,
    source_type: str = TRAINED,
) -> bytes:
    """Return a picture or film with credentials that say that a model made or changed it.

    Args:
        data: A whole file.
        file_format: Pillow's name, or MP4.
        key: A PEM file with the certificates, the signer's first, and the private key.
        source: The picture that was changed; it stays as an ingredient, with its own credentials
            unless these are damaged.
        source_type: IPTC's word for the picture; with a `source` it is `COMPOSITE`.

    Raises:
        SigningError: The file cannot be read, or C2PA accepts no such certificate.
        MissingExtra: `c2pa-python` is not installed.
    """
    c2pa, out = _c2pa("Signing"), io.BytesIO()
    kind = f"{SOURCES}{source_type if source is None else COMPOSITE}"
    actions = [{"action": "c2pa.created", "digitalSourceType": kind}]
    if source is not None:
        opened: dict[str, Any] = {"action": "c2pa.opened"}
        opened["parameters"] = {"ingredientIds": ["source"]}
        actions = [opened, {"action": "c2pa.edited", "digitalSourceType": kind}]
    manifest = {
        "claim_generator_info": [{"name": "SwiftPie"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }
    signer = _signer(key)
    try:
        with c2pa.Builder(json.dumps(manifest), context=_context()) as builder:
            if source is not None:
                facts = {"title": "source", "relationship": "parentOf", "instance_id": "source"}
                whole = as_ingredient(_read(source))
                builder.add_ingredient(json.dumps(facts), _media_of(whole), io.BytesIO(whole))
            builder.sign(signer, MEDIA[file_format], io.BytesIO(data), out)
    except c2pa.C2paError as error:
        raise SigningError(_unusable(key, error)) from error
    return out.getvalue()


def check_signer(key: str | Path | None) -> None:
    """Refuse a key that `signed` would refuse, before anything is drawn; None is no key."""
    if key is not None:
        blank = io.BytesIO()
        Image.new("RGB", (8, 8)).save(blank, "PNG")
        signed(blank.getvalue(), "PNG", key=key)


def _signer(key: str | Path) -> Any:  # noqa: ANN401 - of an optional package
    c2pa = _c2pa("Signing")
    try:
        text = Path(key).read_bytes()
    except (OSError, ValueError) as error:
        raise SigningError(_unusable(key, system_reason(error))) from error
    private, reason = KEY.search(text), "it has no private key without a password"
    for algorithm in ALGORITHMS if private else ():
        chain = KEY.sub(b"", text)
        info = c2pa.C2paSignerInfo(algorithm, chain, private[0] if private else b"", None)
        try:
            return c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            reason = reason if reason.startswith("Sig") else str(error)
    raise SigningError(_unusable(key, reason))


def _unusable(key: str | Path, reason: object) -> str:
    return (
        f"'{key}' cannot sign pictures ({short_reason(reason)}). A PEM file is needed with the "
        "signer's certificate for C2PA (use: digital signature, e-mail protection or documents), "
        "those above it, and the private key as PKCS#8. See https://opensource.contentauthenticity"
        ".org/docs/signing/get-cert."
    )


def _c2pa(use: str) -> Any:  # noqa: ANN401 - an optional package
    return require("c2pa", extra="c2pa", use=use)


@functools.cache
def _context() -> Any:  # noqa: ANN401 - of an optional package
    c2pa = _c2pa("Reading credentials")
    return c2pa.Context(c2pa.Settings.from_dict(SETTINGS))


def _read(source: Data) -> bytes:
    """Return the bytes of a file; none of what is no file, which what reads pictures says."""
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes() if Path(source).is_file() else b""
    except (OSError, ValueError):
        return b""


def _media_of(data: bytes) -> str:
    """Return the media type of a file by its first bytes; "" of others than C2PA reads here."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return MEDIA["WEBP"]
    return next((MEDIA[name] for start, name in STARTS.items() if data.startswith(start)), "")


def as_ingredient(data: bytes) -> bytes:
    """Return a file as C2PA reads it: others, and those it finds damaged, become PNG.

    Pixels are kept, damaged credentials are not.
    """
    if _is_ingredient(data):
        return data
    buffer = io.BytesIO()
    load_image(data).save(buffer, "PNG")
    return buffer.getvalue()


def _is_ingredient(data: bytes) -> bool:
    """Whether C2PA can name a file with its credentials as a source; that takes milliseconds."""
    c2pa, media = _c2pa("Reading credentials"), _media_of(data)
    try:
        with c2pa.Builder("{}", context=_context()) as builder:
            builder.add_ingredient("{}", media, io.BytesIO(data))
    except c2pa.C2paError:
        return False
    return bool(media)


def _manifests(data: bytes) -> Iterator[bool]:
    """Yield of each block of a PNG, JPEG or WebP file whether it is a manifest."""
    media = _media_of(data)
    at = {MEDIA["PNG"]: 8, MEDIA["JPEG"]: 2}.get(media, 12)
    for _ in range(MAX_BLOCKS):
        head = data[at : at + 8]
        if len(head) < 8:
            return
        if media == MEDIA["PNG"]:
            yield head[4:] == b"caBX"
            at += 12 + int.from_bytes(head[:4])
        elif media == MEDIA["JPEG"] and head[0] == 0xFF and head[1] != START_OF_SCAN:
            start = data[at + 4 : at + 4 + LABEL_BYTES]
            yield head[1] == APP11 and start.startswith(b"JP") and b"c2pa" in start
            at += 2 + int.from_bytes(head[2:4])
        elif media == MEDIA["WEBP"]:
            yield head[:4] == b"C2PA"
            length = int.from_bytes(head[4:], "little")
            at += 8 + length + length % 2
        else:
            return
