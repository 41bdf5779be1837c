"""Reads hostile files until the time is over: python -m tests.fuzz --seconds N.

A process of its own reads them, one after the other; it is replaced when a case does not end. An
exception that SwiftPie does not raise on purpose, more than 2 s of computing and more than 1 GiB
are findings. They are printed with what repeats them, and the status is 1 if there are any.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.worker import Worker

SLOWEST = 5  # cases that are printed at the end


def main():
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}  # of the worker, too
    options = parsed()
    seeds = range(options.seed, sys.maxsize)
    ends = time.monotonic() + options.seconds
    counts, spent, worst, findings = Counter(), Counter(), [], []
    worker = None
    tell(f"seeds from {options.seed}, for {options.seconds:g} s: {', '.join(options.kinds)}")
    for seed in seeds:
        for kind in options.kinds:
            if time.monotonic() > ends:
                if worker is not None:
                    worker.stop()
                return report(counts, spent, worst, findings, seeds=range(options.seed, seed + 1))
            worker = worker or Worker()
            for case in worker.cases(kind, seed, options.keep):
                counts[kind] += 1
                spent[kind] += case["seconds"]
                worst = sorted([*worst, case], key=lambda one: -one["seconds"])[:SLOWEST]
                if case["problem"]:
                    findings.append(case)
                    tell(f"FINDING {case['problem']}; again: {again(case)}")
            worker = worker if worker.is_alive else None
    return 0


def parsed():
    from tests.fuzz.kinds import KINDS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder for the files that are findings")
    return parser.parse_args()


def report(counts, spent, worst, findings, *, seeds):
    for case in worst:
        tell(f"{case['seconds']:.2f} s of computing, {case['mib']:.0f} MiB more: {again(case)}")
    kinds = ", ".join(
        f"{count} {kind} in {1000 * spent[kind] / count:.1f} ms each"
        for kind, count in counts.items()
    )
    tell(f"seeds {seeds.start} to {seeds[-1]}: {sum(counts.values())} cases ({kinds})")
    tell(f"{len(findings)} findings")
    return 1 if findings else 0


def again(case):
    return f"--kinds {case['kind']} --seed {case['seed']} (case {case['name']!r})"


def tell(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
