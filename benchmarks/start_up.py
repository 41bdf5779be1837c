"""Tells what fresh processes of the embedded model take, from their start to the first picture.

Run `python -m benchmarks.start_up` in the folder of the repository, on a machine that does nothing
else. Bytecode has to be written already, so the first process is not counted. With `--photograph
WxH` it is what changing a photograph of that size takes: a subject is inserted into noise, a third
of its shorter side tall, and the same place taken out again; the first round is not counted, and
memory is the most that the process took, and how much of it is beyond what it held with the model
and the photograph.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import swiftpie
from benchmarks._machine import (
    held_memory_mib,
    machine,
    peak_memory_mib,
    usable_cores,
    write_report,
)

SAMPLE = "1f439.webp"
BOX = (0.4, 0.55, 0.65, 0.88)  # of a photograph, where a subject goes
PROMPT = "a subject on a beach"

# Nothing before `began` that costs time: the parent knows when the process started.
PICTURE = """
import time
began = time.monotonic()
import swiftpie
imported = time.monotonic()
import sys
is_light = "torch" not in sys.modules
session = swiftpie.load("mini")
loaded = time.monotonic()
identity = session.encode_identity(sys.argv[1])
encoded = time.monotonic()
session.personalize(identity, sys.argv[2]).images[0].save(sys.argv[3])
drawn = time.monotonic()
import json
print(json.dumps([began, imported, loaded, encoded, drawn, is_light]))
"""

PYTORCH = "import torch, time; print(time.monotonic())"  # what `mini` cannot do without


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    if options.photograph is not None:
        torch.set_num_threads(options.threads)
        write_report(photograph(options.photograph, options.runs))
        return
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    sample = files("swiftpie") / "assets" / "samples" / SAMPLE
    with as_file(sample) as subject, tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(subject, Path(folder) / "out.png", environment) for _ in range(options.runs + 1)
        ]
    facts = {
        "runs": options.runs,
        "threads": options.threads,
        "machine": machine(torch.device("cpu")),
        "import_loads_torch": not all(row.pop("is_light") for row in rows),
        "seconds": {name: spread(row[name] for row in rows[1:]) for name in rows[0]},
    }
    write_report(facts)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="processes of each kind that count")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of PyTorch")
    parser.add_argument("--photograph", metavar="WxH", help="change one of this size instead")
    return parser.parse_args()


def measure(subject: Path, out: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run one process of each kind; return seconds, by what they were spent on."""
    started = time.monotonic()  # of the whole system, so that the child's times are comparable
    arguments = ["-c", PICTURE, str(subject), PROMPT, str(out)]
    stages, cpu = run(arguments, environment)
    began, imported, loaded, encoded, drawn, is_light = json.loads(stages)
    alone = time.monotonic()
    imported_alone, torch_cpu = run(["-c", PYTORCH], environment)
    launched = time.monotonic()
    command = ["-m", "swiftpie", "personalize", str(subject), PROMPT, "-o", str(out), "--force"]
    _, command_cpu = run(command, environment)
    return {
        "interpreter": began - started,
        "import": imported - began,
        "load": loaded - imported,  # PyTorch among it
        "encode_identity": encoded - loaded,
        "personalize": drawn - encoded,
        "first_picture": drawn - started,
        "torch": float(imported_alone) - alone,  # of a process that does nothing else
        "command": time.monotonic() - launched,
        "cpu_of_first_picture": cpu,
        "cpu_of_command": command_cpu,
        "cpu_of_torch": torch_cpu,
        "is_light": is_light,
    }


def run(arguments: Sequence[str], environment: dict[str, str]) -> tuple[str, float]:
    """Run Python to its end; return what it printed and the seconds that it computed."""
    before = os.times()
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    after = os.times()
    own = after.children_user - before.children_user
    return finished.stdout, own + after.children_system - before.children_system


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and most, to the millisecond."""
    found = sorted(values)
    return {
        "median": round(statistics.median(found), 3),
        "least": round(found[0], 3),
        "most": round(found[-1], 3),
    }


def photograph(size: str, rounds: int) -> dict[str, object]:
    """Return milliseconds of each stage, medians of `rounds`, and the memory that they took."""
    width, height = map(int, size.split("x"))
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = Image.fromarray(values)
    session = swiftpie.load("mini")
    with as_file(files("swiftpie") / "assets" / "samples" / SAMPLE) as picture:
        identity = session.encode_identity(picture)
    held = held_memory_mib()
    facts: dict[str, object] = {"machine": machine(session.components.device), "size": size}
    spent = {
        "insert": [
            session.insert(photo, identity, box=BOX, seed=seed).timings_ms
            for seed in range(rounds + 1)
        ],
        "remove": [
            session.remove(photo, mask=BOX, seed=seed).timings_ms for seed in range(rounds + 1)
        ],
    }
    for name, (_, *timings) in spent.items():
        stages = {
            stage: round(statistics.median(timing[stage] for timing in timings), 1)
            for stage in timings[0]
        }
        facts[f"{name}_ms"] = stages
    most = peak_memory_mib()
    return {**facts, "memory_mib": round(most), "more_memory_mib": round(most - held)}


if __name__ == "__main__":
    main()
