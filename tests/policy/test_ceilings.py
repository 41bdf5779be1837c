"""How large each part of the project may be, and that a name of a class says which one it is."""

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.policy.project import ROOT, SOURCE, project_files, python_files, text_of

CEILINGS = tomllib.loads(Path(__file__).with_name("ceilings.toml").read_text())


@pytest.mark.parametrize("part", [name for name in CEILINGS if name != "traces"])
def test_a_part_is_no_larger_than_its_ceiling(part):
    ceiling = CEILINGS[part]
    apart = [ROOT / folder for folder in ceiling.get("apart", ())]
    suffixes = ceiling.get("suffixes", [".py"])
    files = [
        path
        for folder in ceiling["folders"]
        for path in project_files()
        if ROOT / folder in path.parents and path.suffix in suffixes
        if not any(outside in path.parents for outside in apart)
    ]
    lines = sum(text_of(path).count("\n") for path in files)
    assert len(files) <= ceiling.get("files", len(files)), part
    assert lines <= ceiling["lines"], part


def test_a_class_has_a_name_of_its_own():
    names = Counter(
        node.name
        for path in python_files(SOURCE)
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
