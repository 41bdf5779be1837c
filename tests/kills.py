"""Forks processes and kills them at random moments, aimed at those when they write files."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

LONGEST_WAIT_S = 1  # for a process to begin to write
BETWEEN_LOOKS_S = 0.0002


@dataclass(frozen=True)
class Moments:
    """When processes are killed: after some steps and a while, and then often amid a write."""

    chance: random.Random
    most_steps: int
    longest_s: float
    aimed: float  # share of the kills that wait until files are being written
    is_writing: Callable[[], bool]

    def wait(self, steps):
        """Return when the process that tells of its `steps` shall die."""
        aims = self.chance.random() < self.aimed
        pause_s = self.chance.uniform(0, self.longest_s)
        for _ in range(self.chance.randint(0, self.most_steps)):
            steps.read(1)
        time.sleep(pause_s)
        deadline = time.monotonic() + LONGEST_WAIT_S
        while aims and not self.is_writing() and time.monotonic() < deadline:
            time.sleep(BETWEEN_LOOKS_S)


def finishes(work: Callable[[], Iterable[Any]], moments: Moments | None = None) -> bool:
    """Do all of `work` in a process of its own, which `moments` kills; tell whether it finished."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        for _ in work():
            os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as steps:
        if moments is not None:
            moments.wait(steps)
            os.kill(process, signal.SIGKILL)
        while steps.read(64):
            pass
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in {0, -signal.SIGKILL}
    return code == 0
