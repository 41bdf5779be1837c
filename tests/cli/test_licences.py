import json

from swiftpie.backbones.licences import BASES, everything, recipe_terms
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.faces import FACE_ENCODERS
from swiftpie.models import rembg


def test_everything_holds_every_part_once_with_a_licence():
    found = everything()
    assert len(set(found)) == len(found)
    assert all(term.licence and term.part for term in found)
    names = {term.name for term in found}
    presets = PRESETS.all()
    assert {*presets} <= names
    assert {preset.base for preset in presets.values() if preset.base} == {*BASES} & names
    encoders = FACE_ENCODERS.all().items()
    assert {f"{name}: {file.name}" for name, choice in encoders for file in choice.files} <= names
    assert {f"rembg: {model.name}" for model in rembg.MODELS} <= names


def test_a_recipe_lists_all_its_parts(call):
    listed = json.loads(call("licenses", "face-plus", "--json").stdout)
    assert listed == [term._asdict() for term in recipe_terms(RECIPES.get("face-plus"))]
    assert {term["part"] for term in listed} >= {"preset", "adapter", "face encoder"}


def test_only_what_is_commercial_is_listed_on_request(call):
    listed = json.loads(call("licenses", "--commercial-only", "--json").stdout)
    assert {term["is_commercial"] for term in listed} == {True}
    assert "opencv" in call("licenses", "opencv").stdout
    assert json.loads(call("licenses", "insightface", "--commercial-only", "--json").stdout) == []


def test_an_unknown_name_is_refused_with_similar_ones(call):
    result = call("licenses", "sdxl-turba")
    assert (result.exit_code, "sdxl-turbo" in result.stderr) == (2, True)
