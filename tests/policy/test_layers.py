"""Imports obey the contracts in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.policy.project import ROOT, SOURCE

RUN = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]


def lint_imports(folder):
    sources = os.pathsep.join([str(folder / "src"), str(SOURCE.parent)])
    environment = os.environ | {"PYTHONPATH": sources, "NO_COLOR": "1"}
    return subprocess.run(
        [*RUN, "--no-cache", "--no-logo"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def copy_of_the_project(folder):
    shutil.copy(ROOT / "pyproject.toml", folder)
    skip = shutil.ignore_patterns("assets", "__pycache__")
    return Path(shutil.copytree(SOURCE, folder / "src" / "swiftpie", ignore=skip))


def test_a_planted_upward_import_and_an_unplaced_module_are_caught(tmp_path):
    copy = copy_of_the_project(tmp_path)
    (copy / "helpers.py").write_text('"""Misplaced."""\n')
    (copy / "errors.py").write_text('"""Misplaced."""\n\nimport swiftpie.registry\n')
    (copy / "masks.py").write_text('"""Misplaced."""\n\nimport swiftpie.mini.scenes\n')
    (copy / "registry.py").write_text('"""Heavy."""\n\nimport torch\n')
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "swiftpie.errors -> swiftpie.registry" in result.stdout
    assert "swiftpie.masks -> swiftpie.mini.scenes" in result.stdout
    assert "swiftpie.registry -> torch" in result.stdout
    (copy / "masks.py").write_text('"""Well placed."""\n')
    (copy / "errors.py").write_text('"""Well placed."""\n')
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "helpers" in result.stdout


def test_every_module_below_the_engine_is_kept_free_of_optional_packages():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in config["contracts"]}
    layers = [re.findall(r"\w+", layer) for layer in contracts["layers"]["layers"]]
    engine = next(number for number, layer in enumerate(layers) if "engine" in layer)
    below = {name for layer in layers[engine + 1 :] for name in layer}
    present = {name for name in below if (SOURCE / name).is_dir() or is_module(name)}
    guarded = {name.split(".")[1] for name in contracts["optional-packages"]["source_modules"]}
    assert "errors" in present
    assert present - guarded == set()


def is_module(name):
    return (SOURCE / f"{name}.py").is_file()
