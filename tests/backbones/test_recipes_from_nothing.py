"""Every recipe from an empty cache to a picture, with tiny weights in the published layouts."""

from dataclasses import replace

import numpy as np
import pytest

import swiftpie
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.face_files import fetch_faces
from swiftpie.backbones.recipe import RECIPES, Recipe, Use
from swiftpie.backbones.settle import is_here, settle
from swiftpie.faces.face import FACE_ENCODERS
from tests.faces.tiny_faces import PHOTO
from tests.fixtures.mock_hub import clean_machine, serving
from tests.fixtures.published_world import OTHER, published_world

SIDE_PX = 64  # else most of the time goes into pixels
HEADERS_BYTES = 150_000  # of adapters, which are looked at before the rest, and of settings


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serving(published_world(tmp_path_factory.mktemp("published"))) as hub:
        yield hub


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


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("name", RECIPES.names())
def test_from_an_empty_cache_to_a_picture_and_again_offline(hub, sprite, name):
    recipe = RECIPES.get(name)
    if "lora" in recipe.preset:
        pytest.importorskip("peft")
    preset, choices = settle(None, recipe, {"dtype": "float16"})
    needs = FAMILIES.get(preset.family).needs(preset, device="cpu", choices=choices)
    planned = {f"{part.listing.repository}:{file.path}" for part, file in needs.missing}
    size = needs.bytes_left
    before = hub.sent
    assert before < HEADERS_BYTES
    assert not any(one.endswith(("model.safetensors", ".bin", ".gz")) for one in hub.files)

    session = swiftpie.load(recipe=name, dtype="float16")
    taken = {content(hub, place) for place in hub.files}
    assert {content(hub, place) for place in planned} <= taken  # what two folders share comes once
    assert all(one.endswith("config.json") for one in hub.files - planned)
    assert OTHER not in taken
    assert size <= hub.sent - before < size + HEADERS_BYTES
    assert is_here(recipe)
    assert session.components.preset.defaults.items() >= recipe.scales.items()

    encoder = None if recipe.face_encoder is None else _face_encoder(recipe.face_encoder)
    hub.forget()
    session = swiftpie.load(recipe=name, dtype="float32", offline=True)
    picture = draw(session, recipe, sprite, encoder)
    assert np.asarray(picture).std() > 0
    assert not hub.asked


def draw(session, recipe, sprite, encoder):
    """Return what the recipe was put together for."""
    if recipe.use is Use.EDIT:
        return session.edit(sprite, "a dog", source_prompt="a cat", seed=1).image
    if recipe.use is Use.PERSONALIZE:
        identity = session.encode_identity(sprite)
        return session.personalize(identity, "a dog", seed=1).images[0]
    face = session.encode_face(PHOTO, encoder=encoder)
    return session.face(face, "a person", seed=1).images[0]


def _face_encoder(name):
    pytest.importorskip("onnxruntime")
    return FACE_ENCODERS.get(name).open(fetch_faces([name]))


def content(hub, place):
    """Return what a file holds, which is `OWNER/REPO:PATH`."""
    repository, _, path = place.partition(":")
    return hub.repositories[repository].files[path]
