"""`swiftpie fetch`: download what a recipe, a preset or a face encoder needs."""

from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.cli import console, options
from swiftpie.cli.loading import confirm_download, plan_downloads, print_download
from swiftpie.errors import ConfigError, did_you_mean
from swiftpie.faces import FACE_ENCODERS

if TYPE_CHECKING:
    from swiftpie.backbones.downloads import DownloadPlan

CHOSEN = (
    *("weights", "base", "adapter", "image_encoder", "autoencoder", "inversion", "dtype"),
    *("allow_pickle", "yes", "device", "engine"),
)
Name = Annotated[
    str, options.argument("A recipe, a preset or a face encoder; see `swiftpie recipes`.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Report what would be downloaded, and stop.")
]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        "swiftpie fetch sdxl-turbo",
        "swiftpie fetch sdxl-lightning-4 --dry-run --json",
        "swiftpie fetch sdxl-turbo --engine tiny-decoder --yes",
        "swiftpie fetch sdxl-lightning-4 "
        "--adapter h94/IP-Adapter:sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors",
        "swiftpie fetch opencv",
    )
)
@options.with_fields
def fetch(
    *,
    name: Name,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, CHOSEN)],
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Download everything that NAME needs, so that this machine can be offline later.

    huggingface_hub downloads; every file is compared with the checksum of its publisher.
    Commands that draw download missing files by themselves.
    """
    faces, networks = _needs_of(name, loading)
    needs = faces + networks
    facts = _facts(needs)
    if dry_run:
        print_download(needs)
    else:
        confirm_download(needs, yes=loading.get("yes", False))
        needs.fetch()
        _finish(name, faces, loading)
    if as_json:
        console.print_json(facts)
    elif not dry_run:
        console.say(f"Everything that {name} needs is here; --offline now works with it.")


def _needs_of(name: str, loading: LoadOptions) -> "tuple[DownloadPlan, DownloadPlan]":
    """Return what face encoders and networks need."""
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.backbones.sources import plan_faces

    recipe = RECIPES.get(name) if name in RECIPES.names() else None
    encoder = name if recipe is None else recipe.face_encoder
    faces = DownloadPlan()
    if encoder in FACE_ENCODERS.names():
        faces = plan_faces([encoder or ""], {})
        if recipe is None:
            return faces, DownloadPlan()
    if recipe is not None:
        return faces, plan_downloads({**loading, "recipe": recipe})
    if name in PRESETS.names():
        return faces, plan_downloads({**loading, "preset": name})
    known = [*RECIPES.names(), *PRESETS.names(), *FACE_ENCODERS.names()]
    advice = did_you_mean(name, known, otherwise="See `swiftpie recipes` and `swiftpie presets`.")
    raise ConfigError(f"{name!r} is not a recipe, a preset or a face encoder. {advice}")


def _finish(name: str, faces: "DownloadPlan", loading: LoadOptions) -> None:
    """Put files of face encoders in place, and download what only a pickle names."""
    from swiftpie.backbones.sources import fetch_faces

    if faces.parts:
        fetch_faces([RECIPES.get(name).face_encoder or "" if name in RECIPES.names() else name])
    _, networks = _needs_of(name, loading)
    networks.fetch()


def _facts(needs: "DownloadPlan") -> dict[str, object]:
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
