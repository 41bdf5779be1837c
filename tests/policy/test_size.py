import subprocess

import pytest

from tests.policy.project import ROOT

MAX_MIB = 52  # 38 of them are weights, places and subjects of the packages


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git, which knows what is tracked")
def test_tracked_files_stay_small():
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    largest = sorted(files, key=lambda path: -path.stat().st_size if path.exists() else 0)[:20]
    size = sum(path.stat().st_size for path in files if path.exists())
    assert size <= MAX_MIB * 2**20, [path.relative_to(ROOT).as_posix() for path in largest]
