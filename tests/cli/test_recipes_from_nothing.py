"""Every recipe from an empty cache to a picture by one command, with tiny published weights."""

import json
import shutil
from dataclasses import replace

import pytest

from swiftpie.backbones.presets import RECIPES, Recipe, Use
from swiftpie.backbones.sources import is_downloaded, plan_files, plan_published
from swiftpie.engine.load import plan_downloads
from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.writing import read_metadata
from tests.fixtures.mock_hub import clean_machine
from tests.fixtures.published_world import OTHER, RELEASE
from tests.tiny.faces import PHOTO

SIDE_PX = 64  # else most of the time goes into pixels
HEADERS_BYTES = 150_000  # of adapters, which are looked at before the rest, and of settings
SLOW = {"faceid-hyper", "faceid-lcm"}  # as `faceid-lightning`, on LoRAs that others bring too


@pytest.fixture
def machine(hub, tmp_path, monkeypatch):
    original = Recipe.apply
    monkeypatch.setattr(
        Recipe,
        "apply",
        lambda recipe, preset=None: replace(original(recipe, preset), image_size_px=SIDE_PX),
    )
    with clean_machine(hub, tmp_path) as home:
        yield home


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RECIPES.names()],
)
def test_from_an_empty_cache_to_a_picture_and_again_offline(call, hub, machine, hamster, name):
    recipe = RECIPES.get(name)
    if "lora" in recipe.preset or recipe.apply().lora:
        pytest.importorskip("peft", reason="needs swiftpie[lora]")
    if recipe.use is Use.FACE:
        pytest.importorskip("onnxruntime", reason="needs swiftpie[faces]")
    command = [*command_for(recipe, hamster), "--recipe", name, "--seed", 1]
    if any(place.repository == RELEASE for place in recipe.references.values()):
        call(*command, "-o", machine / "no.webp", code=1, says="swiftpie fetch")
        fetched = call("fetch", name, "--yes")
        assert f"--recipe {name}" in fetched.stderr  # the next command
        command += ["--method", "inversion"] * ("--method inversion" in fetched.stderr)
        shutil.rmtree(machine / "hub")
        hub.forget()

    call(*command, "-o", machine / "no.webp", code=2, says="Add --yes")
    assert hub.sent < HEADERS_BYTES
    assert not is_downloaded(recipe)

    in_package = files_of(plan_published(recipe))
    assert in_package == files_of(planned(recipe, faces=[], dtype="bfloat16"))
    needs = planned(recipe, faces=encoders_of(recipe))
    wanted = files_of(needs)

    hub.forget()
    call(*command, "-o", machine / "out.webp", "--yes")
    asked = {content(hub, place) for place in hub.files}
    assert asked == {content(hub, place) for place in wanted}  # twins in two folders come once
    assert OTHER not in asked
    assert needs.bytes_left == 0
    assert sum(map(len, asked)) <= hub.sent < sum(map(len, asked)) + HEADERS_BYTES
    assert is_downloaded(recipe)
    assert read_metadata(machine / "out.webp")["recipe"] == name

    hub.forget()
    call(*command, "-o", machine / "again.webp", "--offline")
    assert (machine / "again.webp").read_bytes() == (machine / "out.webp").read_bytes()
    assert not hub.asked

    options = ("--dtype", "float32", "--report", machine / "report.json")
    call("verify", "--recipe", name, "--offline", *options)
    report = json.loads((machine / "report.json").read_text())
    assert report["is_equal"] is True
    assert str(machine) not in json.dumps(report)
    assert not hub.asked


def encoders_of(recipe):
    if recipe.face_encoder is None:
        return []
    is_published = FACE_ENCODERS.get(recipe.face_encoder).is_published
    return [recipe.face_encoder if is_published else "opencv"]


def planned(recipe, *, faces, **choices):
    return plan_downloads(recipe=recipe, **choices) + plan_files(faces, {})


def files_of(needs):
    return {f"{part.listing.repository}:{file.path}" for part, file in needs.missing}


def command_for(recipe, picture):
    if recipe.use is Use.EDIT:
        return ["edit", picture, "a dog", "--source-prompt", "a cat"]
    if recipe.use is Use.FACE:
        (encoder,) = encoders_of(recipe)
        return ["personalize", "--face", PHOTO, "a person in watercolours", "--encoder", encoder]
    if recipe.use is Use.ANIMATE:
        return ["animate", picture, "a dog", "--num-frames", 2]
    detail = ["--detail", "joint"] if recipe.name == "sdxs" else []  # else from words alone
    return ["personalize", picture, "a dog", *detail]


def content(hub, place):
    repository, _, path = place.partition(":")
    return hub.repositories[repository].files[path]
