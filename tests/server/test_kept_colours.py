"""An edit over HTTP and MCP keeps the colours of its picture's file, or says what it does not."""

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from swiftpie.imageio.credentials import credentials_in
from swiftpie.imageio.writing import encode_image
from tests.fixtures.signer import SIGNER, make_signer
from tests.fuzz.pictures import chunk, encoded, swapped_profile
from tests.server.conftest import data_in, picture_in, serving, to_png

SIGNED = f"signed by {SIGNER!r} with 'SwiftPie'"
BOX = [0.25, 0.25, 0.5, 0.5]


def removed(server, data, **more):
    own = json.dumps({"task": "remove", "box": BOX})
    answer = server.upload(
        "/v1/images/edits", image=("photo", data), prompt="a dog", swiftpie=own, **more
    )
    assert answer.status == 200, answer.json
    return answer


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_an_edit_keeps_the_profile_and_the_values_outside_of_its_region(server, photo, kind):
    answer = removed(server, encoded(photo, icc_profile=swapped_profile()), output_format=kind)
    made = picture_in(answer)
    assert made.info["icc_profile"] == swapped_profile()
    assert answer.json["swiftpie"]["warnings"] == []
    if kind == "png":
        assert made.tobytes() != photo.tobytes()
        width, height = photo.size
        box = (0, 0, width // 4, height)
        assert made.crop(box).tobytes() == photo.crop(box).tobytes()


def test_an_edit_keeps_resolution_and_texts_and_says_what_it_does_not(server, photo):
    notes = PngInfo()
    notes.add_text("Copyright", "Jane")
    notes.add_text("Mood", "calm")
    for profile in ({}, {"icc_profile": swapped_profile()}):
        data = encoded(photo, pnginfo=notes, dpi=(300, 300), **profile)
        made = picture_in(removed(server, data))
        assert (made.info["Copyright"], round(made.info["dpi"][0])) == ("Jane", 300)
        answer = removed(server, data, output_format="jpeg")
        assert round(picture_in(answer).info["dpi"][0]) == 300
        assert "its text 'Mood'" in answer.json["swiftpie"]["warnings"][0]


def test_what_an_edit_does_not_keep_is_said(server, photo):
    film = encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)])
    (warning,) = removed(server, film).json["swiftpie"]["warnings"]
    assert warning == "The edited picture does not keep frames after its first."


def test_an_answer_says_whether_its_picture_is_transparent(server, photo):
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    assert removed(server, to_png(photo)).json["background"] == "opaque"
    assert removed(server, to_png(clear)).json["background"] == "transparent"
    answer = removed(server, encode_image(clear, ".webp", metadata=None), output_format="jpeg")
    assert answer.json["background"] == "opaque"
    assert "its transparency" in answer.json["swiftpie"]["warnings"][0]


def test_a_server_that_signs_keeps_the_credentials_of_a_picture_and_others_say_whose_they_lose(
    server, session, photo, tmp_path
):
    signer = make_signer(tmp_path / "signer.pem")
    data = encode_image(photo, ".jpg", metadata=None, sign=signer)
    (warning,) = removed(server, data).json["swiftpie"]["warnings"]
    assert warning == f"The edited picture does not keep its content credentials, {SIGNED}."
    with serving(session, sign=signer) as signing:
        answer = removed(signing, data)
        assert answer.json["swiftpie"]["warnings"] == []
        made = data_in(answer)
        assert (str(credentials_in(made)), made.count(SIGNER.encode()) > 1) == (SIGNED, True)
        drawn = data_in(signing.draw())
    assert str(credentials_in(drawn)) == SIGNED


def test_a_server_that_signs_draws_from_what_c2pa_does_not_read_and_names_no_file_of_its_own(
    session, photo, tmp_path, caplog
):
    signer = make_signer(tmp_path / "signer.pem")
    box = b"\0\0\0\x18jumb\0\0\0\x10jumdc2pa"
    damaged = encoded(photo, "PNG")
    damaged = damaged[:33] + chunk(b"caBX", box) + damaged[33:]
    with serving(session, sign=signer) as signing:
        (warning,) = removed(signing, damaged).json["swiftpie"]["warnings"]
        assert warning == "The edited picture does not keep its damaged content credentials."
        for data in (
            encoded(photo, "JPEG") + bytes(100),
            encoded(photo, "PNG")[:-12],
            encoded(photo, "BMP"),
        ):
            answer = removed(signing, data)
            assert answer.json["swiftpie"]["warnings"] == []
            assert str(credentials_in(data_in(answer))) == SIGNED
        signer.unlink()
        refused = signing.ask("POST", "/v1/images/generations", body={"prompt": "a dog"})
        assert refused.status == 500
        assert "signer.pem" not in str(refused.json)
    assert "a request failed: SigningError" in caplog.text
