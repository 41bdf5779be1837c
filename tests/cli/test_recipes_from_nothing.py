"""Every recipe from an empty cache to a picture by one command, with tiny published weights."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from swiftpie.backbones.presets import RECIPES, Recipe, Use
from swiftpie.backbones.sources import is_here, plan_faces
from swiftpie.engine.load import plan_downloads
from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.writing import read_metadata
from tests.fixtures.mock_hub import clean_machine
from tests.fixtures.published_world import OTHER, PUBLISHED, RELEASE
from tests.policy.project import ROOT
from tests.tiny.faces import PHOTO

PAGE = ROOT / "docs" / "full-size.md"
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
    assert not is_here(recipe)

    own = [encoder for encoder in encoders_of(recipe) if encoder == recipe.face_encoder]
    check_page(recipe, files_of(planned(recipe, faces=own, dtype="bfloat16")))
    needs = planned(recipe, faces=encoders_of(recipe))
    wanted = files_of(needs)

    hub.forget()
    call(*command, "-o", machine / "out.webp", "--yes")
    asked = {content(hub, place) for place in hub.files}
    assert asked == {content(hub, place) for place in wanted}  # twins in two folders come once
    assert OTHER not in asked
    assert needs.bytes_left == 0
    assert sum(map(len, asked)) <= hub.sent < sum(map(len, asked)) + HEADERS_BYTES
    assert is_here(recipe)
    assert read_metadata(machine / "out.webp")["recipe"] == name

    hub.forget()
    call(*command, "-o", machine / "again.webp", "--offline")
    assert (machine / "again.webp").read_bytes() == (machine / "out.webp").read_bytes()
    assert not hub.asked

    call("verify", "--recipe", name, "--offline", "--report", machine / "report.json")
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
    return plan_downloads(recipe=recipe, **choices) + plan_faces(faces, {})


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
    return ["personalize", picture, "a dog"]


def check_page(recipe, places):
    """Compare what the page says that a recipe costs with the published sizes of its files."""
    (row,) = [
        line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{recipe.name}` |")
    ]
    licence = row.split("|")[4].strip()
    listed = [place.partition(":") for place in places]
    files = [PUBLISHED["repositories"][one]["files"][path] for one, _, path in listed]
    weights = [
        file["size"]
        for file, (_, _, path) in zip(files, listed, strict=True)
        if path.endswith((".safetensors", ".onnx", ".bin"))
    ]
    known = sum(size for size in weights if size) / 1e9
    number = float(re.search(r"[\d.]+", licence)[0])
    assert licence.startswith("about ") == (None in weights)
    named = {place.repository for place in recipe.references.values()}
    assert ("release" in licence) == (RELEASE in named)
    assert known < number if None in weights else round(known, 1) == number


def content(hub, place):
    repository, _, path = place.partition(":")
    return hub.repositories[repository].files[path]
