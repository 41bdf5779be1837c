"""`swiftpie presets`, `engine` and `doctor`: what is installed and what it can do."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from swiftpie import __version__
from swiftpie.backbones.preset import PRESETS, Preset
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.licences import ANSWERS
from swiftpie.cli.options import AsJson, CommercialOnly
from swiftpie.engine.transform import TRANSFORMS
from swiftpie.errors import CapabilityError

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

app = typer.Typer()
presets_app = typer.Typer(name="presets")
app.add_typer(presets_app)


@presets_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "swiftpie presets",
        "swiftpie presets --commercial-only --json",
        "swiftpie presets show sd-turbo",
    ),
)
def presets(
    *, context: typer.Context, commercial_only: CommercialOnly = False, as_json: AsJson = False
) -> None:
    """List the models that can be loaded."""
    if context.invoked_subcommand is not None:
        return
    found = [one for one in PRESETS.all().values() if one.is_commercial or not commercial_only]
    if as_json:
        print_json([_facts(preset) for preset in found])
        return
    write_table(
        [_row(preset) for preset in found],
        headings=("preset", "family", "px", "steps", "can", "commercial use"),
    )


@presets_app.command(
    epilog=examples(
        "swiftpie presets show mini",
        "swiftpie presets show sd-turbo --json",
        "swiftpie presets show sdxl-lightning-4 --commercial-only",
    )
)
def show(
    *,
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The preset.", show_default=False)],
    commercial_only: CommercialOnly = False,
    as_json: AsJson = False,
) -> None:
    """Tell all about one preset."""
    assert context.parent is not None  # `swiftpie presets`, whose options count here too
    above = context.parent.params
    preset = PRESETS.get(name)
    if commercial_only or above["commercial_only"]:
        _check_commercial(preset)
    facts = _facts(preset)
    if as_json or above["as_json"]:
        print_json(facts)
        return
    facts["is_commercial"] = ANSWERS[preset.is_commercial]
    write_table([(key.replace("_", " "), _spell(value)) for key, value in facts.items()])


@app.command(epilog=examples("swiftpie engine", "swiftpie engine --json"))
def engine(*, as_json: AsJson = False) -> None:
    """List the transforms that make models quicker or smaller, for --engine."""
    facts = [
        {
            "name": name,
            "summary": one.summary,
            "is_installed": one.is_installed,
            "extra": one.extra,
        }
        for name, one in TRANSFORMS.all().items()
    ]
    if as_json:
        print_json(facts)
        return
    write_table(
        [(str(one["name"]), _spell(one["is_installed"]), str(one["summary"])) for one in facts],
        headings=("transform", "installed", "what it does"),
    )


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


def _check_commercial(preset: Preset) -> None:
    """Let only presets pass whose licence allows commercial use to everyone.

    Raises:
        CapabilityError: It does not, or under conditions.
    """
    if preset.is_commercial:
        return
    reason = "depends on who you are" if preset.is_commercial is None else "is not allowed"
    raise CapabilityError(
        f"The licence of {preset.name!r} is {preset.licence!r}; commercial use {reason}. A licence "
        "that allows it to everyone is needed. Choose from `swiftpie presets --commercial-only`."
    )


def _facts(preset: Preset) -> dict[str, object]:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "licence": preset.licence,
        "is_commercial": preset.is_commercial,
        "family": preset.family,
        "image_size_px": preset.image_size_px,
        "steps": len(preset.timesteps),
        "timesteps": list(preset.timesteps),
        "prediction_type": preset.prediction_type,
        "noise_scale": preset.noise_scale,
        "renoise": preset.renoise,
        "capabilities": _capabilities(preset),
        "defaults": dict(preset.defaults),
        "source": preset.source,
        "repository": preset.repository,
        "file": preset.file,
        "kind": preset.kind.value,
        "base": preset.base,
        "needs_pickle": preset.needs_pickle,
    }


def _row(preset: Preset) -> tuple[str, ...]:
    return (
        preset.name,
        preset.family,
        str(preset.image_size_px),
        str(len(preset.timesteps)),
        _spell(_capabilities(preset)),
        f"{ANSWERS[preset.is_commercial]}: {preset.licence}",
    )


def _capabilities(preset: Preset) -> list[str]:
    return sorted(capability.value for capability in preset.capabilities)


def _spell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
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
