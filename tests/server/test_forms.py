import asyncio
import json
import time

import pytest
from PIL import Image, ImageDraw
from starlette.requests import Request

from swiftpie.server.errors import RequestError
from swiftpie.server.routes import form_of, read_form, read_upload
from tests.server.conftest import picture_in, to_png

KIND = "multipart/form-data; boundary=X"
PNG = "Content-Type: image/png"


def part(name, data, *, filename="a.png", kind=PNG):
    head = f'Content-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\n{kind}" if kind else ""
    return f"--X\r\n{head}\r\n\r\n".encode() + data + b"\r\n"


def text(name, value):
    return part(name, value.encode(), filename=None, kind="")


def read(*parts, kind=KIND, end=b"--X--\r\n", **more):
    given = {"texts": {"prompt", "swiftpie"}, "files": {"image", "mask"}, **more}
    return asyncio.run(read_form(kind, b"".join(parts) + end, **given))


def refused(*parts, **more):
    with pytest.raises(RequestError) as error:
        read(*parts, **more)
    return error.value


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "image[17]", "images"])
@pytest.mark.parametrize("filename", ["a.png", ""])
def test_pictures_are_read_however_a_client_numbers_them(name, filename):
    (found,) = read(part(name, b"\r\n--x", filename=filename)).getlist("image")
    assert found.file.read() == b"\r\n--x"


def test_parts_keep_their_order_and_their_bytes():
    data = bytes(range(256)) * 9 + b"\r\n--\r\n-X--\r\n"
    found = read(part("images", data), part("image[]", b""), text("prompt", "ü\n"))
    assert [upload.file.read() for upload in found.getlist("image")] == [data, b""]
    assert found["prompt"] == "ü\n"


def test_nested_fields_are_read_as_json():
    found = read(
        text("swiftpie[task]", "remove"),
        *(text("swiftpie[box][]", share) for share in ("0.1", "0.2", "0.5", "0.9")),
        text("swiftpie[subjects][][library]", "dog"),
        text("swiftpie[subjects][][name]", "a dog"),
        text("swiftpie[subjects][][library]", "cat"),
        text("swiftpie[points][0][0]", "0.5"),
        text("swiftpie[points][0][1]", "0.6"),
        text("swiftpie[scales][text_scale]", "2"),
    )
    assert json.loads(found["swiftpie"]) == {
        "task": "remove",
        "box": ["0.1", "0.2", "0.5", "0.9"],
        "subjects": [{"library": "dog", "name": "a dog"}, {"library": "cat"}],
        "points": [["0.5", "0.6"]],
        "scales": {"text_scale": "2"},
    }
    assert read(text("metadata[user]", "x"), takes_more=True)["metadata[user]"] == "x"


@pytest.mark.parametrize(
    "names",
    [
        ["prompt", "prompt"],
        ["swiftpie", "swiftpie[task]"],
        ["swiftpie[task]", "swiftpie[task]"],
        ["swiftpie[task]", "swiftpie[task][a]"],
        ["swiftpie[box][0]", "swiftpie[box][0]"],
        ["swiftpie[a][b][c][d][e][f][g]"],
        ["swiftpie[task"],
    ],
)
def test_a_field_that_comes_twice_or_has_a_broken_name_is_refused(names):
    error = refused(*(text(name, "x") for name in names), takes_more=True)
    assert error.status_code == 400
    assert error.param in names


def test_nested_fields_act_as_json_does(server, photo):
    parts = [part("image", to_png(photo)), text("prompt", "a ball"), text("seed", "1")]
    own = {"task": "remove", "box": [0.25, 0.25, 0.5, 0.5], "return_mask": True}
    nested = [text("swiftpie[task]", "remove"), text("swiftpie[return_mask]", "true")]
    nested += [text("swiftpie[box][]", str(share)) for share in own["box"]]
    answers = [
        post(server, *parts, *more) for more in ([text("swiftpie", json.dumps(own))], nested)
    ]
    one, other = (picture_in(answer).tobytes() for answer in answers)
    assert one == other
    assert all("masks_b64" in answer.json["swiftpie"] for answer in answers)


def test_what_is_not_read_is_refused_by_its_name():
    for name in ("mask_image", "photo", "image[a]", "ü"):
        error = refused(part(name, b"x"), takes_more=True)
        assert (error.status_code, error.code, error.param) == (400, "unknown_field", name)
        assert "image, mask" in error.detail
    assert refused(text("quality", "high")).param == "quality"
    assert read(text("quality", "high"), takes_more=True)["quality"] == "high"


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-7", "idna", "latin-1", "no"])
def test_other_charsets_than_utf_8_are_refused_before_anything_is_decoded(charset):
    field = text("prompt", "é" * 120_000)
    began = time.process_time()
    assert refused(field, kind=f"{KIND}; charset={charset}").status_code == 415
    assert time.process_time() - began < 0.5
    for fine in ("UTF-8", '"utf-8"', "utf8"):
        assert read(text("prompt", "x"), kind=f"{KIND}; charset={fine}")["prompt"] == "x"


@pytest.mark.parametrize(
    ("parts", "more", "code"),
    [
        ([text("prompt", "x")], {"end": b""}, "invalid_form"),
        ([text("prompt", "x")], {"end": b"--X"}, "invalid_form"),
        ([], {"end": b""}, "invalid_form"),
        ([text("prompt", "x")], {"kind": "multipart/form-data"}, "invalid_form"),
        ([text("prompt", "x")], {"kind": f"{KIND}{'X' * 99}"}, "invalid_form"),
        ([text("prompt", "x")] * 65, {}, "invalid_form"),
        ([part("image", b"x")] * 34, {}, "invalid_form"),
        ([b"--X\r\n\r\nx\r\n"], {}, "invalid_form"),
        ([b"--X\r\nA: " + b"x" * 9_000 + b"\r\n\r\nx\r\n"], {}, "invalid_form"),
        ([part("prompt", b"\xff", filename=None, kind="")], {}, "invalid_form"),
        ([part("image", b"\xff", filename=None)], {}, "invalid_form"),
        ([text("prompt", "x" * 300_000)], {}, "invalid_form"),
        ([part("prompt", b"x" * 300_000)], {}, "invalid_form"),
        ([b"prompt=x"], {"kind": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
    ],
    ids=range(14),
)
def test_broken_forms_are_refused(parts, more, code):
    assert refused(*parts, **more).code == code


def test_no_form_takes_long_to_read():
    began = time.process_time()
    for data in (b"\r\n--X\r\n" * 3_000_000, b"\r" * 20_000_000, b"\r\n--" * 5_000_000):
        refused(part("image", data), end=b"")
    refused(kind=f'multipart/form-data; x="{";" * 60_000}')
    assert time.process_time() - began < 2


@pytest.fixture(scope="module")
def photo():
    image = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    ImageDraw.Draw(image).ellipse((50, 30, 80, 60), fill=(220, 30, 30))
    return image


def post(server, *parts, path="/v1/images/edits"):
    body = b"".join(parts) + b"--X--\r\n"
    return server.ask("POST", path, body=body, headers={"content-type": KIND})


def test_a_mask_and_settings_act_by_whatever_name_they_are_read(server, photo):
    hole = Image.new("RGBA", photo.size, (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (40, 20, 90, 70))
    parts = [part("image", to_png(photo)), text("prompt", "a red ball"), text("seed", "1")]
    parts += [text("n", ""), text("size", "")]  # as absent ones
    drawn = [
        picture_in(post(server, *parts, part(name, to_png(hole), filename=filename)))
        for name, filename in (("mask", "m.png"), ("mask[]", "m.png"))
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes()
    own = json.dumps({"box": [1 / 3, 0.25, 0.75, 0.875], "return_mask": True}).encode()
    kind = "Content-Type: application/json"
    for filename in ("blob", None):
        answer = post(server, *parts, part("swiftpie", own, filename=filename, kind=kind))
        assert "masks_b64" in answer.json["swiftpie"]
    twice = [part("mask", to_png(hole))] * 2
    assert post(server, *parts, *twice).json["error"]["param"] == "mask"


def test_pictures_of_a_subject_come_by_both_names(server, picture_bytes):
    pictures = [part("image", picture_bytes), part("image[]", picture_bytes)]
    answer = post(server, *pictures, path="/v1/identities")
    assert (answer.status, answer.json["num_pictures"]) == (201, 2)
    error = post(server, *pictures, text("namw", "dog"), path="/v1/identities").json["error"]
    assert (error["code"], error["param"]) == ("unknown_field", "namw")


def test_the_body_of_a_form_is_held_once_as_its_files():
    async def receive():
        return {"type": "http.request", "body": part("image", b"x" * 5000) + b"--X--\r\n"}

    async def held():
        request = Request({"type": "http", "headers": [(b"content-type", KIND.encode())]}, receive)
        form = await form_of(request, texts=(), files=("image",))
        data = await read_upload(form["image"], param="image")
        return await request.body(), data, form["image"].file.getvalue() is data

    assert asyncio.run(held()) == (b"", b"x" * 5000, True)
