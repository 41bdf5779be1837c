"""Content credentials: signed, changed afterwards, of others, with those of the input kept."""

import io
import json
import struct
import zlib

import pytest
from PIL import Image

pytest.importorskip("c2pa", reason="needs swiftpie[credentials]")

import c2pa

from swiftpie.engine.credentials import STARTS, local_key, read, sign
from swiftpie.imageio.writing import FORMAT_OF_SUFFIX, encode_image, save_image

ORIGIN = {"prompt": "a dog on a beach", "preset": "mini", "seed": "3"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_image(Image.new("RGB", (32, 32), "red"), "beach.png", metadata=ORIGIN)
    save_image(Image.new("RGB", (32, 32), "green"), "garden.jpg", metadata=None)
    return tmp_path / "home"


def shown(call, file):
    return json.loads(call("show", str(file), "--json").stdout)


def with_other_pixels(png):
    other = encode_image(Image.new("RGB", (32, 32), "blue"), ".png", metadata=None)
    pixels = dict(chunks(other))[b"IDAT"]
    parts = [(kind, pixels if kind == b"IDAT" else data) for kind, data in chunks(png)]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def chunks(png):
    place = 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += length + 12


def test_a_signed_picture_says_what_made_it_and_that_it_is_unchanged(call, home):
    assert call("sign", "beach.png", "-o", "signed.png").exit_code == 0
    facts = shown(call, "signed.png")
    assert facts["prompt"] == ORIGIN["prompt"]
    assert facts["credentials"].startswith("valid")
    assert "on no list of trust" in facts["signed by"]
    assert facts["made with"].startswith("SwiftPie")
    before, after = Image.open("beach.png"), Image.open("signed.png")
    assert before.tobytes() == after.tobytes()
    assert (home / "credentials" / "local.pem").stat().st_mode & 0o077 == 0


def test_pixels_that_were_changed_afterwards_are_reported(call, tmp_path):
    call("sign", "beach.png", "-o", "signed.png")
    changed = with_other_pixels((tmp_path / "signed.png").read_bytes())
    (tmp_path / "changed.png").write_bytes(changed)
    assert shown(call, "changed.png")["credentials"].startswith("CHANGED")


def test_credentials_of_the_input_are_kept(call):
    call("sign", "beach.png", "-o", "signed.png")
    save_image(Image.new("RGB", (32, 32), "white"), "snow.jpg", metadata=ORIGIN)
    assert call("sign", "snow.jpg", "--input", "signed.png", "-o", "both.jpg").exit_code == 0
    facts = shown(call, "both.jpg")
    assert facts["credentials"].startswith("valid")
    assert "with credentials by SwiftPie, local key" in facts["made from"]
    assert call("sign", "snow.jpg", "--input", "garden.jpg", "-o", "one.jpg").exit_code == 0
    assert shown(call, "one.jpg")["made from"] == "input, without credentials"


def test_foreign_credentials_are_shown_where_swiftpie_stored_nothing(call, tmp_path):
    key = local_key()
    camera = {"claim_generator_info": [{"name": "Camera", "version": "2"}], "assertions": []}
    builder = c2pa.Builder.from_json(json.dumps(camera))
    builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
    info = c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.private, None)
    with (
        (tmp_path / "garden.jpg").open("rb") as source,
        (tmp_path / "of.jpg").open("w+b") as target,
    ):
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", source, target)
    facts = shown(call, "of.jpg")
    assert facts["made with"] == "Camera 2"
    assert facts["credentials"].startswith("valid")
    assert "prompt" not in facts


@pytest.mark.parametrize("suffix", sorted(set(FORMAT_OF_SUFFIX)))
def test_every_format_that_is_written_can_be_signed(suffix):
    picture = encode_image(Image.new("RGB", (16, 16), "red"), suffix, metadata=ORIGIN)
    found = read(sign(picture, local_key(), facts=ORIGIN))
    assert (found.state, found.facts) == ("valid", ORIGIN)
    assert read(picture) is None
    assert any(picture.startswith(start) for start in STARTS)


def test_a_key_whose_certificate_is_of_another_is_refused(call, tmp_path):
    call("sign", "beach.png", "-o", "signed.png")
    first = (tmp_path / "home" / "credentials" / "local.pem").read_bytes()
    (tmp_path / "home" / "credentials" / "local.pem").unlink()
    key, mark, _ = first.partition(b"-----BEGIN CERT")
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "chain.pem").write_bytes(mark + local_key().certificates.partition(mark)[2])
    options = ["--key", "key.pem", "--certificates", "chain.pem"]
    ended = call("sign", "beach.png", "-o", "x.png", *options)
    assert ended.exit_code == 2
    assert "cannot sign" in ended.stderr
    assert not (tmp_path / "x.png").exists()


def test_a_picture_with_credentials_opens_as_any():
    picture = encode_image(Image.new("RGB", (16, 16), "red"), ".png", metadata=ORIGIN)
    assert Image.open(io.BytesIO(sign(picture, local_key(), facts=ORIGIN))).size == (16, 16)
