"""What every recipe has to be."""

import re
from typing import get_args

import pytest

from swiftpie.backbones.choices import Choices, Precision
from swiftpie.backbones.hub import Host
from swiftpie.backbones.licences import recipe_terms
from swiftpie.backbones.presets import PINS, RECIPES, Capability, Use, WeightsKind
from swiftpie.faces import FACE_ENCODERS
from swiftpie.pipelines.settings import Scales
from tests.fixtures.published_world import PUBLISHED

NOT_PINNED = {"ByteDance/AnimateDiff-Lightning", "wangfuyun/AnimateLCM"}  # no source names a commit


@pytest.fixture(params=RECIPES.names())
def recipe(request):
    return RECIPES.get(request.param)


def test_its_preset_takes_its_choices_and_can_do_what_it_is_for(recipe):
    preset = recipe.apply()
    assert recipe.steps is None or recipe.steps in preset.step_counts
    assert recipe.use is not Use.EDIT or Capability.EDIT in preset.capabilities
    assert recipe.use is not Use.EDIT or recipe.inversion is not None
    assert recipe.use is not Use.FACE or recipe.face_encoder in FACE_ENCODERS.names()
    assert recipe.choices().keys() <= Choices.__annotations__.keys()
    assert recipe.dtype is None or recipe.dtype in get_args(Precision)
    scales = Scales.of(preset)
    assert {name: getattr(scales, name) for name in recipe.scales} == dict(recipe.scales)


def test_all_that_a_part_of_a_model_lacks_is_named(recipe):
    assert recipe.weights is not None
    assert (recipe.base is None) == (recipe.apply().kind is WeightsKind.PIPELINE)
    assert recipe.adapter is None or recipe.image_encoder is not None
    has_pickle = any(str(place.path).endswith(".bin") for place in recipe.references.values())
    assert recipe.allow_pickle == has_pickle


def test_its_parts_are_of_commits_that_are_known(recipe):
    for place in recipe.references.values():
        if place.host is Host.HUB:
            is_unknown = place.revision is None and place.repository in NOT_PINNED
            assert is_unknown or re.fullmatch(r"[0-9a-f]{40}", place.revision)
            assert place.revision == PINS.get(place.repository, place.revision)
        else:
            assert place.revision == PUBLISHED["releases"][place.repository]["tag"]


def test_its_parts_are_in_what_was_published(recipe):
    for place in recipe.references.values():
        if place.host is Host.GITHUB:
            files = PUBLISHED["releases"][place.repository]["files"]
        else:
            listed = PUBLISHED["repositories"][place.repository]
            files = listed["files"]
            assert listed["revision"] == place.revision
        path = place.path or ""
        assert path in files if place.is_file else any(name.startswith(path) for name in files)


def test_the_terms_of_all_its_parts_are_known(recipe):
    terms = recipe_terms(recipe)
    assert {"preset"} <= {term.part for term in terms}
    for part in ("base", "adapter", "image_encoder", "inversion", "autoencoder"):
        has_it = getattr(recipe, part) is not None
        assert (part.replace("_", " ") in {term.part for term in terms}) == has_it
    assert all("bring" not in term.licence for term in terms)
