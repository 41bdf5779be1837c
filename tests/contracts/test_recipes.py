"""What every recipe has to be."""

import re
from typing import get_args

import pytest

from swiftpie.backbones.choices import Choices, Precision
from swiftpie.backbones.hub import FACTS, Host
from swiftpie.backbones.licences import recipe_terms
from swiftpie.backbones.presets import RECIPES, Capability, Use, WeightsKind
from swiftpie.backbones.sources import plan_published
from swiftpie.faces import FACE_ENCODERS
from swiftpie.pipelines.settings import Scales

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


def test_its_parts_are_of_commits_that_are_known_and_in_what_was_published(recipe):
    needs = plan_published(recipe)
    assert all(part.names for part in needs.parts)
    for place in recipe.references.values():
        if place.host is Host.GITHUB:
            assert place.revision == FACTS["releases"][place.repository]["tag"]
        else:
            is_unknown = place.revision is None and place.repository in NOT_PINNED
            assert is_unknown or re.fullmatch(r"[0-9a-f]{40}", place.revision)


def test_the_terms_of_all_its_parts_are_known(recipe):
    terms = recipe_terms(recipe)
    assert {"preset"} <= {term.part for term in terms}
    for part in ("base", "adapter", "image_encoder", "inversion", "autoencoder"):
        has_it = getattr(recipe, part) is not None
        assert (part.replace("_", " ") in {term.part for term in terms}) == has_it
    assert all("bring" not in term.licence for term in terms)
