"""Files, functions and folders keep to the sizes that CONTRIBUTING.md states."""

import ast
import re
from collections import Counter

import pytest

from tests.policy.project import ROOT, SOURCE, TESTS, project_files, python_files, shown

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def limits():
    """The table in CONTRIBUTING.md as numbers."""
    rows = re.findall(
        r"^\| ([\w ]+) \| (\d+)(?: [\w ]+)? \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    return {thing: int(number) for thing, number in rows}


def nodes(path, kinds):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def num_lines(path):
    return len(path.read_text().splitlines())


def num_parameters(function):
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([argument for argument in named if argument.arg not in {"self", "cls"}])


def num_public_methods(node):
    return len([item for item in node.body if isinstance(item, FUNCTIONS) and item.name[0] != "_"])


def test_the_table_names_every_limit(limits):
    assert set(limits) == {
        "source file",
        "test file",
        "function",
        "parameters",
        "class",
        "folder",
        "README",
        "tracked file",
    }


@pytest.mark.parametrize(("folder", "thing"), [(SOURCE, "source file"), (TESTS, "test file")])
def test_python_files_are_short(limits, folder, thing):
    files = python_files(folder)
    assert files
    assert {shown(path): num_lines(path) for path in files if num_lines(path) > limits[thing]} == {}


def test_functions_are_short_and_take_few_parameters(limits):
    found = [
        (f"{shown(path)}:{node.lineno} {node.name}", node)
        for path in python_files(SOURCE)
        for node in nodes(path, FUNCTIONS)
    ]
    assert found
    lengths = {where: node.end_lineno - node.lineno + 1 for where, node in found}
    assert {where: n for where, n in lengths.items() if n > limits["function"]} == {}
    parameters = {where: num_parameters(node) for where, node in found if not is_command(node)}
    assert {where: n for where, n in parameters.items() if n > limits["parameters"]} == {}


def is_command(function):
    """Whether Typer turns the parameters of `function` into command-line options."""
    called = [getattr(decorator, "func", None) for decorator in function.decorator_list]
    return any(getattr(name, "attr", "") in {"command", "callback"} for name in called)


def test_classes_have_few_public_methods(limits):
    found = {
        f"{shown(path)} {node.name}": num_public_methods(node)
        for path in python_files(SOURCE)
        for node in nodes(path, ast.ClassDef)
    }
    assert found
    assert {where: number for where, number in found.items() if number > limits["class"]} == {}


def test_folders_hold_few_python_files(limits):
    files = [path for path in python_files(SOURCE) if path.name != "__init__.py"]
    crowd = Counter(shown(path.parent) for path in files)
    crowd.pop(shown(SOURCE))  # the top level is held small by the layers contract instead
    assert crowd
    assert {folder: number for folder, number in crowd.items() if number > limits["folder"]} == {}


def test_the_readme_is_short(limits):
    assert 0 < num_lines(ROOT / "README.md") <= limits["README"]


def test_no_tracked_file_is_large(limits):
    sizes_mib = {shown(path): path.stat().st_size / 2**20 for path in project_files()}
    assert sizes_mib
    assert {name: n for name, n in sizes_mib.items() if n > limits["tracked file"]} == {}
