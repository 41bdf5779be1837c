import json
from urllib.parse import quote

import pytest

from swiftpie.imageio.writing import read_metadata
from swiftpie.library import CREDIT, subject_library
from swiftpie.scenes import OWN_PICTURE
from tests.server.conftest import data_in, to_png

PROMPT = "a kitten on a beach"
NAMED = {"word": "kitten", "name": "cat", "near": ["cat face"]}


def drawn(server, **body):
    answer = server.draw(PROMPT, seed=3, **body)
    return data_in(answer), answer.json["swiftpie"]


def test_insertions_take_names(server, session):
    photo = session.generate("a robot on a white backdrop", seed=1).images[0]
    settings = json.dumps({"task": "insert", "box": [0.5, 0.4, 0.9, 0.9]})
    sent = {"image": ("photo.png", to_png(photo)), "prompt": PROMPT, "swiftpie": settings}
    answer = server.upload("/v1/images/edits", **sent)
    assert answer.status == 200, answer.json
    assert answer.json["swiftpie"]["named"] == [NAMED]


def test_the_library_is_listed_and_searched(server):
    whole = server.ask("GET", "/v1/library").json
    assert whole["total"] == len(whole["data"]) == len(subject_library())
    assert whole["credit"] == CREDIT
    few = server.ask("GET", "/v1/library?query=kitten&limit=1").json
    (cat,) = few["data"]
    assert (cat["name"], few["total"], few["meant"]) == ("cat", 2, "cat")
    assert server.ask("GET", "/v1/library?query=elefant").json["meant"] is None
    assert "kitten" in cat["words"]
    answer = server.ask("GET", cat["picture"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.content == subject_library().picture("cat")
    shoe = quote("man's shoe")
    assert server.ask("GET", f"/v1/library/{shoe}/picture").status == 200


@pytest.mark.parametrize("name", ["no such subject", "..", "%2e%2e%2fsubjects.json", "cat\x00"])
def test_no_other_file_is_sent(server, name):
    assert server.ask("GET", f"/v1/library/{quote(name)}/picture").status == 404


def test_a_scene_may_be_words_alone_or_a_picture_that_was_sent(server, session):
    lake = to_png(session.personalize(session.with_named(PROMPT), PROMPT, seed=3).images[0])
    kept = server.upload("/v1/pictures", image=("lake.png", lake))
    words, _ = drawn(server, swiftpie={"scene": "words"})
    assert "scene" not in read_metadata(words)
    own, _ = drawn(server, swiftpie={"scene": kept.json["id"]})
    assert read_metadata(own)["scene"] == OWN_PICTURE


def test_a_scene_is_named_and_no_file_of_the_server_is_read(server):
    listed = server.ask("GET", "/v1/scenes").json
    (castle,) = [entry for entry in listed["data"] if entry["name"] == "castle"]
    assert {credit["licence"] for credit in castle["credits"]} == {"public domain"}
    assert castle["phrase"] == "in front of a castle"
    picture = server.ask("GET", "/v1/scenes/white%20backdrop/picture")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/webp")
    assert server.ask("GET", "/v1/scenes/atlantis/picture").status == 404
    data, _ = drawn(server, swiftpie={"scene": "castle"})
    assert read_metadata(data)["scene"] == "castle"
