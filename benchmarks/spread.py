"""One list of jobs by one process, two, Ray here and two nodes: `python -m benchmarks.spread`.

Prints the seconds of each way, with its start, and whether files and report equal those of one.
`--repeats` takes the median of several turns. The nodes are of a cluster on this machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from swiftpie.batch.folder import REPORT
from swiftpie.batch.ray import QUIET, STORE_BYTES
from swiftpie.imageio.images import sample_pictures

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE_BYTES // 2}
PATIENCE_S = 1800
WAYS = {
    "one process": (),
    "two processes": ("--processes", "2"),
    "Ray, two actors here": ("--processes", "2", "--ray", "local"),
    "Ray, two nodes": ("--processes", "2", "--ray"),
}


@contextmanager
def two_nodes() -> Iterator[str]:
    """Yield the address of a cluster of two nodes with a processor each."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    try:
        yield made.address
    finally:
        made.shutdown()  # type: ignore[no-untyped-call]


def write_jobs(folder: Path, count: int, size: str) -> None:
    """Write subjects, and a list of jobs about them."""
    samples = sample_pictures(2)
    for sample in samples:
        (folder / sample.name).write_bytes(sample.read_bytes())
    rows = [
        {"subject": samples[n % 2].name, "prompt": "an animal on a beach", "seed": n, "size": size}
        for n in range(count)
    ]
    (folder / "jobs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def drawn(folder: Path, name: str, more: tuple[str, ...]) -> tuple[float, object]:
    """Return the seconds of a run, and its files and its report without times."""
    command = (sys.executable, "-m", "swiftpie", "batch", "jobs.jsonl", "--batch", "1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    subprocess.run(
        [*command, "--out", name, *more],
        cwd=folder,
        env=environment,
        check=True,
        timeout=PATIENCE_S,
        stderr=subprocess.DEVNULL,
    )
    spent = time.perf_counter() - started
    rows = [json.loads(line) for line in (folder / name / REPORT).read_text().splitlines()]
    files = {path.name: path.read_bytes() for path in (folder / name).glob("*.png")}
    return spent, (files, [{**row, "ms": 0} for row in rows])


def main() -> None:
    """Draw the list by each way in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    os.environ.update(QUIET)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    differs: dict[str, bool] = dict.fromkeys(WAYS, False)
    wanted: object = None
    with tempfile.TemporaryDirectory() as place, two_nodes() as address:
        folder = Path(place)
        write_jobs(folder, given.jobs, given.size)
        for turn in range(given.repeats):
            for number, (way, more) in enumerate(WAYS.items()):
                words = (*more, address) if more[-1:] == ("--ray",) else more
                spent, found = drawn(folder, f"out{turn}{number}", words)
                seconds[way].append(spent)
                wanted = wanted or found
                differs[way] |= found != wanted
    load, cores = os.getloadavg()[0], os.cpu_count()
    lines = [f"{given.jobs} jobs of {given.size} px on {cores} cores, load at the end {load:.1f}"]
    for way, found in seconds.items():
        equal = "files differ" if differs[way] else "files equal"
        lines.append(f"{way:22} {statistics.median(found):6.1f} s  {equal}")
    sys.stdout.write("\n".join([*lines, ""]))
    sys.exit(int(any(differs.values())))


if __name__ == "__main__":
    main()
