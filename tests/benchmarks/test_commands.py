import importlib
import pkgutil

import pytest

import benchmarks

COMMANDS = [
    module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"
]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts(name, capsys, monkeypatch):
    command = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out
