"""Programs that a test starts, and that have to end well."""

import subprocess
import sys


def printed(*command, **options):
    """Return what a command writes to standard output; one that fails fails the test."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed_by(code, *arguments, **options):
    """Return what Python prints when it runs `code` in a process of its own."""
    return printed(sys.executable, "-c", code, *arguments, **options)
