"""`swiftpie presets` and `swiftpie doctor`: what is installed and what it can do."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from swiftpie import __version__
from swiftpie.backbones.preset import PRESETS, Preset
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

app = typer.Typer()
presets_app = typer.Typer(name="presets")
app.add_typer(presets_app)


@presets_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "swiftpie presets", "swiftpie presets show mini", "swiftpie presets show mini --json"
    ),
)
def presets(*, context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that can be loaded."""
    if context.invoked_subcommand is not None:
        return
    found = [_facts(preset) for preset in PRESETS.all().values()]
    if as_json:
        print_json(found)
        return
    write_table(
        [
            (str(one["name"]), str(one["licence"]), f"{one['image_size_px']} px", *_words(one))
            for one in found
        ],
        headings=("preset", "licence", "size", "can", "summary"),
    )


@presets_app.command(
    epilog=examples("swiftpie presets show mini", "swiftpie presets show mini --json")
)
def show(
    *,
    name: Annotated[str, typer.Argument(help="The preset.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Tell all about one preset."""
    facts = _facts(PRESETS.get(name))
    if as_json:
        print_json(facts)
    else:
        write_table([(key.replace("_", " "), _spell(value)) for key, value in facts.items()])


@app.command(epilog=examples("swiftpie doctor", "swiftpie doctor --json"))
def doctor(*, as_json: AsJson = False) -> None:
    """Tell versions, devices, memory and where the files are, for a report of a fault."""
    facts = _state()
    if as_json:
        print_json(facts)
        return
    rows = []
    for name, value in facts.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {part}".strip().replace("_", " "), str(one)) for part, one in parts]
    write_table(rows)


def _facts(preset: Preset) -> dict[str, object]:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "licence": preset.licence,
        "image_size_px": preset.image_size_px,
        "steps": len(preset.timesteps),
        "capabilities": sorted(capability.value for capability in preset.capabilities),
        "defaults": dict(preset.defaults),
        "source": preset.source,
    }


def _words(facts: dict[str, object]) -> tuple[str, str]:
    return _spell(facts["capabilities"]), str(facts["summary"])


def _spell(value: object) -> str:
    match value:
        case list():
            return ", ".join(str(item) for item in value)
        case dict():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case _:
            return str(value)


def _state() -> dict[str, object]:
    import torch

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
