import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.policy.project import ROOT, SOURCE, python_files, shown, text_of

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


def test_every_module_below_the_engine_is_kept_free_of_optional_packages():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in config["contracts"]}
    layers = [re.findall(r"\w+", layer) for layer in contracts["layers"]["layers"]]
    engine = next(number for number, layer in enumerate(layers) if "engine" in layer)
    below = {name for layer in layers[engine + 1 :] for name in layer}
    present = below & {path.stem for path in SOURCE.iterdir()}
    guarded = {name.split(".")[1] for name in contracts["optional-packages"]["source_modules"]}
    assert "errors" in present
    assert present - guarded == set()


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("ray", {"src/swiftpie/batch/ray.py", "src/swiftpie/server/ray.py"}),
        ("redis", {"src/swiftpie/server/shared.py"}),
        ("fsspec", {"src/swiftpie/batch/folder.py"}),
    ],
)
def test_what_spreads_work_is_imported_by_its_own_files_alone(package, files):
    imports = re.compile(rf"^\s*(?:import|from) {package}\b", re.MULTILINE)
    found = {shown(path) for path in python_files(SOURCE.parent) if imports.search(text_of(path))}
    assert found == files
