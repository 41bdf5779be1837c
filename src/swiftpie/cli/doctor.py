"""`swiftpie doctor`: what is installed here and what SwiftPie would use."""

import os
import platform
from importlib import metadata
from pathlib import Path

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

app = typer.Typer()


@app.command(epilog=examples("swiftpie doctor", "swiftpie doctor --json"))
def doctor(*, as_json: AsJson = False) -> None:
    """Tell versions, devices, memory and where the files are, for a report of a fault."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    rows = []
    for name, value in facts.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {part}".strip().replace("_", " "), str(one)) for part, one in parts]
    write_table(rows)


def _facts() -> dict[str, object]:
    import torch

    from swiftpie.backbones.preset import PRESETS
    from swiftpie.data.archive import default_pack

    pack = default_pack()
    return {
        "swiftpie": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "devices": _devices(),
        "free_memory_gib": _free_memory_gib(),
        "weights": {name: preset.source for name, preset in PRESETS.all().items()},
        "package_folder": str(Path(__file__).parents[1]),
        "sticker_pack": str(pack),
        "sticker_pack_exists": pack.is_file(),
        "offline": {name: os.environ.get(name, "not set") for name in OFFLINE_VARIABLES},
    }


def _devices() -> list[str]:
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _free_memory_gib() -> float | None:
    """Return the free main memory, or None where the system does not tell it this way."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages / 2**30, 2)
