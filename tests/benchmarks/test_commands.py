import importlib
import pkgutil

import pytest

import benchmarks
from swiftpie_world import blender

PARTS = {"swiftpie_world.blender.places", "swiftpie_world.blender.studio"}  # of commands
COMMANDS = [
    name
    for package in (benchmarks, blender)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if "._" not in (name := module.name) and name not in PARTS
]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts_and_needs_no_blender_to_show_its_help(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(name).main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out
