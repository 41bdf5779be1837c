"""A family is one file of networks, and one of the same name with its presets and recipes."""

import importlib
from pathlib import Path

import pytest

from swiftpie.backbones import families, presets

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
