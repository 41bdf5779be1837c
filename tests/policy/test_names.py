import ast
import re

import pytest

from tests.policy.project import ROOT, SOURCE, project_files, python_files, shown, text_of
from tests.processes import printed

# Assembled, so that this file does not break its own rule.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:" + "work|tmp|root|home/[a-z]" + r")/")
OPEN_TASK = re.compile(r"\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\): \S)")
BANNED_WORDS = re.compile(
    "|".join(
        [
            # A directive of content policies is called so, and an argument of diffusers.
            r"(?<!<)\bimg(?!-src\b|_ids=)\d*",
            r"\bip_(?:tokens|scale|image)",
            r"\b(?:x0_hat|pred_x0|model_pred|inverted_code)\b",
            r"\b(?:src_p|edit_p)\b",
        ]
    )
)


def hits(pattern, paths):
    return [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if pattern.search(line)
    ]


def dotted(node):
    try:
        return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
    except RecursionError:
        return ""


def is_load(node):
    return isinstance(node, ast.Attribute) and node.attr == "load" and dotted(node) == "torch.load"


def calls(path):
    tree = ast.parse(path.read_text())
    return [dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def unpicklings(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = [
        {word.arg: word.value.value for word in node.keywords if word.arg == "weights_only"}
        for node in nodes
        if isinstance(node, ast.Call) and is_load(node.func)
    ]
    mentions = [node for node in nodes if is_load(node)]
    return found + [{}] * (len(mentions) - len(found))


def imports(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module)
    return names


def test_no_file_knows_a_path_of_one_machine():
    assert hits(MACHINE_PATH, project_files()) == []


def test_open_tasks_carry_a_number():
    paths = [path for path in project_files() if path.name != "test_names.py"]
    assert hits(OPEN_TASK, [path for path in paths if path.suffix == ".py"]) == []


def test_source_uses_the_words_of_the_glossary():
    assert hits(BANNED_WORDS, python_files(SOURCE)) == []


def test_only_the_command_line_prints():
    silent = [path for path in python_files(SOURCE) if SOURCE / "cli" not in path.parents]
    assert silent
    assert [shown(path) for path in silent if "print" in calls(path)] == []


def test_weights_are_never_unpickled():
    paths = python_files(SOURCE)
    found = {shown(path): unpicklings(path) for path in paths if unpicklings(path)}
    assert found == {"src/swiftpie/backbones/load/safe.py": [{"weights_only": True}]}
    picklers = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    assert [shown(path) for path in paths if picklers & {*imports(path)}] == []


MAX_MIB = 52  # 38 of them are weights, places and subjects of the packages


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git, which knows what is tracked")
def test_tracked_files_stay_small():
    listing = printed("git", "ls-files", "-z", cwd=ROOT)
    files = [ROOT / name for name in listing.split("\0") if name]
    largest = sorted(files, key=lambda path: -path.stat().st_size if path.exists() else 0)[:20]
    size = sum(path.stat().st_size for path in files if path.exists())
    assert size <= MAX_MIB * 2**20, [path.relative_to(ROOT).as_posix() for path in largest]
