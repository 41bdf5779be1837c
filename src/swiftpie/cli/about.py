"""`swiftpie recipes`, `presets`, `doctor` and `show`: what is here, and what made a picture."""

import os
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from swiftpie import __version__
from swiftpie.backbones import licences
from swiftpie.backbones.machine import BFLOAT16, free_main_memory, instructions, processor_name
from swiftpie.backbones.presets import PRESETS, RECIPES, Preset, Recipe, Use
from swiftpie.backbones.resolve import is_here
from swiftpie.cli.console import examples, print_json, print_text, write_table
from swiftpie.cli.options import STREAM, AsJson, CommercialOnly
from swiftpie.errors import CapabilityError, InputError, MissingExtra

ORIGIN_FIRST = ("prompt", "source_prompt", "keyword", "recipe", "preset", "seed")  # as people look
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")
OPTIONAL_PACKAGES = {  # what they are for, as extras of SwiftPie are called
    "openvino": "openvino",
    "nncf": "openvino",
    "onnxruntime": "faces",
    "peft": "lora",
    "rembg": "cutout",
    "fastapi": "serve",
    "uvicorn": "serve",
    "mcp": "mcp",
    "c2pa": "credentials",
}
EIGHT_BITS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "i8mm", "dot")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
FACTS = (  # of a preset, in the order of their table
    *("name", "summary", "licence", "is_commercial", "family", "image_size_px", "steps"),
    *("timesteps", "prediction_type", "noise_scale", "renoise", "capabilities", "defaults"),
    *("source", "repository", "file", "kind", "base", "needs_pickle"),
)

REVISION = 12  # letters of a commit that people are shown; --json has all
COMMAND_OF = {
    Use.PERSONALIZE: 'personalize dog.jpg "a dog on a beach" -o out.png',
    Use.TEXT: 'personalize "a lighthouse at night" -o out.png',
    Use.FACE: 'face me.jpg "a person on a beach" -o out.png',
    Use.EDIT: 'edit cat.jpg "a dog on a sofa" -o out.png --source-prompt "a cat on a sofa"',
}
"""Example commands, without the recipe."""

ANSWERS = {True: "yes", False: "no", None: "depends"}  # on who you are; the licence says it

app = typer.Typer()
presets_app = typer.Typer(name="presets")
app.add_typer(presets_app)
recipes_app = typer.Typer(name="recipes")
app.add_typer(recipes_app)


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
    found = [
        preset for preset in PRESETS.all().values() if preset.is_commercial or not commercial_only
    ]
    if as_json:
        print_json([_facts(preset) for preset in found])
        return
    rows = [
        (
            *(entry.name, entry.family, str(entry.image_size_px), str(len(entry.timesteps))),
            *(_spell(_capabilities(entry)), f"{ANSWERS[entry.is_commercial]}: {entry.licence}"),
        )
        for entry in found
    ]
    write_table(rows, headings=("preset", "family", "px", "steps", "can", "commercial use"))


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
    """Describe one preset."""
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


@recipes_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "swiftpie recipes",
        "swiftpie recipes --commercial-only --json",
        "swiftpie recipes show sdxl-turbo",
    ),
)
def recipes(
    *, context: typer.Context, commercial_only: CommercialOnly = False, as_json: AsJson = False
) -> None:
    """List the recipes: each is a preset with everything it needs to draw your subject."""
    if context.invoked_subcommand is not None:
        return
    facts = {name: _recipe_facts(recipe) for name, recipe in RECIPES.all().items()}
    found = [fact for fact in facts.values() if fact["is_commercial"] or not commercial_only]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            *(
                str(entry["name"]),
                str(entry["use"]),
                str(entry["image_size_px"]),
                str(entry["steps"]),
            ),
            *(_spell(entry["is_on_disk"]), _answer(entry["is_commercial"])),
        )
        for entry in found
    ]
    write_table(rows, headings=("recipe", "for", "px", "steps", "here", "commercial use"))


@recipes_app.command(
    name="show",
    epilog=examples("swiftpie recipes show sdxl-turbo", "swiftpie recipes show face-plus --json"),
)
def show_recipe(
    *,
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The recipe.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Describe one recipe: its parts, their versions and their licences."""
    assert context.parent is not None  # `swiftpie recipes`, whose options count here too
    facts = _recipe_facts(RECIPES.get(name))
    if as_json or context.parent.params["as_json"]:
        print_json(facts)
        return
    terms = facts.pop("licences")
    parts = facts.pop("parts")
    assert isinstance(terms, list)
    assert isinstance(parts, list)
    facts["is_commercial"] = _answer(facts["is_commercial"])
    write_table([(key.replace("_", " "), _spell(value)) for key, value in facts.items()])
    print_text("\n")
    write_table(
        [
            (part["part"], part["place"], (part["revision"] or "newest")[:REVISION])
            for part in parts
        ],
        headings=("part", "where it is published", "version"),
    )
    print_text("\n")
    write_table(
        [(term["part"], term["licence"], _answer(term["is_commercial"])) for term in terms],
        headings=("part", "licence", "commercial"),
    )


@app.command(epilog=examples("swiftpie doctor", "swiftpie doctor --json"))
def doctor(*, as_json: AsJson = False) -> None:
    """Show versions, processor, devices, memory and folders, for bug reports."""
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    optional = {name: _version(name) for name in OPTIONAL_PACKAGES}
    here = {name: is_on_disk(preset) for name, preset in PRESETS.all().items()}
    facts: dict[str, object] = {
        "swiftpie": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "optional_packages": optional,
        "processor": f"{processor_name()} ({os.cpu_count()} cores)",
        "instructions": {"8-bit": instructions(EIGHT_BITS), "bfloat16": instructions(BFLOAT16)},
        "threads": torch.get_num_threads(),
        "devices": ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])],
        "free_memory_gib": round(free_main_memory() / 2**30, 2),
        "weights": {
            name: {"source": PRESETS.get(name).source, "is_on_disk": is_here}
            for name, is_here in here.items()
        },
        "package_folder": str(Path(__file__).parents[2]),
        "offline": {name: os.environ.get(name, "not set") for name in OFFLINE_VARIABLES},
    }
    if as_json:
        print_json(facts)
        return
    facts["weights"] = {
        name: _place(PRESETS.get(name), is_here=is_here) for name, is_here in here.items()
    }
    facts["optional_packages"] = {
        name: version or f'not installed; pip install "swiftpie[{OPTIONAL_PACKAGES[name]}]"'
        for name, version in optional.items()
    }
    rows = []
    for name, value in facts.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {part}".strip().replace("_", " "), _spell(fact)) for part, fact in parts]
    write_table(rows)


@app.command(name="show", epilog=examples("swiftpie show out.png", "swiftpie show out.webp --json"))
def show_origin(
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A picture; - reads standard input.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what made a picture: prompts, recipe, preset, seed and more, from its file.

    Content credentials are checked: who signed them, and whether the file was changed afterwards.
    """
    data = read_bytes(file)
    signed = credentials_of(data)
    stored = read_origin(data, name=file) if not signed else read_stored(data)
    facts = {name: stored[name] for name in ORIGIN_FIRST if name in stored} | stored | signed
    if as_json:
        print_json(facts)
    else:
        write_table([(name.replace("_", " "), value) for name, value in facts.items()])


def credentials_of(data: bytes) -> dict[str, str]:
    """Return what the content credentials of a picture say; empty if it has none."""
    from swiftpie.engine.credentials import MANIFEST_MARK, read

    if MANIFEST_MARK not in data:
        return {}
    try:
        found = read(data)
    except MissingExtra as error:
        return {"credentials": f"not checked. {error}"}
    return {} if found is None else found.describe()


def read_bytes(file: str) -> bytes:
    """Return the bytes of a picture."""
    if file == STREAM:
        return typer.get_binary_stream("stdin").read()
    read_stored(file)  # says what is wrong with a file that is no picture
    return Path(file).read_bytes()


def read_stored(source: str | bytes) -> dict[str, str]:
    """Return what SwiftPie wrote into a picture; empty for those of others."""
    from swiftpie.imageio.writing import read_metadata

    return read_metadata(source)


def read_origin(data: bytes, *, name: str) -> dict[str, str]:
    """Return what SwiftPie wrote into one of its pictures."""
    stored = read_stored(data)
    if not stored:
        raise InputError(
            f"'{name}' does not say what made it. SwiftPie stores that in its pictures, and "
            "other programs may remove it. Choose a file that SwiftPie wrote."
        )
    return stored


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_on_disk(preset: Preset) -> bool:
    """Whether the weights of `preset` and its base are here: in the package or the hub's cache.

    Weights that users download by hand are not found.
    """
    if preset.repository is None:
        return preset.source.startswith("package:")
    return _is_cached(preset.repository, preset.file) and (
        preset.base is None or _is_cached(preset.base, None)
    )


def _is_cached(repository: str, file: str | None) -> bool:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return False
    return (folder / file).is_file() if file else any(folder.glob("*/*.safetensors"))


def _place(preset: Preset, *, is_here: bool) -> str:
    if preset.source.startswith("local:"):
        return f"bring them with --weights: {preset.source.removeprefix('local:')}"
    return f"{'on disk' if is_here else 'not here'}, {preset.source}"


def _check_commercial(preset: Preset) -> None:
    if preset.is_commercial:
        return
    reason = "depends on who you are" if preset.is_commercial is None else "is not allowed"
    raise CapabilityError(
        f"The licence of {preset.name!r} is {preset.licence!r}; commercial use {reason}. Choose "
        "a preset whose licence allows it to everyone, from `swiftpie presets --commercial-only`."
    )


def _facts(preset: Preset) -> dict[str, object]:
    return {name: getattr(preset, name, None) for name in FACTS} | {
        "steps": len(preset.timesteps),
        "timesteps": list(preset.timesteps),
        "capabilities": _capabilities(preset),
        "defaults": dict(preset.defaults),
        "kind": preset.kind.value,
    }


def _recipe_facts(recipe: Recipe) -> dict[str, object]:
    """Return the facts of a recipe that need no network."""
    preset = recipe.apply()
    terms = licences.recipe_terms(recipe)
    parts = [
        {
            "part": name.replace("_", " "),
            "place": str(replace(reference, revision=None)),
            "revision": reference.revision,
        }
        for name, reference in recipe.references.items()
    ]
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "use": recipe.use.value,
        "command": f"swiftpie {COMMAND_OF[recipe.use]} --recipe {recipe.name}",
        "is_on_disk": is_here(recipe),
        "is_commercial": _together([term.is_commercial for term in terms]),
        "preset": preset.name,
        "image_size_px": preset.image_size_px,
        "steps": recipe.steps or len(preset.timesteps),
        "other_steps": [
            step_count for step_count in preset.step_counts if step_count != len(preset.timesteps)
        ],
        "scales": dict(preset.defaults),
        "detail": recipe.detail or "adapter",
        "detail_mask": preset.detail_mask or "none",
        "dtype": recipe.dtype or "auto",
        "face_encoder": recipe.face_encoder,
        "parts": parts,
        "licences": [term._asdict() for term in terms],
    }


def _together(answers: list[bool | None]) -> bool | None:
    """Return whether a whole may be used commercially, from the answers of its parts."""
    if False in answers:
        return False
    return None if None in answers else True


def _answer(is_commercial: object) -> str:
    assert is_commercial is None or isinstance(is_commercial, bool)
    return ANSWERS[is_commercial]


def _capabilities(preset: Preset) -> list[str]:
    return sorted(capability.value for capability in preset.capabilities)


def _spell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(str(item) for item in value) or "none"
        case dict():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case _:
            return str(value)
