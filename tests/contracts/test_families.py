"""A family is one file of networks, and one of the same name with its presets and recipes."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from swiftpie.backbones import families, presets
from tests.policy.project import SOURCE, python_files, shown

NETWORKS, FACTS = (
    {path.stem for path in Path(package.__file__).parent.glob("[!_]*.py")}
    for package in (families, presets)
)


def test_networks_and_facts_are_files_of_the_same_names():
    assert NETWORKS == FACTS


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_nothing_of_a_family_is_defined_elsewhere(name):
    networks = importlib.import_module(f"swiftpie.backbones.families.{name}")
    facts = importlib.import_module(f"swiftpie.backbones.presets.{name}")
    known = getattr(networks, "FAMILIES", None) or {networks.FAMILY.name: networks.FAMILY}
    assert {type(family).__module__ for family in known.values()} == {networks.__name__}
    assert {preset.family for preset in facts.PRESETS.values()} == {*known}
    recipes = getattr(facts, "RECIPES", {})
    assert {recipe.preset for recipe in recipes.values()} <= {*facts.PRESETS}


@pytest.mark.parametrize("name", sorted(NETWORKS - {"stable_diffusion"}))
def test_no_other_file_of_the_library_names_its_models(name):
    networks = importlib.import_module(f"swiftpie.backbones.families.{name}").FAMILY
    facts = importlib.import_module(f"swiftpie.backbones.presets.{name}")
    classes = (networks.denoiser_class, networks.autoencoder_class)
    named = {kind.__name__ for kind in classes if name in kind.__name__.lower()}
    words = re.compile(rf"\b({'|'.join({*facts.PRESETS, *facts.RECIPES, *named})})\b")
    own = {Path(sys.modules[type(networks).__module__].__file__), Path(facts.__file__)}
    others = {*python_files(SOURCE)} - own - {*python_files(SOURCE / "cli")}  # which shows examples
    assert not [shown(path) for path in others if words.search(path.read_text(encoding="utf-8"))]
