"""A request is the same picture from every surface, and each answers in the form that it had."""

import asyncio
import base64
import io
import itertools
import json
import re
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from swiftpie import (
    EditSettings,
    Scales,
    Subject,
    SwiftEditPipeline,
    SwiftPieError,
    SwiftPiePipeline,
    remedies,
)
from swiftpie.batch.jobs import Model
from swiftpie.batch.lists import read_lines
from swiftpie.batch.rows import JobDefaults, collect
from swiftpie.batch.run import Work, draw, open_run
from swiftpie.cli.main import app
from swiftpie.faces import FaceSettings
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import encode_animation
from swiftpie.pipelines.animation import USUAL_FRAMES
from swiftpie.scenes import scene_library
from swiftpie.server.mcp import Folders, Toolbox
from tests.comfyui.interface import as_image, load_nodes
from tests.quick import thorough_but

pytest.importorskip("mcp", reason="needs swiftpie[mcp]")
serve = pytest.importorskip("tests.server.conftest", reason="needs swiftpie[serve]")

SEED = 5
STRENGTHS = ("identity_scale", "text_scale", "background_scale")
BOX = (0.1, 0.4, 0.45, 0.9)
PLACED = ("box", "view", "layers")


@dataclass(frozen=True)
class Case:
    task: str
    prompt: str
    given: dict = field(default_factory=dict)
    has_subject: bool = False  # the sprite in `subject.png`
    has_mask: bool = False  # the white of `mask.png`
    has_face: bool = False  # of `me.jpg`
    left_out: dict = field(default_factory=dict)  # by name of a surface: why it takes no part
    preset: str | None = None
    choices: dict = field(default_factory=dict)  # that it is loaded with

    @property
    def settings(self):
        """The options that belong to the technique of an edit."""
        own = EditSettings.more_options()
        return {name: value for name, value in self.given.items() if name in own}


NO_PIPELINE = {"pipeline": "insertions, removals and replacements have no pipeline"}
NO_VIEW = {"nodes": "no node takes a view"}
NO_SCENE = {"assistant": "it takes scenes by name"}
NO_MASK = dict.fromkeys(("http", "assistant"), "it takes no region of a drawing")
NO_MASK |= {"nodes": "another node, of places, takes the region"}
edit = partial(Case, "edit")
change = partial(Case, left_out=NO_PIPELINE)
insert = partial(change, "insert", "a robot", has_subject=True)
picture = partial(Case, "personalize", has_subject=True)

CASES = {
    "colour": edit("a blue dog"),
    "material": edit("a dog made of gold"),
    "time of day": edit("at night"),
    "weather": edit("a dog in the rain"),
    "season": edit("a dog on a beach in winter", {"source_prompt": "a dog on a beach"}),
    "mask": edit("made of stone", has_mask=True),
    "box": edit("a red dog", {"box": (0.1, 0.2, 0.95, 0.98)}),
    "keyword": edit("a green dog", {"keyword": "dog"}),
    "strength of an edit": edit("a blue dog", {"text_scale": 1.1, "background_scale": 0.9}),
    "insertion": insert({"box": BOX}),
    "steered insertion": insert({"box": BOX, "identity_guidance": "am1"}),
    "removal by a mask": change("remove", "", has_mask=True),
    "removal at a point": change("remove", "", {"point": (0.5, 0.65)}),
    "replacement by a mask": change("replace", "a robot", has_subject=True, has_mask=True),
    "one subject": picture("a robot on a beach"),
    "two subjects": picture("a robot and a cat in a forest"),
    "named subject": picture("a kitten in a city at night", has_subject=False),
    "box and view": picture(
        "a robot on a beach", {"box": BOX, "view": (30.0, 10.0)}, left_out=NO_VIEW
    ),
    "scene": picture("a robot in the rain", {"scene": "castle"}),
    "photographed scene": picture("a robot in the rain", {"scene": "photo.png"}, left_out=NO_SCENE),
    "mask of a subject": picture("a robot on a beach", has_mask=True, left_out=NO_MASK),
    "style": picture("a watercolour of a robot on a beach", {"identity_guidance": "am1"}),
    "flip and tilt": picture("a robot on a beach", {"flip": True, "tilt": 20.0}),
    "size": picture("a robot on a beach", {"size": (96, 160)}),
    "best of several": picture("a robot on a beach", {"best_of": 4}),
    "best insertion": insert({"box": BOX, "best_of": 3}),
    "strength": picture("a robot on a beach", {"identity_scale": 0.6}),
    "strength by block": picture(
        "a robot on a beach", {"layers": '{"down": 0.5, "up": {"block_1": [0.0, 1.0]}}'}
    ),
    "animation": Case(
        "animate",
        "a robot on a beach",
        {"to": ("a robot on a beach at night",), "to_view": (30.0, 0.0), "num_frames": 3},
        has_subject=True,
    ),
    "animated place": Case(
        "animate",
        "a kitten in a park",
        {"to": ("a kitten in a park at night", "a kitten in a park in fog"), "num_frames": 4},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, session, sprite):
    folder = tmp_path_factory.mktemp("surfaces")
    shown = session.generate("a dog on a beach", scene="beach", seed=3)
    shown.images[0].save(folder / "photo.png")
    shown.subject_masks[0].save(folder / "mask.png")
    sprite.save(folder / "subject.png")
    return folder


def by_session(case, session, folder):
    given, photo = case.given | files_of(case, folder), folder / "photo.png"
    scales = Scales(**{name: given.pop(name) for name in STRENGTHS if name in given})
    identity = shown_by(case, session, folder)
    mask = folder / "mask.png" if case.has_mask else None
    if case.task == "edit":
        mask = given.pop("box", mask)
        words = {name: value for name, value in given.items() if name not in case.settings}
        words |= {"settings": EditSettings(scales=scales, **case.settings), "mask": mask}
        return session.edit(photo, case.prompt, **words, identity=identity, seed=SEED).image
    if case.task == "insert":
        return session.insert(photo, identity, prompt=case.prompt, seed=SEED, **given).image
    if case.task == "remove":
        points = [given["point"]] if "point" in given else ()
        return session.remove(photo, mask=mask, points=points, seed=SEED).image
    if case.task == "replace":
        said = {"prompt": case.prompt, "mask": mask}
        return session.replace(photo, identity, **said, seed=SEED).image
    if case.task == "animate":
        drawn = session.animate(identity or (), case.prompt, seed=SEED, scales=scales, **given)
        return strip(drawn.images)
    placed = {name: given.pop(name) for name in PLACED if name in given}
    subjects = [] if identity is None else [Subject(identity, **placed)]
    if "size" in given:
        given["size"] = given["size"][::-1]  # width and height
    given |= {} if mask is None else {"mask": mask}
    drawn = session.generate(case.prompt, subjects=subjects, seed=SEED, scales=scales, **given)
    return drawn.images[0]


def shown_by(case, session, folder):
    if case.has_face:
        return session.encode_face(folder / "me.jpg")
    return session.encode_identity(folder / "subject.png") if case.has_subject else None


def files_of(case, folder):
    """Return the options whose values are files."""
    given = {name: folder / str(value) for name, value in case.given.items()}
    return {name: path for name, path in given.items() if path.suffix == ".png"}


def strip(frames):
    """Return the frames of an animation in one picture, each below the one before."""
    return Image.fromarray(np.concatenate([np.asarray(frame.convert("RGB")) for frame in frames]))


def played(film):
    return strip(frame.copy() for frame in ImageSequence.Iterator(film))


def shown_by_webp(picture, case):
    """Return what the frames of an animation are in the only format of some surfaces."""
    count = case.given.get("num_frames", USUAL_FRAMES)
    frames = [Image.fromarray(frame) for frame in np.split(np.asarray(picture), count)]
    return played(Image.open(io.BytesIO(encode_animation(frames, ".webp", fps=8, metadata={}))))


def spelled(name, value):
    if name == "size":
        return f"{value[1]}x{value[0]}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def by_command(case, session, folder, monkeypatch):
    if case.preset is None:
        monkeypatch.setattr("swiftpie.engine.load.load", lambda *_, **__: session)
    photo, subject = folder / "photo.png", [folder / "subject.png"] * case.has_subject
    words = {
        "edit": [photo, case.prompt],
        "personalize": [*subject, case.prompt],
        "animate": [*subject, case.prompt],
        "remove": [photo],
    }.get(case.task, [*subject, photo])
    options = {name: spelled(name, value) for name, value in case.given.items()}
    options |= {"mask": folder / "mask.png"} if case.has_mask else {}
    options |= {name: str(path) for name, path in files_of(case, folder).items()}
    options |= {"face": folder / "me.jpg", "face-models": folder / "faces"} if case.has_face else {}
    options |= case.choices | ({"preset": case.preset} if case.preset else {})
    options |= {"subject": subject[0]} if subject and case.task == "edit" else {}
    options |= {"prompt": case.prompt} if case.task in {"insert", "replace"} else {}
    states = [part for state in case.given.get("to", ()) for part in ("--to", state)]
    options.pop("to", None)
    pairs = ([flag_of(name), *([value] * (value != "True"))] for name, value in options.items())
    flags = list(itertools.chain(*pairs))
    is_film = case.task == "animate"
    out = folder / (f"frames-{next(NUMBERS)}" if is_film else "command.png")
    line = [case.task, *words, *states, *flags, "-o", out, "--seed", SEED, "--force"]
    result = CliRunner().invoke(app, [str(part) for part in line])
    assert result.exit_code == 0, result.output
    return from_folder(out) if is_film else load_image(out)


def from_folder(folder):
    return strip(map(load_image, sorted(folder.iterdir())))


def flag_of(name):
    return "--" + name.replace("_", "-")


def by_batch(case, session, folder, _):
    outcome = drawn_by_batch(case, session, folder)
    assert outcome["status"] == "done", outcome["reason"]
    file = outcome["folder"] / outcome["file"]
    return from_folder(file) if case.task == "animate" else load_image(file)


def drawn_by_batch(case, session, folder):
    row = {name: list(v) if isinstance(v, tuple) else v for name, v in case.given.items()}
    row |= {"size": spelled("size", case.given["size"])} if "size" in row else {}
    row |= {} if case.task in {"personalize", "animate"} else {"image": "photo.png"}
    row |= {"task": case.task} if case.task in {"insert", "remove", "replace"} else {}
    row |= {"format": "frames"} if case.task == "animate" else {}
    row |= {"mask": "mask.png"} if case.has_mask else {}
    row |= {"subject": "subject.png"} if case.has_subject else {}
    row |= {"face": "me.jpg"} if case.has_face else {}
    row |= {"prompt": case.prompt} if case.prompt else {}
    row |= {"preset": case.preset} if case.preset else {}
    (folder / "jobs.jsonl").write_text(json.dumps({"seed": SEED, **row}))
    jobs = collect(read_lines(folder / "jobs.jsonl"), root=folder, defaults=JobDefaults())
    assert not jobs.refused
    out = folder / f"batch-{next(NUMBERS)}"
    model = Model(preset=case.preset)
    faces = {model: FaceSettings(face_models=folder / "faces")}
    work = Work(out, ".png", {model: {}}, faces=faces, load=lambda: session)
    with open_run(jobs, work, batch=1, settings={}) as run:
        list(draw(run, work))
    (outcome,) = run.report.rows
    return {**json.loads(json.dumps(outcome)), "folder": out}


NUMBERS = itertools.count()
TONGUES = {"http": remedies.Tongue.HTTP, "assistant": remedies.Tongue.TOOLS}


@pytest.fixture(scope="module")
def server(session):
    with serve.serving(session) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        package, _ = load_nodes(tmp_path_factory.mktemp("comfyui"), patch)
        extension = asyncio.run(package.comfy_entrypoint())
        yield {node.__name__: node for node in asyncio.run(extension.get_node_list())}


def by_http(case, _, folder, server):
    drawn = serve.picture_in(asked_over_http(case, folder, server))
    return played(drawn) if case.task == "animate" else drawn


def asked_over_http(case, folder, server):
    def sent(name):
        url = "data:image/png;base64," + base64.b64encode((folder / name).read_bytes()).decode()
        return {"image_url": url}

    given, scales = in_groups(case)
    for name, path in files_of(case, folder).items():
        kept = server.upload("/v1/pictures", image=(path.name, path.read_bytes()))
        given[name] = kept.json["id"]
    if case.has_face:
        who = server.upload("/v1/identities", face=("me.jpg", (folder / "me.jpg").read_bytes()))
        given["subjects"] = [{"identity_id": who.json["id"]}]
    body = {"seed": SEED, **({"prompt": case.prompt} if case.prompt else {})}
    body |= {"size": spelled("size", given.pop("size"))} if "size" in given else {}
    own = {"task": case.task, "mask_mode": "white", "scales": scales, **in_lists(given)}
    if case.task == "animate":
        body |= {"output_format": "webp"}
        own = {"task": "personalize", "animate": in_lists(given), "scales": scales}
    if case.task == "personalize" and {*PLACED} & {*own}:
        shown = ("subject.png", (folder / "subject.png").read_bytes())
        identity = server.upload("/v1/identities", image=shown).json
        placed = {name: own.pop(name) for name in PLACED if name in own}
        own |= {"subjects": [{"identity_id": identity["id"], **placed}]}
        images = []
    else:
        images = [sent("subject.png")] * case.has_subject
    images = images if own["task"] == "personalize" else [sent("photo.png"), *images]
    body |= {"mask": sent("mask.png")} if case.has_mask else {}
    body |= {"swiftpie": own}
    if images:
        body |= {"images": images}
    else:
        own.pop("task")
    path = "/v1/images/edits" if images else "/v1/images/generations"
    answer = server.ask("POST", path, body=body)
    assert answer.status == 200, answer.json
    return answer


def in_groups(case):
    """Return options as HTTP and assistants say them, and strengths."""
    given = {name: list(v) if isinstance(v, tuple) else v for name, v in case.given.items()}
    scales = {name: given.pop(name) for name in STRENGTHS if name in given}
    own = {name: given.pop(name) for name in case.settings}
    return given | ({"edit": own} if own else {}), scales


def in_lists(given):
    """Return options as HTTP and assistants say them: points, places and views in lists."""
    plural = {"point": "points", "to_view": "to_views", "to_box": "to_boxes"}
    return {plural.get(name, name): [v] if name in plural else v for name, v in given.items()}


def by_assistant(case, _, folder, server):
    picture, _ = asked_by_assistant(case, folder, server)
    return played(picture) if case.task == "animate" else picture


def asked_by_assistant(case, folder, server):
    toolbox = Toolbox(server.worker, Folders([folder]))
    given, scales = in_groups(case)
    given |= {name: {"path": path.name} for name, path in files_of(case, folder).items()}
    given |= {"scales": scales} if scales else {}
    given |= {"size": spelled("size", given["size"])} if "size" in given else {}
    subject = {"pictures": [{"path": "subject.png"}]}
    if case.task in {"personalize", "insert"}:
        subject |= {name: given.pop(name) for name in PLACED if name in given}
    is_drawn = case.task in {"personalize", "animate"}
    given = in_lists(given)
    given = {"animate": given} if case.task == "animate" else given
    if case.has_subject:
        given |= {"subjects": [subject]} if is_drawn else {"subject": subject}
    given |= {} if is_drawn else {"picture": {"path": "photo.png"}}
    given |= {"mask": {"path": "mask.png"}} if case.has_mask else {}
    given |= {"prompt": case.prompt} if case.prompt and case.task != "remove" else {}
    tool = {"personalize": "draw"}.get(case.task, case.task)
    call = toolbox.call(tool, {**given, "seed": SEED}, report)
    loop = server.worker.getting_ready.get_loop()
    answer = asyncio.run_coroutine_threadsafe(call, loop).result(60)
    assert not answer.is_error, answer.content
    drawn, facts = answer.content
    assert json.loads(facts.text) == json.loads(json.dumps(answer.structured_content))
    return Image.open(io.BytesIO(base64.b64decode(drawn.data))), json.loads(facts.text)


async def report(*_):
    """Progress, which is not read here."""


def by_nodes(case, session, folder, nodes):
    given, subject = dict(case.given), ()
    scales = Scales(**{name: given.pop(name) for name in STRENGTHS if name in given})
    if case.has_subject:
        shown = as_image(load_image(folder / "subject.png"))
        subject, _ = nodes["EncodeIdentity"].execute(session, shown).args
    if case.has_face:
        shown = as_image(load_image(folder / "me.jpg"))
        subject, _ = nodes["EncodeIdentity"].execute(session, shown, face=True).args
    if "layers" in given:
        placed = nodes["PlaceSubject"].execute(subject, "", 1.0, layers=given.pop("layers"))
        (subject,) = placed.args
    for name, path in files_of(case, folder).items():
        del given[name]
        given[name.partition("_")[0] + "_image"] = as_image(load_image(path))
    if case.task == "personalize":
        if "size" in given:
            given["height"], given["width"] = given.pop("size")
        words = (session, case.prompt, SEED, 1)
        image, _ = nodes["Personalize"].execute(*words, subject, scales, **given).args
        return as_picture(image)
    if case.task == "animate":
        lines = {name: given.pop(name) for name in ("to", "to_view") if name in given}
        given |= {name: "\n".join(map(str, v)) for name, v in lines.items() if name == "to"}
        given |= {"to_view": spelled("to_view", lines["to_view"])} if "to_view" in lines else {}
        words = (session, case.prompt, SEED, 1, subject, scales)
        image, _ = nodes["Personalize"].execute(*words, **given).args
        return strip(as_picture(frame[None]) for frame in image)
    photo = as_image(load_image(folder / "photo.png"))
    given |= {"subject": subject} if subject else {}
    given |= {"point": spelled("point", given["point"])} if "point" in given else {}
    given |= {"task": case.task, "scales": scales}
    if case.has_mask:
        given |= {"mask": as_image(load_image(folder / "mask.png").convert("L"))}
    words = (session, photo, case.prompt, given.pop("source_prompt", ""), SEED, 0.0)
    image, _ = nodes["Edit"].execute(*words, **given).args
    return as_picture(image)


def as_picture(image):
    return Image.fromarray(image[0].mul(255).round().byte().numpy())


def by_pipeline(case, session, folder, _):
    is_edit, given = case.task == "edit", dict(case.given)
    kind = SwiftEditPipeline if is_edit else SwiftPiePipeline
    pipe = kind.from_components(session.components)
    pipe.face_encoder = session.face_encoder
    scales = Scales(**{name: given.pop(name) for name in STRENGTHS if name in given})
    identity = shown_by(case, session, folder)
    given |= files_of(case, folder)
    if is_edit:
        shown = {"ip_adapter_image": folder / "me.jpg"} if case.has_face else {"identity": identity}
        given |= {"image": load_image(folder / "photo.png"), **shown}
        given |= {"settings": EditSettings(scales=scales)}
        given |= {"mask_image": load_image(folder / "mask.png")} if case.has_mask else {}
        return pipe(prompt=case.prompt, seeds=[SEED], **given).images[0]
    if "size" in given:
        given["height"], given["width"] = given.pop("size")
    placed = {name: given.pop(name) for name in PLACED if name in given}
    subjects = [] if identity is None else [Subject(identity, **placed)]
    shown = session.with_named(case.prompt, subjects)
    given |= {"mask": folder / "mask.png"} if case.has_mask else {}
    drawn = pipe(prompt=case.prompt, subjects=shown, seeds=[SEED], scales=scales, **given).images
    return strip(drawn) if case.task == "animate" else drawn[0]


SURFACES = {"command": by_command, "batch": by_batch, "http": by_http, "assistant": by_assistant}
SURFACES |= {"nodes": by_nodes, "pipeline": by_pipeline}
QUICK = ("mask", "strength of an edit", "replacement by a mask", "named subject", "box and view")


@pytest.mark.parametrize("name", thorough_but(CASES, (*QUICK, "animation")))
def test_every_surface_draws_what_a_session_draws(
    session, folder, server, nodes, monkeypatch, name
):
    case = CASES[name]
    wanted = by_session(case, session, folder)
    by = {"command": monkeypatch, "http": server, "assistant": server, "nodes": nodes}
    assert {*case.left_out} < {*SURFACES}
    for surface in SURFACES.keys() - case.left_out.keys():
        drawn = SURFACES[surface](case, session, folder, by.get(surface))
        is_film = case.task == "animate" and surface in {"http", "assistant"}
        expected = shown_by_webp(wanted, case) if is_film else wanted
        assert np.array_equal(drawn.convert("RGB"), expected), surface


POSE = change("replace", "a robot", {"keep_pose": True}, has_subject=True, has_mask=True)
SAYING = {
    "command": by_command,
    "nodes": by_nodes,
    "batch": lambda *all_: drawn_by_batch(*all_[:3]),
    "http": lambda case, _, *rest: asked_over_http(case, *rest).json,
    "assistant": lambda case, _, *rest: asked_by_assistant(case, *rest),
}
SAID = {  # of options that the embedded model does without, or refuses
    "form of ChordEdit": (edit("a blue dog", {"chord": "fast"}), r"chord\W+fast\W+has no effect"),
    "pose": (POSE, r"keep\s+a\s+pose"),
    "best of words": (
        edit("a dog at night", {"best_of": 2}),
        r"best.of.2`?\s+(cannot\s+be|compares)",
    ),
}


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("surface", SAYING)
def test_every_surface_reads_what_the_model_answers_in_words(
    session, folder, server, nodes, monkeypatch, caplog, surface, name
):
    case, words = SAID[name]
    given = {"command": monkeypatch, "http": server, "assistant": server, "nodes": nodes}
    try:
        said = SAYING[surface](case, session, folder, given.get(surface))
    except (AssertionError, SwiftPieError) as error:
        said = error
    assert re.search(words, f"{caplog.text} {said}")


LONG = Case("personalize", "a kitten on a beach, " + "red and blue and " * 30 + "green")
SMALL = change("insert", "a kettle", has_subject=True)
WARNED = {
    "long prompt": (LONG, "A prompt was cut"),
    "small thing": (SMALL, "too little to be seen"),
}


@pytest.fixture(scope="module")
def wide(folder, tmp_path_factory):
    """Return the folder with a photograph that shows things from afar."""
    own = tmp_path_factory.mktemp("wide")
    scene_library().image("meadow").resize((300, 200)).save(own / "photo.png")
    (own / "subject.png").write_bytes((folder / "subject.png").read_bytes())
    return own


@pytest.mark.parametrize("name", WARNED)
def test_every_answer_carries_the_warnings(session, wide, server, nodes, name):
    (case, words), place = WARNED[name], wide
    result = (
        session.generate(case.prompt, seed=SEED)
        if case is LONG
        else session.insert(
            place / "photo.png", session.encode_identity(place / "subject.png"), prompt=case.prompt
        )
    )
    (wanted,) = (warning for warning in result.warnings if words in warning)
    answers = {
        "batch": drawn_by_batch(case, session, place)["warnings"],
        "http": asked_over_http(case, place, server).json["swiftpie"]["warnings"],
        "assistant": asked_by_assistant(case, place, server)[1]["warnings"],
        "nodes": shown_by_nodes(case, session, place, nodes).splitlines(),
    }
    for surface, warnings in answers.items():
        said = remedies.spelled(wanted, TONGUES[surface]) if surface in TONGUES else wanted
        assert warnings.count(said) == 1, (surface, warnings)


def shown_by_nodes(case, session, folder, nodes):
    if case is LONG:
        return nodes["Personalize"].execute(session, case.prompt, SEED, 1).ui
    shown, photo = (as_image(load_image(folder / f"{name}.png")) for name in ("subject", "photo"))
    subject, _ = nodes["EncodeIdentity"].execute(session, shown).args
    words = (session, photo, case.prompt, "", SEED, 0.0)
    return nodes["Edit"].execute(*words, subject=subject, task="insert").ui


def test_the_command_writes_its_warnings_as_json_too(session, folder, monkeypatch):
    monkeypatch.setattr("swiftpie.engine.load.load", lambda *_, **__: session)
    words = ("personalize", folder / "subject.png", LONG.prompt, "-o", folder / "long.png")
    result = CliRunner().invoke(app, [*map(str, words), "--seed", "1", "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["pictures"]
    assert any("A prompt was cut" in warning for warning in row["warnings"])


OPEN = "…"  # what differs from one call to the next, or between machines
ANSWER = {
    "created": OPEN,
    "created_at": OPEN,
    "background": "opaque",
    "output_format": "png",
    "quality": "auto",
    "size": "128x128",
    "data": [{"b64_json": OPEN}],
}
OWN = {"seeds": [SEED], "model": "mini", "timings_ms": OPEN, "warnings": []}
HEADERS = {
    *("date", "server-timing", "content-length", "content-type", "x-content-type-options"),
    *("referrer-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"),
    *("content-security-policy", "permissions-policy", "cache-control", "x-request-id"),
    "openai-processing-ms",
}
FACTS = {"seeds": [SEED], "model": "mini", "size": "128x128"}
DRAWN = (
    "Drawn: 'kitten', and so the place (drawn city street). For photographs give a picture of it, "
    "or `scene='city street'` for the place alone."
)
CAT = {"named": [{"word": "kitten", "name": "cat", "near": ["cat face"]}], "warnings": [DRAWN]}
PLACE = {"box": list(BOX)}
OUTCOME = {"place": "jobs.jsonl, line 1", "status": "done", "bytes": OPEN, "ms": OPEN}
OUTCOME |= {"sha256": OPEN}
OUTCOME |= {"seed": SEED, "preset": "mini", "warnings": [], "cutouts": []}
NOT_RANDOM = "The seed has no effect: nothing of this edit is random."
CUT = {"way": "transparency", "confidence": 1.0, "is_cut": False, "cut_at": ""}
SHOWN = {"branches": ["semantic", "detail", "aligned detail"], "cutouts": [[CUT]]}
ANSWERS = {  # what HTTP and assistants say, the words that HTTP counts, and the line of a report
    "one subject": ({}, 5, {"id": "subject-a-robot-on-a-beach-s5-5b0f166f", **SHOWN}),
    "named subject": (CAT, 7, {"id": "a-kitten-in-a-city-at-night-s5-601850c3", **SHOWN, **CAT}),
    "material": (
        {},
        5,
        {"id": "photo-a-dog-made-of-gold-s5-f5da2e3b", "branches": [], "warnings": [NOT_RANDOM]},
    ),
    "insertion": (PLACE, 2, {"id": "photo-insert-subject-a-robot-s5-eb5bbead", **SHOWN}),
    "removal by a mask": ({}, 0, {"id": "photo-remove-s5-001261d0", "branches": []}),
}


def frozen(answer):
    open_ones = {"created", "created_at", "timings_ms", "bytes", "ms", "sha256"}
    return {name: OPEN if name in open_ones else value for name, value in answer.items()}


def in_words_of(tongue, facts):
    warnings = [remedies.spelled(warning, tongue) for warning in facts.get("warnings", ())]
    return facts | ({"warnings": warnings} if warnings else {})


@pytest.mark.parametrize("name", thorough_but(ANSWERS, ("named subject", "removal by a mask")))
def test_answers_keep_their_form(session, folder, server, name):
    case, (own, words, outcome) = CASES[name], ANSWERS[name]
    answer = asked_over_http(case, folder, server)
    assert {header.lower() for header, _ in answer.getheaders()} == HEADERS
    facts = frozen(answer.json) | {"data": [{**answer.json["data"][0], "b64_json": OPEN}]}
    facts["swiftpie"] = frozen(facts["swiftpie"])
    usage = {"input_tokens": words, "output_tokens": 0, "total_tokens": words}
    usage |= {"input_tokens_details": {"image_tokens": 0, "text_tokens": words}}
    over_http, by_tool = (in_words_of(tongue, own) for tongue in TONGUES.values())
    assert facts == {**ANSWER, "usage": usage, "swiftpie": OWN | over_http}
    assert asked_by_assistant(case, folder, server)[1] == FACTS | by_tool
    reported = frozen(drawn_by_batch(case, session, folder))
    del reported["folder"]
    file = {"file": f"{outcome['id']}.png", "prompt": case.prompt}
    assert reported == OUTCOME | file | outcome
