"""What a step of `train adapter` takes at full size by form, and how close its gradients stay.

Run `python -m benchmarks.adapter_step`. Weights are random, 4 GB in a temporary folder or in
`--made`; each form has a process of its own, `--rounds` times in turns. The distance is that of the
gradient of one picture to that of the plain form, relative to the latter.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._machine import peak_memory_mib, tell, usable_cores
from benchmarks._models import make_elsewhere
from swiftpie_lab.training.context import SINGLE_PROCESS, Context
from swiftpie_lab.training.loop import TrainingRun
from swiftpie_lab.training.recipes.published import adapter
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig, AdapterStage
from tests.lab.data.photos import make_folder

PLAIN = "plain"
FORMS: dict[str, dict[str, Any]] = {
    PLAIN: {"mixed_precision": False},
    "as it is": {},
    "no checkpoints": {"checkpointing": False},
}
STEPS = 3  # in each process; the first of them is not timed
GIB = 1024


def main() -> None:
    """Measure each form, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--made", type=Path, help="a folder of `benchmarks._models`")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--form", choices=FORMS, help="measure this one, in this process")
    parser.add_argument("--gradient", type=Path, help="where its gradient goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.form:
        found = measure(options.form, options.made, options.gradient)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = options.made or folder / "weights"
        if options.made is None:
            make_elsewhere(made, family="sd21", dtype="float16")
        make_folder(folder / "photos")
        compare(made, folder, options)


def compare(made: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print a table of all forms."""
    rows: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    for form in [*FORMS] * options.rounds:
        tell(form)
        given = ["--made", str(made), "--threads", str(options.threads)]
        given += ["--form", form, "--gradient", str(folder / form)]
        command = [sys.executable, "-m", "benchmarks.adapter_step", *given]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path.cwd()).stdout
        rows[form].append(json.loads(output))
    plain = torch.load(folder / PLAIN)
    sys.stdout.write("|Form|s a step|s of processors|peak, GiB|distance|\n|---|---|---|---|---|\n")
    for form, found in rows.items():
        off = float((torch.load(folder / form) - plain).norm() / plain.norm())
        wall, busy, peak = (median(row[name] for row in found) for name in found[0])
        sys.stdout.write(f"|{form}|{wall:.1f}|{busy:.1f}|{peak / GIB:.1f}|{off:.4f}|\n")


def measure(form: str, made: Path, gradient: Path) -> dict[str, float]:
    """Write the gradient of one picture, and return what the quickest timed step takes."""
    config = adapter()
    assert isinstance(config.stage, AdapterConfig)
    photos = gradient.parent / "photos"
    settings: dict[str, Any] = {
        "weights": made / "pipeline",
        "image_encoder": made / "image_encoder",
        "data": photos,
        "size_px": 128,
        "batch_size": 1,
    }
    wanted = replace(config.stage, **settings, **FORMS[form])
    stage = wanted.build(Context(data=photos, runs=photos, device="cpu"))
    assert isinstance(stage, AdapterStage)
    run = TrainingRun.start(stage, config.loop, SINGLE_PROCESS)
    first = next(stage.updates(run.network, 0, 0))  # type: ignore[arg-type]
    torch.stack([*first.terms.values()]).sum().backward()
    found = [p.grad.flatten() for p in run.network.parameters() if p.grad is not None]
    torch.save(torch.cat(found), gradient)
    times = []
    for step in range(STEPS):
        started, busy = time.perf_counter(), time.process_time()
        run.train(step, 0.0)
        times.append((time.perf_counter() - started, time.process_time() - busy))
    wall, busy = min(times[1:])
    return {"s": wall, "processors": busy, "mib": peak_memory_mib()}


if __name__ == "__main__":
    main()
