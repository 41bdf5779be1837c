import io
import json
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import MissingExtra, SigningError
from swiftpie.imageio.credentials import (
    COMPOSITE,
    MEDIA,
    SOURCE_TYPE,
    check_signer,
    credentials_in,
    signed,
)
from swiftpie.imageio.originals import losses_in, read_original
from swiftpie.imageio.writing import encode_animation, encode_image, read_metadata, save_image
from tests.fixtures.signer import SIGNER, make_signer
from tests.fuzz.pictures import chunk, encoded

FACTS = {"prompt": "a dog on a beach"}
WITHOUT = "of a signer that `pip install swiftpie[c2pa]` names"


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return make_signer(tmp_path_factory.mktemp("signer") / "signer.pem")


def picture(mode="RGB"):
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def manifest(data, media):
    """Return all that the reader of C2PA says of a file."""
    import c2pa

    return json.loads(c2pa.Reader(media, io.BytesIO(data)).json())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_signed_picture_says_who_signed_and_keeps_pixels_and_record(signer, suffix):
    plain = encode_image(picture(), suffix, metadata=FACTS)
    data = encode_image(picture(), suffix, metadata=FACTS, sign=signer)
    assert credentials_in(plain) is None
    found = credentials_in(data)
    assert (found.signer, found.maker, found.is_intact) == (SIGNER, "SwiftPie", True)
    assert str(found) == f"signed by {SIGNER!r} with 'SwiftPie'"
    shown, before = (Image.open(io.BytesIO(each)) for each in (data, plain))
    assert shown.convert("RGB").tobytes() == before.convert("RGB").tobytes()
    assert read_metadata(data) == FACTS
    assert len(data) < len(plain) + 30_000  # no thumbnails


def test_an_edit_keeps_its_source_with_the_credentials_of_that(signer, tmp_path):
    source = tmp_path / "source.jpg"
    save_image(picture(), source, metadata=FACTS, sign=signer)
    data = encode_image(picture(), ".png", metadata=FACTS, sign=signer, source=source)
    said = manifest(data, MEDIA["PNG"])
    mine = said["manifests"][said["active_manifest"]]
    (kept,) = mine["ingredients"]
    assert kept["relationship"] == "parentOf"
    assert kept["active_manifest"] in said["manifests"]
    (actions,) = (each["data"]["actions"] for each in mine["assertions"] if "actions" in str(each))
    assert [each["action"] for each in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")


def test_a_record_of_a_composite_is_signed_as_one(signer):
    data = encode_image(picture(), ".png", metadata={SOURCE_TYPE: COMPOSITE}, sign=signer)
    said = str(manifest(data, MEDIA["PNG"]))
    assert "c2pa.created" in said
    assert f"digitalsourcetype/{COMPOSITE}" in said


def test_a_source_that_c2pa_does_not_read_is_kept_as_png(signer):
    source = encoded(picture(), "BMP")
    data = encode_image(picture(), ".webp", metadata=None, sign=signer, source=source)
    said = manifest(data, MEDIA["WEBP"])
    (kept,) = said["manifests"][said["active_manifest"]]["ingredients"]
    assert kept["format"] == "image/png"


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_films_are_signed(signer, suffix):
    frames = [picture(), picture().rotate(180)]
    data = encode_animation(frames, suffix, fps=8, metadata=FACTS, sign=signer)
    assert manifest(data, MEDIA[suffix[1:].upper()])["validation_state"] == "Valid"
    assert read_metadata(data) == FACTS
    assert Image.open(io.BytesIO(data)).n_frames == 2


def test_an_unsigned_edit_loses_credentials_and_says_whose(signer):
    before = read_original(encode_image(picture(), ".png", metadata=FACTS, sign=signer))
    loss = f"its content credentials, signed by {SIGNER!r} with 'SwiftPie'"
    assert losses_in(before, ".png") == (loss,)
    assert losses_in(before, ".png", is_signed=True) == ()


def test_changed_pixels_do_not_fit_their_credentials(signer):
    data = encode_image(picture(), ".webp", metadata=None, sign=signer)
    at = data.index(b"VP8 ") + 40
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert "do not fit the picture any more" in str(credentials_in(changed))


def with_manifest(file_format):
    """Return a picture with a box that is called as those of C2PA, and holds nothing."""
    data, box = (
        encoded(picture(), file_format),
        b"JP\0\1\0\0\0\1" + b"\0\0\0\x18jumb\0\0\0\x10jumdc2pa",
    )
    if file_format == "PNG":
        return data[:33] + chunk(b"caBX", box) + data[33:]
    if file_format == "JPEG":
        return data[:2] + b"\xff\xeb" + struct.pack(">H", 2 + len(box)) + box + data[2:]
    more = b"C2PA" + struct.pack("<I", len(box)) + box
    return b"RIFF" + struct.pack("<I", len(data) + len(more) - 8) + data[8:] + more


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_credentials_are_found_without_a_package_and_cut_files_have_none(file_format, tmp_path):
    data, path = with_manifest(file_format), tmp_path / "one"
    path.write_bytes(data)
    assert credentials_in(path) is not None
    assert str(credentials_in(data)).startswith(("signed by '?'", "damaged", WITHOUT))
    for count in range(0, len(data), 7):
        credentials_in(data[:count])
    other = data.replace(b"WEBP", b"WAVE", 1) if file_format == "WEBP" else b"x" + data
    assert credentials_in(other) is None
    assert credentials_in(b"") is credentials_in(tmp_path / "none") is credentials_in(None) is None


def test_what_cannot_sign_is_refused_before_anything_is_drawn(signer, tmp_path):
    check_signer(None)
    pem = signer.read_bytes()
    wrong = {
        "no file": b"",
        "without a key": pem[: pem.index(b"-----BEGIN PRIVATE")],
        "of another use": make_signer(tmp_path / "server.pem", purpose="SERVER_AUTH").read_bytes(),
        "without certificates": pem[pem.index(b"-----BEGIN PRIVATE") :],
    }
    for name, content in wrong.items():
        path = tmp_path / f"{name}.pem"
        if content:
            path.write_bytes(content)
        with pytest.raises(SigningError, match=f"{name}.pem' cannot sign.*PKCS#8"):
            check_signer(path)


@pytest.mark.skipif("c2pa" in sys.modules, reason="the extra is there")
def test_without_the_extra_signing_names_it(tmp_path):
    try:
        import c2pa  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match=r"swiftpie\[c2pa\]"):
            signed(b"", "PNG", key=tmp_path / "signer.pem")


def damaged(data):
    """Return a PNG whose manifest is cut by half."""
    at = data.index(b"caBX")
    length = int.from_bytes(data[at - 4 : at])
    half = data[at + 4 : at + 4 + length // 2]
    return data[: at - 4] + chunk(b"caBX", half) + data[at + 8 + length :]


def test_a_source_with_damaged_credentials_is_kept_without_them_and_said_so(signer):
    source = damaged(encode_image(picture(), ".png", metadata=FACTS, sign=signer))
    assert "damaged" in str(credentials_in(source))
    lost = ("its damaged content credentials",)
    assert losses_in(read_original(source), ".png", is_signed=True) == lost
    data = encode_image(picture(), ".png", metadata=FACTS, sign=signer, source=source)
    assert credentials_in(data).is_intact
    said = manifest(data, MEDIA["PNG"])
    (kept,) = said["manifests"][said["active_manifest"]]["ingredients"]
    assert "active_manifest" not in kept
    assert len(said["manifests"]) == 1


@pytest.mark.parametrize("cut", [2, 12, -100])
def test_a_source_that_pillow_alone_reads_is_kept_as_its_pixels(signer, cut):
    whole = encoded(picture(), "JPEG" if cut == 2 else "PNG")
    source = whole[:-cut] if cut > 0 else whole + bytes(-cut)
    data = encode_image(picture(), ".png", metadata=FACTS, sign=signer, source=source)
    said = manifest(data, MEDIA["PNG"])
    assert len(said["manifests"][said["active_manifest"]]["ingredients"]) == 1
