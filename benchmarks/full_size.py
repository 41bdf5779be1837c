"""Loads a model of full size with random weights and tells what memory and time it takes.

Run `python -m benchmarks.full_size` in the folder of the repository; the weights go to a
temporary folder, 4 GB for SD2.1 and for motion modules on SD1.5, 9 GB for SDXL and 16 GB for
FLUX.2 [klein], in half precision as published. Pictures are noise: only figures count. `motion`
draws an animation by one pass of the denoiser, with a tiny autoencoder. With `--limit-gib` the
system grants no more memory than that. With `--prepared` another process makes the engine's graphs
before; its figures stand next to the measured ones.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks._machine import peak_memory_mib, write_report
from benchmarks._models import (
    ADAPTER,
    DTYPES,
    KLEIN,
    MODULES,
    MOTION,
    PRESETS,
    TINY_DECODER,
    WITHOUT_ADAPTER,
    make_elsewhere,
    reference,
)
from swiftpie.engine.load import load

if TYPE_CHECKING:
    from swiftpie.backbones.choices import DetailForm


def main() -> None:
    """Make a model in one process and measure it in this one, so that making costs nothing."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with contextlib.ExitStack() as stack:
        folder = options.made
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
            make_elsewhere(folder, family=options.family, dtype=options.stored)
        before = {}
        if options.prepared:
            home = stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder))
            os.environ["SWIFTPIE_HOME"] = home
            before = {"preparing": measure_elsewhere(folder)}
        if options.limit_gib is not None:  # what is mapped from files does not count
            limit = int(options.limit_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        facts = measure(folder, options)
    write_report({**facts, **before})


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(PRESETS), default="sd21")
    parser.add_argument("--dtype", choices=("auto", *sorted(DTYPES)), default="auto")
    parser.add_argument("--stored", choices=sorted(DTYPES), default="float16", help="of the files")
    parser.add_argument("--engine", default="", help="as of the command line")
    parser.add_argument("--limit-gib", type=float, help="of data that the process may have")
    parser.add_argument("--no-detail", action="store_true", help="leave the detail branch out")
    parser.add_argument("--made", type=Path, help="a folder of `benchmarks._models` to use")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side-px", type=int, default=512)
    parser.add_argument("--frames", type=int, default=16, help="of an animation, by `motion`")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-edit", action="store_true", help="leave the second U-Net out")
    parser.add_argument("--chord", action="store_true", help="an edit by ChordEdit alone")
    parser.add_argument("--prepared", action="store_true", help="read graphs, do not make them")
    parser.add_argument("--folder", help="where the temporary folder goes")
    return parser.parse_args()


def measure_elsewhere(folder: Path) -> dict[str, object]:
    """Return what the same takes in another process, with nothing prepared."""
    arguments = [word for word in sys.argv[1:] if word != "--prepared"]
    command = [sys.executable, "-m", "benchmarks.full_size", *arguments, "--made", str(folder)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    facts = json.loads(output)
    return {name: facts[name] for name in ("peak_memory_mib", "seconds", "seconds_of_processors")}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Load, encode, personalize and edit once, or only edit; return what it took."""
    reads_itself = options.family in WITHOUT_ADAPTER
    moves = options.family == MOTION
    can_edit = not (options.no_edit or options.chord or reads_itself or moves)
    has_adapter = not (options.chord or reads_itself)
    has_subject = has_adapter or reads_itself
    detail: DetailForm = "none" if options.no_detail else "joint"
    stages: dict[str, float] = {}
    timings: dict[str, dict[str, float]] = {}
    started = time.perf_counter()
    session = load(
        PRESETS[options.family],
        device=options.device,
        dtype=options.dtype,
        engine=[engine for engine in options.engine.split(",") if engine],
        weights=folder / (MODULES if moves else "pipeline"),
        base=folder / "pipeline" if moves else None,
        autoencoder=folder / TINY_DECODER if moves else None,  # the denoiser is what is measured
        adapter=folder / ADAPTER if has_adapter else None,
        image_encoder=folder / "image_encoder" if has_adapter else None,
        inversion=folder / "pipeline" / "unet" if can_edit else None,
        detail=detail if has_subject else None,
        offline=True,
    )
    stages["load"] = time.perf_counter() - started
    loaded_mib = peak_memory_mib()
    size = (options.side_px, options.side_px)
    picture = reference(options.side_px).convert("RGB")
    if has_subject:
        started = time.perf_counter()
        identity = session.encode_identity(reference(options.side_px))
        stages["encode_identity"] = time.perf_counter() - started
        started = time.perf_counter()
        drawn = (
            partial(session.animate, num_frames=options.frames) if moves else session.personalize
        )
        result = drawn(identity, "a red cube on the moon", seed=0, size=size)
        stages["personalize"] = time.perf_counter() - started
        timings["personalize"] = dict(result.timings_ms)
        stages["first_picture"] = sum(stages.values())
        picture = result.images[0]
    if can_edit or options.chord or (options.family == KLEIN and not options.no_edit):
        started = time.perf_counter()
        edited = session.edit(picture, "a blue cone", source_prompt="a red cube", seed=0)
        stages["edit"] = time.perf_counter() - started
        timings["edit"] = dict(edited.timings_ms)
    unet = session.components.denoiser.installation.network
    return {
        "family": options.family,
        "dtype": str(next(unet.parameters()).dtype),
        "stored": options.stored,
        "engine": options.engine,
        "limit_gib": options.limit_gib,
        "detail": has_subject and not options.no_detail,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "side_px": options.side_px,
        "frames": options.frames if moves else None,
        "unet_parameters": sum(weight.numel() for weight in unet.parameters()),
        "weights_mib": sum(f.stat().st_size for f in folder.rglob("*.safetensors")) / 2**20,
        "peak_memory_mib": {"after_loading": loaded_mib, "in_the_end": peak_memory_mib()},
        "seconds": stages,
        "seconds_of_processors": time.process_time(),  # tells more where others are at work, too
        "timings_ms": timings,
    }


if __name__ == "__main__":
    main()
