import json

import pytest

from swiftpie.backbones.hub import RepoReference
from swiftpie.backbones.licences import BASES, everything, licence_of, recipe_terms, terms_at
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.faces import FACE_ENCODERS


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


def test_a_recipe_lists_all_its_parts(call):
    listed = json.loads(call("licenses", "face-plus", "--json").stdout)
    assert listed == [term._asdict() for term in recipe_terms(RECIPES.get("face-plus"))]
    assert {term["part"] for term in listed} >= {"preset", "adapter", "face encoder"}


@pytest.mark.parametrize(
    ("repository", "stated", "counts"),
    [
        ("stabilityai/sdxl-turbo", "sai-nc-community", False),
        ("stabilityai/sd-turbo", "other", False),
        ("black-forest-labs/FLUX.2-klein-4B", "apache-2.0", False),
        ("black-forest-labs/FLUX.2-klein-4B", "flux-non-commercial", True),
        ("ByteDance/SDXL-Lightning", "cc-by-nc-4.0", True),
        ("h94/IP-Adapter-FaceID", "apache-2.0", False),
        ("someone/else", "apache-2.0", True),
    ],
)
def test_downloads_name_the_licence_that_is_listed_unless_the_card_is_stricter(
    repository, stated, counts
):
    known = terms_at(repository)
    expected = stated if counts else known.licence
    assert licence_of(RepoReference(repository), stated) == expected
