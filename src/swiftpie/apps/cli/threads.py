"""How PyTorch's threads wait for each other, in processes that are SwiftPie's own."""

import os

WAITING = {"GOMP_SPINCOUNT": "3000"}
"""How often a thread looks again before it sleeps; GNU OpenMP alone, in wheels for Linux, reads it.

Its own choice is milliseconds. A thread that spins keeps a core from whatever it waits for, so
beside other work a picture took ten times as long. Of what `benchmarks.mini_speed` compares, this
has the least product of the times alone and beside load.
"""
DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # by whoever set one of these


def wait_briefly() -> None:
    """Bound the spinning of threads in this process and its children, if nobody decided on it.

    The library reads this when it is loaded, so this has to come before PyTorch.
    """
    if not any(name in os.environ for name in DECIDED):
        os.environ.update(WAITING)
