"""Programs that a test starts, and that have to end well, and limits of its own process."""

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
