import ast
import importlib
import inspect
import re

import pytest

import swiftpie
from tests.policy.project import ROOT, SOURCE

PAGE = ROOT / "docs" / "concepts.md"
EAGER = "swiftpie.errors"  # the one module whose names are there without a lookup


def declared():
    """The module of each public name, as `__init__.py` tells readers and type checkers."""
    found = {}
    for node in ast.walk(ast.parse((SOURCE / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("swiftpie"):
            found |= {alias.name: node.module for alias in node.names}
    return found


def documented(text):
    section = text.partition("\n## Names in Python\n")[2].partition("\n## ")[0]
    return re.findall(r"`(\w+)`", section.partition("\n- ")[2])


def parts_of(found):
    """A public object, and the public methods and properties of a class."""
    own = vars(found) if inspect.isclass(found) else {}
    parts = [getattr(found, name) for name in own if not name.startswith("_")]
    return [found, *(part for part in parts if inspect.isfunction(part) or hasattr(part, "fget"))]


@pytest.mark.parametrize("names", [declared(), documented(PAGE.read_text())], ids=["types", "docs"])
def test_the_public_names_are_those_that_type_checkers_see_and_documents_promise(names):
    in_order = sorted(names, key=lambda name: (not name.isupper(), name))  # as `ruff` has them
    assert in_order == swiftpie.__all__


def test_a_name_is_the_object_that_type_checkers_see():
    for name, module in declared().items():
        found = getattr(swiftpie, name)
        if not name.isupper():  # a constant
            assert inspect.isclass(found) or inspect.isfunction(found), name
            assert all(map(inspect.getdoc, parts_of(found))), name
            assert found.__module__.startswith("swiftpie."), name
        assert found is getattr(importlib.import_module(module), name), name


def test_names_that_are_not_loaded_yet_are_listed():
    assert {name for name, module in declared().items() if module != EAGER} <= {*dir(swiftpie)}


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = swiftpie.no_such_name


BY_HAND = "by_hand.py"  # which shows what is inside
EXAMPLES = [path for path in (ROOT / "examples").glob("*.py") if path.name != BY_HAND]
CLIENTS = [*(ROOT / "integrations").rglob("*.py"), *EXAMPLES]


@pytest.mark.parametrize("path", CLIENTS, ids=lambda path: path.name)
def test_nodes_and_examples_need_public_names_alone(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    from_imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    modules += [node.module for node in from_imports]
    assert [name for name in modules if name.startswith("swiftpie.")] == []
    names = [a.name for node in from_imports if node.module == "swiftpie" for a in node.names]
    names += [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "swiftpie"
    ]
    assert set(names) <= set(swiftpie.__all__)
