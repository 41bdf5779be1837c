import importlib
import pkgutil

import pytest

from swiftpie_world import blender

PARTS = {"places", "studio"}  # of commands
COMMANDS = [module.name for module in pkgutil.iter_modules(blender.__path__)]
COMMANDS = [name for name in COMMANDS if name not in PARTS]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts_without_blender(name, capsys, monkeypatch):
    command = importlib.import_module(f"swiftpie_world.blender.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out
