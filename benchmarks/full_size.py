"""Loads a model of full size with random weights and tells what memory and time it takes.

Run `python -m benchmarks.full_size` in the folder of the repository; the weights go to a
temporary folder, 5 GB for SD2.1 and 12 GB for SDXL. Pictures are noise: only figures count.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

import swiftpie
from benchmarks._machine import peak_memory_mib, write_report
from benchmarks._models import ADAPTER, DTYPES, PRESETS, TOKEN_WIDTHS, make_elsewhere, reference
from swiftpie.attention.detail import Merge
from swiftpie.attention.install import Plan
from swiftpie.models.unet import UP_AND_MIDDLE


def main() -> None:
    """Make a model in one process and measure it in this one, so that making costs nothing."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        make_elsewhere(Path(folder), family=options.family, dtype=options.dtype)
        facts = measure(Path(folder), options)
    write_report(facts)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(PRESETS), default="sd21")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side-px", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-edit", action="store_true", help="leave the second U-Net out")
    parser.add_argument("--folder", help="where the temporary folder goes")
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Load, encode, personalize and edit once; return what it took."""
    can_edit = not options.no_edit
    stages: dict[str, float] = {}
    timings: dict[str, dict[str, float]] = {}
    plan = Plan(TOKEN_WIDTHS[options.family], merge=Merge.JOINT, detail=UP_AND_MIDDLE)
    started = time.perf_counter()
    session = swiftpie.load(
        PRESETS[options.family],
        device=options.device,
        dtype=DTYPES[options.dtype],
        weights=folder / "pipeline",
        adapter=folder / ADAPTER,
        image_encoder=folder / "image_encoder",
        inversion=folder / "pipeline" / "unet" if can_edit else None,
        plan=plan,
        offline=True,
    )
    stages["load"] = time.perf_counter() - started
    loaded_mib = peak_memory_mib()
    size = (options.side_px, options.side_px)
    started = time.perf_counter()
    identity = session.encode_identity(reference(options.side_px))
    stages["encode_identity"] = time.perf_counter() - started
    started = time.perf_counter()
    result = session.personalize(identity, "a red cube on the moon", seed=0, size_px=size)
    stages["personalize"] = time.perf_counter() - started
    timings["personalize"] = dict(result.timings_ms)
    if can_edit:
        started = time.perf_counter()
        edited = session.edit(result.images[0], "a blue cone", source_prompt="a red cube", seed=0)
        stages["edit"] = time.perf_counter() - started
        timings["edit"] = dict(edited.timings_ms)
    unet = session.components.denoiser.installation.network
    return {
        "family": options.family,
        "dtype": options.dtype,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "side_px": options.side_px,
        "unet_parameters": sum(weight.numel() for weight in unet.parameters()),
        "weights_mib": sum(f.stat().st_size for f in folder.rglob("*.safetensors")) / 2**20,
        "peak_memory_mib": {"after_loading": loaded_mib, "in_the_end": peak_memory_mib()},
        "seconds": stages,
        "timings_ms": timings,
    }


if __name__ == "__main__":
    main()
