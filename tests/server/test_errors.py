"""What the server refuses, a row each: a request, its status, and a word that the message has."""

import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.cli.main import app
from tests.server.conftest import picture_in, to_png

PROMPT = "a dog on a beach"
LIBRARYS = re.compile(r"tuple|dict|instance of|extract|class '|UploadFile|constrained-|Extra in")
DRAWINGS = [  # changes of a request, its own part, status and word
    ({"prompt": ""}, {}, 400, "prompt"),
    ({"prompt": "x" * 4001}, {}, 400, "prompt"),
    ({"model": "mimi"}, {}, 404, "served"),
    ({"n": 11}, {}, 400, "n: "),
    ({"size": "9x9"}, {}, 400, "size"),
    ({"seed": -1}, {}, 400, "seed"),
    ({"prompt": "an elefant on a beach"}, {}, 400, "elephant"),
    ({}, {"subjects": [{"name": "dog"}]}, 400, "identity_id"),
    ({}, {"subjects": [{"identity_id": "id_none"}]}, 404, "known"),
    ({}, {"nonsense": 1}, 400, "nonsense"),
    ({}, {"scales": {"identity_scale": 9}}, 400, "identity_scale"),
    ({}, {"edit": {"size_px": 2048}}, 400, "edit.size_px"),
    ({}, {"scene": "pic_gone"}, 404, "picture"),
    ({"swiftpie": []}, {}, 400, "swiftpie: an object is needed"),
    ({}, {"box": "0.3,0.3,0.6,0.7"}, 400, "swiftpie.box: left, top, right and bottom"),
    ({}, {"box": [0.1, 0.2, 0.3, 0.4, 0.5]}, 400, "at most 4 are taken, and 5 came"),
    ({}, {"points": [0.5, 0.5]}, 400, "swiftpie.points: a list of points"),
    ({}, {"points": [[150, 100]]}, 400, "swiftpie.points: a list of points"),
    ({}, {"subjects": ["cat"]}, 400, 'as in [{"library": "cat"}]'),
    ({}, {"subjects": [{"library": "cat", "view": 3}]}, 400, "subjects.0.view: yaw and pitch"),
    ({}, {"subjects": [{"library": "cat", "layers": [1]}]}, 400, "subjects.0.layers: a word"),
    ({}, {"animate": {"to": "a cat"}}, 400, "animate.to: a list of prompts"),
    ({}, {"scales": 3}, 400, "scales: an object is needed"),
    ({"prompt": "a cat and a dog"}, {"box": [0.1, 0.2, 0.3, 0.4]}, 400, "box"),
    *(({}, {"scene": name}, 400, "scene") for name in ("castel", "/etc/passwd", "dog.png")),
]


@pytest.mark.parametrize(("change", "own", "status", "word"), DRAWINGS, ids=str)
def test_drawings_that_cannot_be_are_refused(server, change, own, status, word):
    answer = server.draw(**{"prompt": PROMPT, "swiftpie": own, **change})
    error = answer.json["error"]
    assert (answer.status, word in error["message"]) == (status, True), error
    assert set(error) >= {"message", "type", "param", "code"}
    assert LIBRARYS.search(error["message"] + str(error["param"])) is None


def test_the_box_beside_a_prompt_is_that_of_its_only_subject(server):
    box = [0.1, 0.3, 0.4, 0.9]
    own = {"subjects": [{"library": "dog", "box": box}]}
    placed = server.draw(prompt=PROMPT, seed=3, swiftpie=own)
    for beside in ({"box": box}, {"box": box, "subjects": [{"library": "dog"}]}):
        answer = server.draw(prompt=PROMPT, seed=3, swiftpie=beside)
        assert picture_in(answer).tobytes() == picture_in(placed).tobytes()


def mask(mode, colour, size=(128, 128)):
    return ("mask.png", to_png(Image.new(mode, size, colour)))


def strokes():
    layer = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    layer.paste("white", (20, 20, 80, 80))
    return ("mask.png", to_png(layer))


HOLE = mask("RGBA", (0, 0, 0, 0))
LIBRARY = {"subjects": [{"library": "dog"}]}
EDITS = [  # fields of a form, its own part, and a word
    ({"mask": mask("RGBA", "white")}, {}, "opaque"),
    ({"mask": mask("L", 255)}, {}, "transparency"),
    ({"mask": mask("RGBA", (0, 0, 0, 254))}, {}, "half"),
    ({"mask": mask("RGBA", (0, 0, 0, 0), (128, 64))}, {}, "shape"),
    ({"mask": strokes()}, {}, "Send swiftpie.mask_mode 'white'"),
    ({"mask": HOLE}, {"task": "insert", **LIBRARY}, "removed"),
    ({}, {"task": "remove", "box": (0, 0, 1, 1), **LIBRARY}, "subjects"),
    ({}, {"task": "insert", "subjects": [{"library": "dog", "scale": 0.5}]}, "'scale' cannot"),
    ({}, {"task": "remove"}, "remove"),
    ({"image": [strokes(), strokes()]}, {}, '"task": "personalize"'),
    ({"prompt": "a dog with a hat"}, {}, "a server with the recipe swiftedit"),
    ({}, {"task": "replace", **LIBRARY}, "remove"),
    ({"mask": HOLE}, {"task": "remove", "points": [(0.5, 0.5)]}, "exclude"),
    ({}, {"task": "insert", "keep_pose": True, **LIBRARY}, "no effect"),
    ({"size": "96x80"}, {}, "An edit is as large as its picture. Send 128x128"),
    ({"prompt": ""}, {}, "words that describe"),
    ({}, {"scene": "castle"}, "no effect"),
    ({"image": ("a.png", b"")}, {}, "image"),
    ({"image": ("a.png", b"no picture")}, {}, "picture"),
    ({"image": "text"}, {}, "file"),
    ({"swiftpie": '{"task": }'}, None, "JSON"),
]


@pytest.mark.parametrize(("fields", "own", "word"), EDITS, ids=range(len(EDITS)))
def test_edits_that_cannot_be_are_refused(server, photo, fields, own, word):
    given = {"image": ("photo.png", to_png(photo)), "prompt": "a dog"}
    given |= {} if own is None else {"swiftpie": json.dumps(own)}
    answer = server.upload("/v1/images/edits", **given | fields)
    assert (answer.status, word in answer.json["error"]["message"]) == (400, True), answer.json


NO_JSON = [
    ('{"prompt": "a cat",}', "line"),
    ('{"prompt": "a robot", "swiftpie": {"source_prompt": "\\ud800"}}', "line"),
    ('{"prompt": "a robot", "\\ud800": 1}', "line"),
    ('{"prompt": NaN}', "line"),
    ('{"prompt": "a", "swiftpie": {"scales": {"identity_scale": 1e999}}}', "identity_scale"),
    ('{"prompt": "a", "swiftpie": {"box": [0, 0, -1e999, 1]}}', "swiftpie.box"),
    ('{"prompt": "a", "seed": 18446744073709551616}', "seed"),
]


@pytest.mark.parametrize(("body", "word"), NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_no_json_is_refused_by_its_place(server, body, word):
    for path in ("/v1/images/generations", "/v1/jobs", "/v1/images/edits"):
        answer = server.ask("POST", path, body=body.encode())
        error = answer.json["error"]
        assert (answer.status, word in error["message"]) == (400, True), error
        assert not (error["param"] or "").isdecimal()


def test_other_requests_are_refused_with_what_to_do(server, picture_bytes):
    picture = ("a.png", picture_bytes)
    grey = ("grey.png", to_png(Image.new("RGBA", (64, 64))))
    for path, fields, status, word in (
        ("/v1/images/variations", {"image": picture}, 404, "/v1/images/edits"),
        ("/v1/images/edits", {"prompt": PROMPT}, 400, "image"),
        ("/v1/identities", {"image": grey}, 400, "/v1/cutouts"),
        ("/v1/identities", {"image": [picture] * 9}, 400, "Send up to 8"),
        ("/v1/cutouts", {"image": grey}, 400, "/v1/cutouts"),
        ("/v1/cutouts", {"image": picture, "cutout": "isnet 0.5,0.5"}, 400, "reads no points"),
        ("/v1/cutouts", {"image": "text"}, 400, "a file is needed, and text came"),
        ("/v1/identities", {"face": picture}, 400, "faces"),
    ):
        answer = server.upload(path, **fields)
        error = answer.json["error"]
        assert (answer.status, word in error["message"]) == (status, True), error
        assert "--" not in error["message"], "that is how commands are called"


def test_more_pictures_than_ever_fit_are_refused_before_a_stream_begins(server):
    most = server.worker.limits.queue_per_key
    answer = server.draw(PROMPT, n=most + 1, stream=True)
    assert (answer.status, str(most) in answer.json["error"]["message"]) == (400, True)


COMMANDS = [
    ("serve --host 0.0.0.0", "token"),
    ("serve --host 192.0.2.1", "token"),
    ("serve --host 192.0.2.1 --token-file token.txt", "--host"),
    ("serve --token-file missing.txt", "missing.txt"),
    ("serve --token-file /dev/zero", "4096"),
    ("serve --model none-such", "none-such"),
    ("serve --queue 0", "--queue"),
    ("mcp --folder none-such", "none-such"),
]


@pytest.mark.parametrize(("command", "word"), COMMANDS)
def test_commands_that_are_unsafe_or_wrong_are_refused(tmp_path, monkeypatch, command, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text("secret")
    ended = CliRunner().invoke(app, command.split())
    assert ended.exit_code == 2
    assert word in " ".join(ended.stderr.split())


def test_a_name_that_is_spelled_wrong_comes_with_names_that_are_near(server):
    error = server.draw("an elefant on a beach").json["error"]
    assert (error["code"], error["param"]) == ("subject_not_named", "prompt")
    assert (error["word"], error["near"][0]) == ("elefant", "elephant")
    assert "GET /v1/library" in error["message"]
