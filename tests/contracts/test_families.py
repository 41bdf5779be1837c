"""A family is one file of networks, presets and recipes, which loads PyTorch when it draws."""

import importlib
import json
import re
from pathlib import Path

import pytest

from swiftpie.backbones import families
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.presets import PRESETS, RECIPES
from tests.policy.project import SOURCE, python_files, shown
from tests.processes import printed_by

NAMES = sorted(path.stem for path in Path(families.__file__).parent.glob("[!_]*.py"))
LOADED = """
import json, sys
from swiftpie.backbones.presets import PRESETS, RECIPES
known = [*PRESETS.all(), *RECIPES.all()]
print(json.dumps([len(known), "torch" in sys.modules, "numpy" in sys.modules]))
"""


def test_presets_and_recipes_load_no_tensor_library():
    number, *are_loaded = json.loads(printed_by(LOADED))
    assert number > 30
    assert are_loaded == [False, False]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_family_is_defined_elsewhere(name):
    module = importlib.import_module(f"swiftpie.backbones.families.{name}")
    known = getattr(module, "FAMILIES", None) or {module.FAMILY.name: module.FAMILY}
    presets = {key: one for key, one in PRESETS.all().items() if one.family in known}
    assert presets == {**module.PRESETS}
    recipes = {key: one for key, one in RECIPES.all().items() if one.preset in presets}
    assert recipes == {**module.RECIPES}
    assert {FAMILIES.get(family) is known[family] for family in known} == {True}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "stable_diffusion"])
def test_no_other_file_of_the_library_names_its_models(name):
    module = importlib.import_module(f"swiftpie.backbones.families.{name}")
    named = {*module.PRESETS, *module.RECIPES}
    words = re.compile(rf"\b({'|'.join(named)})\b")
    own = {Path(module.__file__)}
    others = {*python_files(SOURCE)} - own - {*python_files(SOURCE / "cli")}  # shows examples
    assert not [shown(path) for path in others if words.search(path.read_text(encoding="utf-8"))]
