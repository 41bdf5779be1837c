"""`swiftpie recipes`, `presets`, `licenses`, `fetch`, `doctor`, `show`: what there is, and here."""

import os
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.filesize import decimal as as_size

from swiftpie import __version__
from swiftpie.backbones import licences
from swiftpie.backbones.choices import Choices, LoadOptions, resolve
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.machine import BFLOAT16, free_main_memory, instructions, processor_name
from swiftpie.backbones.presets import PRESETS, RECIPES, Preset, Recipe, Use, describe
from swiftpie.backbones.sources import fetch_files, is_downloaded, plan_files, plan_published
from swiftpie.cli.console import examples, print_json, print_text, say, show, write_table
from swiftpie.cli.loading import NO_LICENCE, confirm_download, plan_downloads, print_download
from swiftpie.cli.options import STREAM, AsJson, FieldOptions, argument, with_fields
from swiftpie.errors import ConfigError, InputError, did_you_mean
from swiftpie.types import spell_cutouts

# The order in which people look.
ORIGIN_FIRST = ("prompt", "source_prompt", "keyword", "recipe", "preset", "seed")
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")
OPTIONAL_PACKAGES = {  # what they are for, as extras of SwiftPie are called
    "openvino": "openvino",
    "nncf": "int8",
    "onnxruntime": "faces",
    "peft": "lora",
    "fastapi": "serve",
    "uvicorn": "serve",
    "mcp": "mcp",
}
EIGHT_BITS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "i8mm", "dot")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
REVISION = 12  # letters of a commit that people are shown; --json has all
COMMAND_OF = {
    Use.PERSONALIZE: 'personalize dog.jpg "a dog on a beach" -o out.png',
    Use.FACE: 'personalize --face me.jpg "a person on a beach" -o out.png',
    Use.EDIT: 'edit cat.jpg "a dog on a sofa" -o out.png --source-prompt "a cat on a sofa"',
    Use.ANIMATE: 'animate dog.jpg "a dog runs on a beach" -o run.webp',
}
"""Example commands, without the recipe."""

ANSWERS = {True: "yes", False: "no", None: "depends"}  # on who you are; the licence says it

CHOSEN = (
    *("weights", "base", "adapter", "image_encoder", "autoencoder", "inversion", "reference"),
    *("dtype", "allow_pickle", "offline", "commercial_only", "yes", "device", "engine"),
)
Name = Annotated[
    str,
    argument(
        "A recipe, a preset, a face encoder or a network for photographs; see `swiftpie recipes`.",
        "NAME",
    ),
]
OnlyCommercial = Annotated[
    bool, typer.Option("--commercial-only", help="Only those that may be used commercially.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Report what would be downloaded, and stop.")
]

app = typer.Typer()


@app.command(epilog=examples("swiftpie presets", "swiftpie presets sd-turbo --json"))
def presets(
    *,
    name: Annotated[str, argument("One preset; by default all.", "[NAME]")] = "",
    commercial_only: OnlyCommercial = False,
    as_json: AsJson = False,
) -> None:
    """List the models that can be loaded, or describe one."""
    if name:
        facts = _facts(PRESETS.get(name))
        show(facts, _rows_of(facts), as_json=as_json)
        return
    found = [
        preset
        for preset in PRESETS.all().values()
        if not commercial_only or licences.is_free(licences.preset_terms(preset.name))
    ]
    rows = [
        (
            *(entry.name, entry.family, str(entry.image_size_px), str(len(entry.timesteps))),
            *(
                _spell(sorted(entry.capabilities)),
                f"{ANSWERS[entry.is_commercial]}: {entry.licence}",
            ),
        )
        for entry in found
    ]
    headings = ("preset", "family", "px", "steps", "can", "commercial use")
    show([_facts(preset) for preset in found], rows, headings=headings, as_json=as_json)


@app.command(epilog=examples("swiftpie recipes", "swiftpie recipes klein --json"))
def recipes(
    *,
    name: Annotated[str, argument("One recipe; by default all.", "[NAME]")] = "",
    commercial_only: OnlyCommercial = False,
    as_json: AsJson = False,
) -> None:
    """List the recipes, each a preset with everything that draws your subject, or describe one."""
    if name:
        facts = _recipe_facts(RECIPES.get(name))
        if as_json:
            print_json(facts)
        else:
            _write_recipe(facts)
        return
    found = [
        _recipe_facts(recipe)
        for recipe in RECIPES.all().values()
        if not commercial_only or licences.is_free(licences.recipe_terms(recipe))
    ]
    columns = ("name", "use", "image_size_px", "steps")
    rows = [
        (
            *(str(facts[column]) for column in columns),
            *(_spell(facts["is_on_disk"]), ANSWERS[facts["is_commercial"]]),
        )
        for facts in found
    ]
    headings = ("recipe", "for", "px", "steps", "here", "commercial use")
    show(found, rows, headings=headings, as_json=as_json)


def _rows_of(facts: dict[str, Any]) -> list[tuple[str, str]]:
    if "is_commercial" in facts:
        facts = facts | {"is_commercial": ANSWERS[facts["is_commercial"]]}
    return [(key.replace("_", " "), _spell(value)) for key, value in facts.items()]


def _write_recipe(facts: dict[str, Any]) -> None:
    write_table(_rows_of({key: facts[key] for key in facts if key not in ("parts", "licences")}))
    print_text("\n")
    parts = [
        (part["part"], part["place"], (part["revision"] or "not pinned")[:REVISION])
        for part in facts["parts"]
    ]
    write_table(parts, headings=("part", "where it is published", "version"))
    print_text("\n")
    terms = [
        (term["part"], term["licence"], ANSWERS[term["is_commercial"]])
        for term in facts["licences"]
    ]
    write_table(terms, headings=("part", "licence", "commercial"))


@app.command(epilog=examples("swiftpie doctor", "swiftpie doctor --json"))
def doctor(*, as_json: AsJson = False) -> None:
    """Show versions, processor, devices, memory and folders, for bug reports."""
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    optional = {name: _version(name) for name in OPTIONAL_PACKAGES}
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
        "recipes_here": [name for name, recipe in RECIPES.all().items() if is_downloaded(recipe)],
        "package_folder": str(Path(__file__).parents[2]),
        "offline": {name: os.environ.get(name, "not set") for name in OFFLINE_VARIABLES},
    }
    if as_json:
        print_json(facts)
        return
    facts["optional_packages"] = {
        name: version or f'not installed; pip install "swiftpie[{OPTIONAL_PACKAGES[name]}]"'
        for name, version in optional.items()
    }
    rows = []
    for name, value in facts.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {part}".strip().replace("_", " "), _spell(fact)) for part, fact in parts]
    write_table(rows)


@app.command(name="show", epilog=examples("swiftpie show out.png", "swiftpie show dog.spid --json"))
def show_origin(
    *,
    file: Annotated[str, argument("A picture or an identity file; - reads a picture.", "FILE")],
    as_json: AsJson = False,
) -> None:
    """Show what made a picture, or what an identity file holds: prompts, preset, seed and more.

    Content credentials (C2PA) are shown with their signer if the extra c2pa is installed, whether
    or not the signer may be trusted.

    Raises:
        InputError: The picture does not say what made it.
    """
    from swiftpie.imageio.credentials import credentials_in
    from swiftpie.imageio.decoding import is_safetensors
    from swiftpie.imageio.writing import read_metadata

    if file != STREAM and is_safetensors(file):
        known = _identity_facts(Path(file))
        show(known, _rows_of(known), as_json=as_json)
        return
    source = typer.get_binary_stream("stdin").read() if file == STREAM else file
    stored = read_metadata(source)
    if found := credentials_in(source):
        stored["credentials"] = str(found)
    if not stored:
        raise InputError(
            f"'{file}' does not say what made it. SwiftPie stores that in its pictures, and "
            "other programs may remove it. Choose a file that SwiftPie wrote."
        )
    facts = {name: stored[name] for name in ORIGIN_FIRST if name in stored} | stored
    show(facts, _rows_of(facts), as_json=as_json)


def _identity_facts(file: Path) -> dict[str, Any]:
    from swiftpie.pipelines.identity_file import FORMAT, read_identity_header

    header = read_identity_header(file)
    return {
        "format": FORMAT,
        "preset": header.preset,
        "fingerprint": header.fingerprint,
        "references": header.num_references,
        "tokens": header.num_tokens,
        "picture_px": header.picture_px,
        "tuned": header.tuned,
        "cutouts": spell_cutouts((header.cutouts,)),
        "size_kib": round(file.stat().st_size / 1024, 1),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _facts(preset: Preset) -> dict[str, Any]:
    return describe(preset) | {"steps": len(preset.timesteps), "repository": preset.repository}


def _recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """Return the facts of a recipe that need no network."""
    preset = recipe.apply()
    terms = licences.recipe_terms(recipe)
    answers = {term.is_commercial for term in terms}
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
        "is_on_disk": is_downloaded(recipe),
        "is_commercial": False if False in answers else None if None in answers else True,
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


@app.command(epilog=examples("swiftpie licenses", "swiftpie licenses sdxl-turbo --json"))
def licenses(
    *,
    name: Annotated[
        str, argument("A recipe, preset, face encoder or network; by default all.", "[NAME]")
    ] = "",
    commercial_only: OnlyCommercial = False,
    as_json: AsJson = False,
) -> None:
    """List the licence of everything that can be loaded, or of all parts of NAME.

    Licences are listed as their publishers state them; read them before you rely on them. Your
    photographs, and the people in them, have rights of their own.
    """
    found = [each for each in terms_of(name) if each.is_commercial is True or not commercial_only]
    rows = [(term.part, term.name, term.licence, ANSWERS[term.is_commercial]) for term in found]
    headings = ("part", "name", "licence", "commercial")
    show([term._asdict() for term in found], rows, headings=headings, as_json=as_json)


def terms_of(name: str) -> list[licences.LicenceTerms]:
    """Return the licences of a recipe, a preset or files by name; everything for ""."""
    if not name:
        return licences.everything()
    if name in RECIPES.names():
        return licences.recipe_terms(RECIPES.get(name))
    if name in PRESETS.names():
        return licences.preset_terms(name)
    if name in licences.file_names():
        return licences.file_terms(name)
    raise _unknown(name)


def _unknown(name: str) -> ConfigError:
    known = [*RECIPES.names(), *PRESETS.names(), *licences.file_names()]
    advice = did_you_mean(name, known, otherwise="See `swiftpie recipes` and `swiftpie presets`.")
    kinds = "a recipe, a preset, a face encoder or a network for photographs"
    return ConfigError(f"{name!r} is not {kinds}. {advice}")


@app.command(
    epilog=examples(
        "swiftpie fetch sdxl-turbo",
        "swiftpie fetch sdxl-lightning-4 --dry-run --json",
        "swiftpie fetch sdxl-turbo --engine tiny-decoder --yes",
        "swiftpie fetch opencv",
        "swiftpie fetch birefnet",
        "swiftpie fetch swiftedit",
    )
)
@with_fields
def fetch(
    *,
    name: Name,
    loading: Annotated[LoadOptions, FieldOptions(LoadOptions, CHOSEN)],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Download everything that NAME needs, so that this machine can be offline later.

    huggingface_hub downloads; every file is compared with the checksum of its publisher. A release
    of GitHub without sums, as SwiftEdit's of 9.7 GB, is checked by sizes and the CRC of its
    archive; it takes twice its size while it is unpacked. After a stop, the same command goes on.
    Commands that draw download missing files by themselves, but no release. `--dry-run --offline`
    lists all files of a recipe as they stand in the package: sizes, sums and licences.
    """
    if loading.get("offline"):
        _show_published(name, dry_run=dry_run, as_json=as_json)
        return
    releases = _releases_of(name, loading)
    facts = _plan_facts(releases)
    is_agreed = loading.get("yes", False)
    if releases.missing and not dry_run:
        confirm_download(releases, yes=is_agreed)
        releases.fetch()
    if releases.missing:
        print_download(releases)
        say("What the rest takes is known when this is here.")
    else:
        faces, networks = _needs_of(name, loading)
        needs = faces + networks
        rest = _plan_facts(needs)  # begins when the releases are there
        facts = rest | {key: facts[key] + rest[key] for key in ("files", "bytes_left", "folders")}
        if dry_run:
            print_download(needs)
        else:
            confirm_download(needs, yes=is_agreed)
            needs.fetch()
            _finish(name, faces, loading)
    if as_json:
        print_json(facts)
    elif not dry_run:
        say(f"Everything that {name} needs is here; --offline now works with it.")
        if name in RECIPES.names():
            method = " --method inversion" if RECIPES.get(name).inversion else ""
            say(
                f"For example: swiftpie {COMMAND_OF[RECIPES.get(name).use]} --recipe {name}{method}"
            )


def _show_published(name: str, *, dry_run: bool, as_json: bool) -> None:
    """List what the package knows of a recipe's files, or raise ConfigError."""
    if not dry_run or name not in RECIPES.names():
        raise ConfigError(
            "--offline lists the files of a recipe, and fetches nothing. Write `swiftpie fetch "
            "RECIPE --dry-run --offline`, or leave --offline out."
        )
    facts = _plan_facts(plan_published(RECIPES.get(name)))
    if as_json:
        print_json(facts)
        return
    lines, total = list[str](), 0
    for file in facts["files"]:
        place = f"{file['repository']}@{(file['revision'] or 'newest')[:REVISION]}"
        heading = f"{file['part']}: {place} (licence: {file['licence'] or NO_LICENCE})"
        lines += [] if heading in lines else [heading]
        size = as_size(file["bytes"]) if file["bytes"] else "not stated"
        lines.append(f"  {size:>10}  {(file['sha256'] or 'no sum')[:REVISION]:12}  {file['file']}")
        total += file["bytes"]
    print_text("\n".join([*lines, f"{as_size(total)} in all files with a published size", ""]))


def _releases_of(name: str, loading: LoadOptions) -> "DownloadList":
    """Return the releases of GitHub that a recipe or preset needs and that are not here."""
    from swiftpie.backbones.releases import plan_releases

    recipe, preset = (name if name in known.names() else None for known in (RECIPES, PRESETS))
    preset = None if recipe is not None else preset
    known, choices = resolve(preset, recipe, cast("Choices", loading))
    licences.check_commercial(known, choices)
    return plan_releases(choices)


def _needs_of(name: str, loading: LoadOptions) -> "tuple[DownloadList, DownloadList]":
    recipe = RECIPES.get(name) if name in RECIPES.names() else None
    known = name if recipe is None else recipe.face_encoder
    files = DownloadList()
    if known in licences.file_names():
        limits: Choices = {"commercial_only": loading.get("commercial_only", False)}
        files = plan_files([known or ""], limits)
        if recipe is None:
            return files, DownloadList()
    if recipe is not None:
        return files, plan_downloads({**loading, "recipe": recipe})
    if name in PRESETS.names():
        return files, plan_downloads({**loading, "preset": name})
    raise _unknown(name)


def _finish(name: str, files: "DownloadList", loading: LoadOptions) -> None:
    """Put files of face encoders and networks in place; download what only a pickle names."""
    if files.parts:
        fetch_files([RECIPES.get(name).face_encoder or "" if name in RECIPES.names() else name])
    _, networks = _needs_of(name, loading)
    networks.fetch()


def _plan_facts(needs: "DownloadList") -> dict[str, Any]:
    return {
        "files": [
            {
                "part": part.name,
                "repository": None if part.listing is None else part.listing.repository,
                "revision": None if part.listing is None else part.listing.revision,
                "file": file.path,
                "bytes": file.size,
                "bytes_left": part.left(file),
                "sha256": file.sha256,
                "licence": part.licence,
            }
            for part, file in needs.missing
        ],
        "bytes_left": needs.bytes_left,
        "folders": [str(folder) for folder in needs.folders],
        "free_bytes": needs.free_bytes,
        "memory_bytes": needs.memory_bytes,
    }
