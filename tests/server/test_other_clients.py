import base64
import io
import urllib.request
from functools import partial

import pytest
from PIL import Image

from tests.server.conftest import picture_in, to_png

PROMPT = "a dog on a beach"
OPEN_WEBUI = {
    "model": "dall-e-3",
    "prompt": PROMPT,
    "n": 1,
    "size": "1024x1024",
    "response_format": "b64_json",
}
LIBRECHAT = {
    "model": "gpt-image-1",
    "prompt": PROMPT,
    "n": 1,
    "background": "auto",
    "output_format": "png",
    "quality": "auto",
    "size": "1536x1024",
}
DALLE_SCRIPT = {
    "model": "dall-e-3",
    "prompt": PROMPT,
    "n": 1,
    "size": "1024x1792",
    "quality": "standard",
    "style": "vivid",
}


def draw(server, body):
    answer = server.ask("POST", "/v1/images/generations", body={**body, "seed": 1})
    assert answer.status == 200, answer.json
    return answer


@pytest.mark.parametrize("request_body", [OPEN_WEBUI, LIBRECHAT], ids=["open-webui", "librechat"])
def test_what_chat_programs_send_is_drawn_at_a_size_of_the_model(server, request_body):
    answer = draw(server, request_body)  # in a photographed place as it is
    assert answer.headers["x-swiftpie-size"] == answer.json["size"] == request_body["size"]
    said = answer.json["swiftpie"]["warnings"]
    assert all("soft at" in line for line in said if request_body["size"] in line)
    words = {"swiftpie": {"scene": "words"}}
    own = {**request_body, **words, "model": "mini"}
    refused = server.ask("POST", "/v1/images/generations", body=own)
    answer = draw(server, {**request_body, **words})
    assert (refused.status, answer.json["size"] in refused.json["error"]["message"]) == (400, True)
    size = picture_in(answer).size
    assert answer.headers["x-swiftpie-size"] == "{}x{}".format(*size) == answer.json["size"]
    width, height = map(int, request_body["size"].split("x"))
    assert size[0] / size[1] == pytest.approx(width / height, rel=0.1)
    assert size[0] * size[1] <= 512 * 512 * 1.1  # twice the side that the model was trained on
    own = answer.json["swiftpie"]
    assert own["model"] == "mini"
    assert any(request_body["model"] in line for line in own["warnings"])
    assert any(request_body["size"] in line for line in own["warnings"])


def test_a_script_for_dall_e_reads_an_address(server):
    answer = draw(server, DALLE_SCRIPT)
    (one,) = answer.json["data"]
    assert set(one) == {"url"}
    with urllib.request.urlopen(one["url"]) as stream:
        assert Image.open(io.BytesIO(stream.read())).format == "PNG"
    assert answer.json["swiftpie"]["without_effect"] == ["quality", "style"]


@pytest.mark.parametrize(("model", "wanted"), [("mini", "url"), ("dall-e-2", "b64_json")])
def test_who_names_a_format_gets_it(server, model, wanted):
    answer = draw(server, {"prompt": PROMPT, "model": model, "response_format": wanted})
    assert set(answer.json["data"][0]) == {wanted}


def test_nulls_are_absent(server):
    nothing = dict.fromkeys(["model", "n", "size", "response_format", "style", "user", "stream"])
    own = {"swiftpie": {"scene": None, "scales": {"identity_scale": None}, "box": None}}
    assert draw(server, {"prompt": PROMPT, **nothing}).json["size"] == "128x128"
    plain = draw(server, {"prompt": PROMPT}).json["data"]
    assert draw(server, {"prompt": PROMPT, **nothing, **own}).json["data"] == plain


@pytest.mark.parametrize(("size", "warned"), [("96x80", False), ("1024x1024", True)])
def test_edits_of_chat_programs_keep_the_size_of_the_picture(server, size, warned):
    photo = to_png(Image.new("RGB", (96, 80), (120, 160, 90)))
    texts = {"model": "gpt-image-1", "prompt": "a dog at night", "quality": "auto", "size": size}
    answer = server.upload("/v1/images/edits", **texts, **{"image[]": ("photo.png", photo)})
    assert answer.status == 200, answer.json
    assert answer.json["size"] == "96x80" == answer.headers["x-swiftpie-size"]
    assert any("no effect" in line for line in answer.json["swiftpie"]["warnings"]) == warned


def edit(server, url):
    body = {"prompt": "a dog at night", "images": [{"image_url": url}], "seed": 1}
    return server.ask("POST", "/v1/images/edits", body=body)


def test_data_urls_are_read_however_they_are_written(server):
    data = to_png(Image.linear_gradient("L").resize((32, 32)).convert("RGB"))
    text = base64.b64encode(data).decode()
    lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    safe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    for url in (
        f"data:image/png;base64,{lines}",
        f"DATA:image/PNG;base64,{text}",
        f"data:image/png;name=a.png;base64,{safe}",
    ):
        answer = edit(server, url)
        assert answer.status == 200, answer.json
    for url in ("data:image/png;base64,@@@@", "data:text/plain;base64,AAAA", "http://a/b.png"):
        assert edit(server, url).json["error"]["code"] == "invalid_image_url"


def test_json_may_begin_with_a_mark_of_its_order_and_has_to_name_its_type(server):
    body = b'\xef\xbb\xbf{"prompt": "a dog on a beach", "seed": 1}'
    ask = partial(server.ask, "POST", "/v1/images/generations", body=body)
    for kind in ("application/json", "application/json; charset=utf8", "application/x+json"):
        answer = ask(headers={"content-type": kind})
        assert answer.status == 200, answer.json
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"):
        answer = ask(headers={"content-type": kind})
        assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_media_type")
        assert "application/json" in answer.json["error"]["message"]
