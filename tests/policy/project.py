"""Where the project's files are."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "swiftpie"
TESTS = ROOT / "tests"

# Folders that tools create; left out where there is no git to ask.
CREATED = {".venv", "build", "dist", "runs", "out", "__pycache__"}


@cache
def project_files():
    """The files git tracks or would track; outside a checkout, all that no tool created."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listing.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not CREATED & {*path.relative_to(ROOT).parts}]
    return sorted(path for path in paths if path.is_file())


def python_files(folder):
    return [path for path in project_files() if path.suffix == ".py" and folder in path.parents]


def text_of(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def shown(path):
    return path.relative_to(ROOT).as_posix()
