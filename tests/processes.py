"""Programs that a test starts, what they find installed, and limits of its own process."""

import subprocess
import sys
from contextlib import contextmanager

import pytest


def printed(*command, **options):
    """Return what a command writes to standard output; one that fails fails the test."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed_by(code, *arguments, **options):
    """Return what Python prints when it runs `code` in a process of its own."""
    return printed(sys.executable, "-c", code, *arguments, **options)


def install(folder, module, *lines):
    """Write what says that the module in `folder` is of another distribution, with entry points."""
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    name = module.replace("_", "-")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(lines))


@contextmanager
def no_file_beyond(size):
    """A disk that takes no more in one file, as a full one takes none at all."""
    resource = pytest.importorskip("resource", reason="limits of processes are of Unix")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
