"""Tools as the official client calls them: limits of HTTP, folders, progress, plain errors."""

import asyncio
import base64
import io
import json
import sys
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image, ImageChops

pytest.importorskip("mcp", reason="needs swiftpie[mcp]")

from mcp import Client

from swiftpie.imageio.credentials import credentials_in
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie.server import Limits
from swiftpie.server.mcp import TOOLS, Folders, Toolbox, make_server
from swiftpie.server.schemas import MAX_PICTURES, MAX_PROMPT
from swiftpie.server.worker import Worker
from swiftpie.validation import MAX_REFERENCES
from tests.fixtures.signer import SIGNER, make_signer
from tests.policy.test_docs import SERVING, blocks, rows_of
from tests.processes import printed
from tests.server.conftest import models_of


@asynccontextmanager
async def connected(session, folder, sign=None):
    models = models_of(session)
    models.sign = sign
    worker = Worker(models, limits=Limits())
    toolbox = Toolbox(worker, Folders([folder], out=folder / "drawn"))
    async with worker, Client(make_server(toolbox)) as client:
        yield client


def called(session, folder, *calls, sign=None):
    async def run():
        steps = []

        async def seen(done, total, message):
            steps.append((done, total, message))

        async with connected(session, folder, sign) as client:
            results = [
                await client.call_tool(name, arguments, progress_callback=seen)
                for name, arguments in calls
            ]
        return results, steps

    return asyncio.run(run())


def said(result):
    return result.content[-1].text


def pictures_of(result):
    return [
        Image.open(io.BytesIO(base64.b64decode(part.data)))
        for part in result.content
        if part.type == "image"
    ]


@pytest.fixture
def folder(tmp_path, sprite):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    sprite.save(allowed / "dog.png")
    sprite.save(tmp_path / "secret.png")
    (allowed / "link.png").symlink_to(tmp_path / "secret.png")
    return allowed


def test_a_picture_is_drawn_with_progress_and_changed_by_its_path(session, folder):
    dog = {"pictures": [{"path": "dog.png"}], "box": [0.1, 0.2, 0.7, 0.9]}
    arguments = {"prompt": "a dog on a beach", "subjects": [dog], "seed": 3}
    gone = {"picture": {"path": "drawn/draw-0001.png"}, "box": [0.1, 0.2, 0.7, 0.9], "seed": 3}
    (drawn, removed), steps = called(session, folder, ("draw", arguments), ("remove", gone))
    assert not drawn.is_error, said(drawn)
    assert not removed.is_error, said(removed)
    facts = json.loads(said(drawn))
    assert facts == drawn.structured_content
    assert facts["seeds"] == [3]
    (picture,), (after,) = pictures_of(drawn), pictures_of(removed)
    assert picture.tobytes() == load_image(folder / "drawn" / "draw-0001.png").tobytes()
    assert read_metadata(facts["files"][0])["prompt"] == "a dog on a beach"
    assert after.size == picture.size
    assert after.tobytes() != picture.tobytes()
    first = steps[: steps.index((3, 3, "drew 1")) + 1]
    assert [done for done, *_ in first] == sorted(done for done, *_ in first)
    assert first[1] == (1, 3, "encoding subjects")


def test_what_assistants_write_as_text_is_read(session, folder):
    box, cat = [0.2, 0.2, 0.6, 0.8], [{"library": "cat"}]
    shown = {"prompt": "a cat on a beach", "size": "128x128", "seed": 3}
    calls = [
        ("remove", {"picture": {"path": "dog.png"}, "box": box, "seed": 3}),
        ("remove", {"picture": "dog.png", "box": json.dumps(box), "seed": 3}),
        ("remove", {"picture": '{"path": "dog.png"}', "box": box, "seed": 3}),
        ("draw", {**shown, "subjects": [{"library": "cat", "box": box}]}),
        ("draw", {**shown, "subjects": json.dumps(cat), "box": box}),
        ("draw", {**shown, "box": box}),
    ]
    results, _ = called(session, folder, *calls)
    assert not any(result.is_error for result in results), [*map(said, results)]
    removed, drawn = (
        {pictures_of(result)[0].tobytes() for result in part} for part in (results[:3], results[3:])
    )
    assert (len(removed), len(drawn)) == (1, 1)


def test_an_identity_file_is_the_subject_that_it_was_made_of(session, folder, sprite):
    session.save_identity(session.encode_identity(sprite), folder / "dog.spid")
    rows = ({"pictures": [{"path": "dog.png"}]}, {"identity": {"path": "dog.spid"}})
    calls = [("draw", {"prompt": "a dog on a beach", "subjects": [row], "seed": 3}) for row in rows]
    results, _ = called(session, folder, *calls)
    first, second = (pictures_of(result)[0].tobytes() for result in results)
    assert first == second


def test_a_large_answer_shows_previews_of_the_files(session, folder):
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), "uint8")
    Image.fromarray(noise).save(folder / "noise.png")
    gone = {"picture": {"path": "noise.png"}, "box": [0.4, 0.4, 0.5, 0.5], "seed": 3}
    (result,), _ = called(session, folder, ("remove", gone))
    assert not result.is_error, said(result)
    assert sum(len(part.data) for part in result.content if part.type == "image") < 1_000_000
    (shown,), facts = pictures_of(result), result.structured_content
    assert (shown.format, "previews" in facts["shown"]) == ("JPEG", True)
    assert load_image(facts["files"][0]).size == (900, 700)


@pytest.mark.thorough
def test_a_subject_takes_the_place_of_another(session, folder, sprite):
    scene = Image.new("RGB", (256, 256), (70, 130, 180))
    scene.paste(sprite.resize((96, 96)), (140, 120), sprite.resize((96, 96)))
    scene.save(folder / "scene.png")
    there = {"path": "scene.png"}
    shape = Image.new("L", scene.size)
    shape.paste(255, (140, 120, 236, 216))
    shape.save(folder / "mask.png")
    mask = {"path": "mask.png"}
    arguments = {"prompt": "a crab", "picture": there, "mask": mask, "subject": {"library": "crab"}}
    (replaced,), _ = called(session, folder, ("replace", {**arguments, "seed": 3}))
    assert not replaced.is_error, said(replaced)
    (picture,) = pictures_of(replaced)
    changed = ImageChops.difference(picture.convert("RGB"), scene).getbbox()
    assert changed is not None
    assert changed[0] > 64, "what is far from the mask stays"


LONG = "a" * (MAX_PROMPT + 1)
DOG = {"path": "dog.png"}

WRONG = [
    ("draw", {"prompt": "a dog", "n": MAX_PICTURES + 1}, "n: "),
    ("draw", {"prompt": LONG}, f"prompt: String should have at most {MAX_PROMPT}"),
    ("draw", {"prompt": "a dog", "size": "9000x9000"}, "size: 'auto' or WIDTHxHEIGHT"),
    ("draw", {"prompt": "a dog", "colour": "red"}, "colour: "),
    ("edit", {"prompt": "a dog", "picture": {"path": "../secret.png"}}, "outside of the folders"),
    ("edit", {"prompt": "a dog", "picture": {"path": "link.png"}}, "Give a picture"),
    ("edit", {"prompt": "a dog", "picture": {"path": "/dev/zero"}}, "outside of the folders"),
    ("edit", {"prompt": "a dog", "picture": {"path": "none.png"}}, "cannot be read"),
    ("edit", {"prompt": "a dog", "picture": {"data": "no base64"}}, "'picture' is no base64"),
    ("edit", {"prompt": "a dog", "picture": {"data": "aGVsbG8="}}, "picture"),
    ("edit", {"prompt": "a dog", "picture": {"path": "dog.png", "data": "aa"}}, "one of"),
    ("insert", {"prompt": "a dog", "picture": DOG, "subject": {"library": "qux"}}, "Choose"),
    ("remove", {"picture": DOG}, "Give a mask, a box, or points"),
    ("remove", {"picture": DOG, "box": [0, 0, 2, 1]}, "box"),
    (
        "paint",
        {},
        "There is no tool 'paint'. Choose from draw, animate, edit, insert, remove, replace.",
    ),
]


def test_what_is_wrong_is_a_sentence(session, folder):
    results, _ = called(session, folder, *(case[:2] for case in WRONG))
    for (tool, arguments, answer), result in zip(WRONG, results, strict=True):
        assert result.is_error, (tool, arguments)
        assert answer in said(result)
        foreign = ("POST", "GET", "swiftpie.", "Traceback")
        assert not any(word in said(result) for word in foreign), said(result)


@pytest.mark.slow
def test_the_program_on_the_page_starts_the_command_and_draws(capfd):
    _, program = blocks(SERVING, "python")
    names = {}
    exec(compile(program, "serving.md", "exec"), names)
    assert capfd.readouterr().out == "[3]\n"
    (picture,) = pictures_of(names["answer"])
    assert "{}x{}".format(*picture.size) == names["answer"].structured_content["size"]


def test_the_page_names_every_tool():
    rows = rows_of(SERVING, "## Assistants: an MCP server")[2:]
    required = {tool.name: tool.arguments.model_json_schema()["required"] for tool in TOOLS}
    assert [row[0] for row in rows] == [tool.name for tool in TOOLS]
    assert all(f"`{name}`" in f"`{row[2]}`" for row in rows for name in required[row[0]])


def test_a_link_that_leads_nowhere_takes_a_name(tmp_path):
    folders = Folders([], out=tmp_path)
    (tmp_path / "draw-0001.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "draw-0002.png").mkdir()
    assert folders.write(b"picture", name="draw", suffix=".png") == tmp_path / "draw-0003.png"
    assert not (tmp_path / "elsewhere.png").exists()


def test_a_subject_has_no_more_pictures_than_an_identity_takes(session, folder):
    shown = {"pictures": [DOG] * (MAX_REFERENCES + 1)}
    (result,), _ = called(session, folder, ("draw", {"prompt": "a dog", "subjects": [shown]}))
    assert f"at most {MAX_REFERENCES} are taken" in said(result)


def test_pictures_of_a_server_that_signs_have_credentials(session, folder, tmp_path):
    signer = make_signer(tmp_path / "signer.pem")
    (result,), _ = called(session, folder, ("draw", {"prompt": "a dog on a beach"}), sign=signer)
    (file,) = (folder / "drawn").iterdir()
    for data in (base64.b64decode(result.content[0].data), file.read_bytes()):
        assert str(credentials_in(data)) == f"signed by {SIGNER!r} with 'SwiftPie'"


def test_a_line_with_half_of_a_letter_is_answered():
    lines = [
        r'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"\ud800"}}',
        r'{"jsonrpc":"2.0","id":"eight","method":"\ud800"}',
        r'{"jsonrpc":"2.0","id":[9],"method":"\ud800"}',
        "no JSON\n",
    ]
    server = (sys.executable, "-m", "swiftpie", "mcp")
    answered = printed(*server, input="\n".join(lines), timeout=100)
    answers = [json.loads(line) for line in answered.splitlines()]
    assert [answer["id"] for answer in answers] == [7, "eight"]
    assert "cannot be read" in answers[0]["error"]["message"]
