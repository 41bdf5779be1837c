"""What every technique has to do, and that a further one is one file."""

import importlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
import torch
from PIL import ImageChops, ImageOps
from torch import nn

from swiftpie import (
    AnimateRequest,
    EditRequest,
    EditSettings,
    InputError,
    MaskSource,
    PersonalizeRequest,
    Scales,
    Session,
    Subject,
)
from swiftpie.mini.networks import TECHNIQUES as OF_MINI
from swiftpie.pipelines import methods as ours
from swiftpie.pipelines.choose import TECHNIQUES, _in_turn, choose
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.request import ConditionPart, _names_of
from swiftpie.pipelines.settings import METHODS, methods, owners
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.types import EditResult
from tests.golden.cases import BOX, SIDE_PX, photo
from tests.golden.networks import mini, moving_networks, random_networks, reading_networks
from tests.parity.tiny import picture
from tests.policy.project import ROOT
from tests.processes import install, printed_by
from tests.quick import thorough_but

PROMPT, SOURCE = "a dinosaur in a forest", "a dinosaur on a beach"
WHOLE = torch.ones(1, 1, SIDE_PX, SIDE_PX)
RIGHT = WHOLE * (torch.arange(SIDE_PX) >= SIDE_PX // 2)


def drawing(session, **request):
    subject = Subject(session.encode_identity(picture(0)))
    return PersonalizeRequest(**{"subjects": (subject,), "prompt": PROMPT, "seeds": (3,)} | request)


def animation(session):
    subject = Subject(session.encode_identity(picture(0)))
    return AnimateRequest(
        subjects=(subject,),
        prompt=PROMPT,
        to=(f"{PROMPT} at night",),
        num_frames=3,
        seeds=(3,),
        size_px=(SIDE_PX, SIDE_PX),
    )


BY_INVERSION = EditSettings(method="inversion", accept_smear=True)


def edit(**request):
    return EditRequest(**{"image": photo(), "prompt": PROMPT, "seed": 3} | request)


def garment(session):
    shown = session.encode_identity(picture(0))
    return RetouchRequest(image=photo(), mask=BOX, seed=3, source=shown, keep_pose=True)


def insertion(session):
    newcomer = session.encode_identity(picture(0))
    return RetouchRequest(image=photo(), source=newcomer, box=(0.1, 0.3, 0.6, 1.0), seed=3)


def removal():
    return RetouchRequest(image=photo(), mask=BOX, seed=3)


def moving(session):
    subject = Subject(session.encode_identity(picture(0)), box=(0.0, 0.3, 0.6, 1.0))
    box = (0.4, 0.3, 1.0, 1.0)
    return AnimateRequest(
        subjects=(subject,), prompt=PROMPT, to_boxes=(box,), num_frames=3, seeds=(3,)
    )


CASES = {  # by technique: networks, and a request that it draws with them
    "personalize": (lambda: random_networks("sd15"), drawing),
    "scene": (lambda: random_networks("sd15"), lambda session: drawing(session, scene="beach")),
    "panorama": (
        lambda: random_networks("sd15"),
        lambda session: drawing(session, subjects=(), size_px=(SIDE_PX, 3 * SIDE_PX)),
    ),
    "animate": (moving_networks, moving),
    "inversion": (
        lambda: random_networks("sd21", inverts=True),
        lambda _: edit(source_prompt=SOURCE),
    ),
    "chord": (lambda: random_networks("sd21"), lambda _: edit(source_prompt=SOURCE)),
    "reference": (reading_networks, lambda _: edit()),
    "insert": (lambda: random_networks("sd15"), lambda _: removal()),
    "garment": (lambda: random_networks("sd15"), garment),
    "mini 0": (mini, drawing),
    "mini 1": (mini, lambda _: edit(prompt="a blue dog", settings=BY_INVERSION)),
    "mini 2": (mini, lambda _: edit(prompt="at night")),
    "mini 3": (mini, insertion),
    "mini 4": (mini, lambda _: removal()),
    "mini 5": (mini, animation),
    "mini 6": (mini, lambda session: drawing(session, prompt="a pencil drawing of a dinosaur")),
    "mini 7": (mini, lambda session: drawing(session, scene="words")),
}


# Requests that show a subject to be silenced, or have no region, where the usual ones do not.
SILENCED = {
    "scene": lambda session: drawing(session, scene="beach", subjects=(boxed(session),)),
    "panorama": lambda session: drawing(
        session, subjects=(boxed(session),), mask=MaskSource.BOX, size_px=(SIDE_PX, 3 * SIDE_PX)
    ),
    **{
        name: lambda session, ask=CASES[name][1]: replace(ask(session), without={*ConditionPart})
        for name in ("mini 6", "mini 7")
    },
}
UNMARKED = {"animate": lambda session: replace(animation(session), size_px=None)}

FOUND = "without a mask, the region is found and is a part of the picture"
GOES = "a mask says what goes, and without one nothing does"
OWN_PIXELS = "the subject is laid into the picture with its own pixels, which no scale reaches"
NO_SUBJECT = "a subject is refused"
NOT_ASKED = {  # by property: of which techniques it is not asked, and why
    "scale of 0": {
        **dict.fromkeys(("mini 0", "mini 3", "mini 4", "mini 5"), OWN_PIXELS),
        **dict.fromkeys(("reference", "mini 2"), NO_SUBJECT),
    },
    "no subject": {
        "scene": "a scene is drawn for a subject, and refused without one",
        **dict.fromkeys(("insert", "garment"), "without a subject, something is removed"),
        "mini 1": "without a subject, the picture's own look is read",
        **dict.fromkeys(("mini 6", "mini 7"), "without a subject, nothing is drawn from words"),
    },
    "mask of all": {
        **dict.fromkeys(("inversion", "chord", "mini 1"), FOUND),
        **dict.fromkeys(("insert", "garment", "mini 3", "mini 4"), GOES),
        "scene": "a subject is inserted into a box, and a mask has no effect",
        "panorama": "a subject without a region is refused",
    },
    **{asked_of_all: {} for asked_of_all in ("batch", "cache", "undo", "threads")},
}
EDITS = ("inversion", "chord", "reference", "mini 1", "mini 2")


def boxed(session):
    return Subject(session.encode_identity(picture(0)), box=(0.1, 0.3, 0.6, 1.0))


@pytest.fixture(params=CASES)
def case(request):
    networks, ask = CASES[request.param]
    session = networks()
    return request.param, session, ask(session)


def asked(prop, quick=CASES):
    """Ask a property of each technique but those that the table excepts."""
    names = [name for name in CASES if name not in NOT_ASKED[prop]]
    return pytest.mark.parametrize("case", thorough_but(names, quick), indirect=True)


def pictures(result):
    return [result.image] if isinstance(result, EditResult) else list(result.images)


def levels(first, second):
    pairs = zip(pictures(first), pictures(second), strict=True)
    return max(max(most for _, most in ImageChops.difference(*pair).getextrema()) for pair in pairs)


def reseeded(request, seed):
    is_drawing = isinstance(request, PersonalizeRequest)
    return replace(request, seeds=(seed,)) if is_drawing else replace(request, seed=seed)


def showing(request, identity):
    """Return a request with another subject in place of each, or without one."""
    if not isinstance(request, PersonalizeRequest):
        return replace(request, source=identity)
    if identity is not None:
        shown = (replace(subject, source=identity) for subject in request.subjects)
        return replace(request, subjects=tuple(shown))
    still = {"to_boxes": ()} if isinstance(request, AnimateRequest) else {"mask": MaskSource.NONE}
    return replace(request, subjects=(), **still)


def silenced(request):
    scales = Scales(identity_scale=0.0, detail_scale=0.0, background_scale=0.0, text_scale=1.0)
    if not isinstance(request, EditRequest):
        return replace(request, scales=scales)
    said = request.settings
    settings = EditSettings(method=said.method, own=said.own, scales=scales)
    return replace(request, settings=settings)


def masked(request, mask):
    if isinstance(request, EditRequest):
        return replace(request, mask=mask)
    shown = (replace(subject, mask=mask) for subject in request.subjects)
    return replace(request, subjects=tuple(shown))


def another(session, request):
    """Return a request of the same kind for another picture, whatever its technique reads."""
    other = reseeded(request, 8)
    if isinstance(request, PersonalizeRequest):
        return showing(other, session.encode_identity(picture(1)))
    return replace(other, image=ImageOps.mirror(request.image.rotate(180)))


def test_every_technique_has_a_case():
    of_mini = {f"mini {number}" for number in range(len(OF_MINI))}
    assert {*CASES} == {*TECHNIQUES.names(), *METHODS.names()} | of_mini
    assert all({*reasons} < {*CASES} for reasons in NOT_ASKED.values())


def test_it_is_the_one_that_claims_its_requests(case):
    name, session, request = case
    known = TECHNIQUES.all() | METHODS.all()
    mine = OF_MINI[int(name[-1])] if name.startswith("mini") else known[name]
    assert choose(session.components, request).technique is mine
    claiming = [
        other
        for named, other in known.items()
        if type(request) is other.draws and other.suits(session.components, request)
        if named != mine.instead_of
    ]
    assert len(claiming) <= 1, "the order of names would decide"


@asked("cache", quick=("inversion", "reference", "mini 0"))
def test_what_is_cached_equals_what_is_not(case):
    _, session, request = case
    again = [session.draw(request) for _ in range(2)][1]
    # Prompts that are encoded together round otherwise than apart.
    assert levels(again, draw(session.components, request)) <= 1


@asked("batch", quick=("animate", "personalize", "chord", "reference", "mini 0", "mini 5"))
def test_a_picture_does_not_depend_on_those_beside_it(case):
    _, session, request = case
    requests = [request, another(session, request)]
    both = session.draw_together(requests)
    for one, alone in zip(both, map(session.draw, requests), strict=True):
        assert levels(one, alone) <= 2  # sums of two pictures at once are rounded otherwise


@pytest.mark.parametrize("case", EDITS, indirect=True)
def test_an_edit_changes_the_region_that_it_announces_and_nothing_else(case):
    _, session, request = case
    announced = session.find_region(request)
    result = session.draw(request)
    assert result.region.tobytes() == announced.tobytes()
    outside = np.asarray(announced) == 0
    assert (np.asarray(result.image)[outside] == np.asarray(request.image)[outside]).all()


@pytest.mark.parametrize("case", EDITS, indirect=True)
def test_an_edit_of_another_seed_is_another_picture_where_it_says_so(case):
    _, session, request = case
    first, second = (session.draw(reseeded(request, seed)) for seed in (3, 8))
    assert choose(session.components, request).follows_seed == (levels(first, second) > 0)


@asked("scale of 0")
def test_at_scale_0_a_subject_changes_nothing(case):
    name, session, request = case
    request = SILENCED.get(name, lambda _: request)(session)
    one, other = (showing(request, session.encode_identity(picture(n))) for n in (0, 1))
    assert levels(*map(session.draw, (one, other))) > 0
    silent = session.draw(silenced(one))
    assert levels(silent, session.draw(silenced(other))) == 0
    if name not in NOT_ASKED["no subject"]:
        assert levels(silent, session.draw(silenced(showing(request, None)))) == 0


@asked("mask of all")
def test_a_mask_of_all_equals_none(case):
    name, session, request = case
    request = UNMARKED.get(name, lambda _: request)(session)
    plain = session.draw(request)
    assert levels(plain, session.draw(masked(request, WHOLE))) == 0
    assert levels(plain, session.draw(masked(request, RIGHT))) > 0


def parts_of(components):
    """Return each part of the networks, what attends in them, and how often weights changed."""
    networks = [each for each in vars(components).values() if isinstance(each, nn.Module)]
    networks.append(components.denoiser.installation.network)
    modules = [module for network in networks for module in network.modules()]
    hooks = [[*each._forward_hooks.values(), *each._forward_pre_hooks.values()] for each in modules]
    # The first call of a tower of transformers leaves its own hooks there, which capture outputs.
    hooks = [hook for each in hooks for hook in each if "transformers" not in hook.__module__]
    changes = [weight._version for network in networks for weight in network.parameters()]
    return [*map(id, modules), *hooks, *changes, *networks[-1].attn_processors.values()]


@asked("undo", quick=("personalize", "inversion", "reference", "mini 0"))
def test_a_drawing_leaves_the_networks_which_can_be_undone(case):
    name, session, request = case
    if name == "inversion":
        request = replace(request, settings=EditSettings(mode="released"))
    parts = parts_of(session.components)
    first = draw(session.components, request)
    assert parts_of(session.components) == parts
    installation = session.components.denoiser.installation
    network, mine = installation.network, dict(installation.network.attn_processors)
    with installation:
        pass
    undone = dict(network.attn_processors)
    network.set_attn_processor(dict(mine))
    assert undone == dict(installation.originals)
    assert not {*undone.values()} & {*installation.semantic.values(), *installation.detail.values()}
    assert parts_of(session.components) == parts
    assert levels(first, draw(session.components, request)) == 0


@asked("threads", quick=("personalize", "chord", "reference", "mini 0"))
def test_two_threads_do_not_influence_each_other(case):
    _, session, request = case
    requests = [request, another(session, request)]
    alone = [draw(session.components, each) for each in requests]
    assert levels(*alone) > 1
    fresh, start = Session(session.components), Barrier(2)

    def work(each):
        start.wait(timeout=60)
        return [fresh.draw(each) for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        for wanted, found in zip(alone, pool.map(work, requests), strict=True):
            assert max(levels(wanted, each) for each in found) <= 1


PAGE = (ROOT / "docs" / "extending.md").read_text()
(CAROUSEL,) = re.findall(r"^```python\n(\"{3}Carousel.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def carousel(tmp_path, monkeypatch, request):
    """Another distribution, whose only file is `carousel.py`; or the same file in our folder."""
    (tmp_path / "carousel.py").write_text(CAROUSEL)
    if is_ours := getattr(request, "param", "offered") == "in our folder":
        monkeypatch.setattr(ours, "__path__", [*ours.__path__, str(tmp_path)])
        monkeypatch.setattr(ours.__spec__, "submodule_search_locations", ours.__path__)
    else:
        offer(tmp_path, monkeypatch)
    forget()
    yield tmp_path
    sys.modules.pop(f"{ours.__name__}.carousel" if is_ours else "carousel", None)
    vars(ours).pop("carousel", None)
    forget()


def offer(folder, monkeypatch):
    """Install the file in a folder as another distribution."""
    install(folder, "carousel", f"[{METHODS.entry_point_group}]", "carousel = carousel:TECHNIQUE")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()


def forget():
    for known in (_in_turn, _names_of, methods, owners):
        known.cache_clear()


@pytest.mark.usefixtures("carousel")
@pytest.mark.parametrize("carousel", ["offered", "in our folder"], indirect=True)
@pytest.mark.parametrize("networks", [mini, lambda: random_networks("sd15")], ids=["mini", "sd15"])
def test_one_file_adds_a_technique_that_users_choose_with_its_option(networks):
    session, picture = networks(), photo()
    settings = EditSettings(method="carousel", quarters=2)
    result = session.edit(picture, PROMPT, settings=settings)
    assert result.image.tobytes() == picture.rotate(180).tobytes()
    assert (result.record["method"], result.record["quarters"]) == ("carousel", "2")
    request = EditRequest(image=picture, prompt=PROMPT, seed=1, settings=settings)
    assert session.find_region(request).getextrema() == (255, 255)
    assert not choose(session.components, request).follows_seed


@pytest.mark.usefixtures("carousel")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quarters": 4}, "0 to 3"),
        ({"quarters": "twice"}, "quarters"),
        ({"chord": "fast"}, "belongs to edits by ChordEdit"),
        ({"quartets": 1}, "Did you mean quarters"),
    ],
)
def test_options_that_a_technique_lacks_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        mini().edit(photo(), PROMPT, settings=EditSettings(method="carousel", **options))


SURFACES = """
import base64, io, json, sys
from pathlib import Path
from PIL import Image
from pytest import MonkeyPatch
from typer.testing import CliRunner
import swiftpie.engine.load
from swiftpie import SwiftEditPipeline
from swiftpie.cli.main import app
from tests.contracts import test_surfaces as surfaces
from tests.golden.networks import mini
from tests.server import conftest as serve

folder, prompt, given = Path(sys.argv[1]), "a dog", {"method": "carousel", "quarters": 2}
picture, session, found = Image.open(folder / "photo.png"), mini(), {}
case = surfaces.Case("edit", prompt, given)
found["command"] = surfaces.by_command(case, session, folder, MonkeyPatch())
found["batch"] = surfaces.by_batch(case, session, folder, None)
pipe = SwiftEditPipeline.from_components(session.components)
found["pipeline"] = pipe(prompt, picture, **given).images[0]
sent = base64.b64encode((folder / "photo.png").read_bytes()).decode()
body = {"prompt": prompt, "images": [{"image_url": "data:image/png;base64," + sent}]}
with serve.serving(session) as server:
    answer = server.ask("POST", "/v1/images/edits", body=body | {"swiftpie": {"edit": given}})
assert answer.status == 200, answer.json
data = base64.b64decode(answer.json["data"][0]["b64_json"])
found["HTTP"] = Image.open(io.BytesIO(data))
turned = picture.rotate(180).tobytes()
equal = {name: image.convert("RGB").tobytes() == turned for name, image in found.items()}
shown = CliRunner().invoke(app, ["edit", "--help"]).output
print(json.dumps(equal | {"help": "--quarters" in shown and "carousel" in shown}))
"""


@pytest.mark.thorough
def test_every_surface_offers_that_technique_and_its_option(carousel):
    photo().save(carousel / "photo.png")
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = json.loads(printed_by(SURFACES, carousel, env=environment).splitlines()[-1])
    assert found == dict.fromkeys(("command", "batch", "pipeline", "HTTP", "help"), True)
