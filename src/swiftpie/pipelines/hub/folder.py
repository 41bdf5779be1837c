"""Pipelines as folders, written whole, and the adapter file in them."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from swiftpie.errors import InputError, WeightsError, short_reason
from swiftpie.files import atomic_folder
from swiftpie.pipelines.hub.modules import Modules

ADAPTER = "adapter.safetensors"
INDEX = "model_index.json"  # without it a folder is no pipeline
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder of its own, and put that in the place of the pipeline in `target`.

    Other files in `target` stay. Until everything is in place, `target` has no index.

    Raises:
        InputError: `target` is a file, or cannot be written to.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"'{target}' is a file. A folder is needed. Choose another name.")
    try:
        with atomic_folder(target) as new:
            write(new)
            if target.exists():
                _exchange(target, new)
    except OSError as error:
        raise InputError(
            f"The pipeline cannot be saved in '{target}' ({short_reason(error)}). A folder with "
            "room for all of its weights is needed. Choose another one."
        ) from error


def _exchange(target: Path, new: Path) -> None:
    """Move the parts of a pipeline out of `target` and those in `new` in, the index last."""
    parts = {one.name for one in fields(Modules)} | {ADAPTER} | {one.name for one in new.iterdir()}
    old = new / "old"
    old.mkdir()
    for name in (INDEX, *sorted(parts - {INDEX})):
        if (target / name).exists():
            (target / name).replace(old / name)
    for name in (*sorted(parts - {INDEX}), INDEX):
        if (new / name).exists():
            (new / name).replace(target / name)


def find_adapter(place: str | Path, options: Mapping[str, Any]) -> Path:
    """Return the adapter file of a pipeline in a folder or on the hub.

    Args:
        place: A folder, or OWNER/NAME.
        options: Those of diffusers' `from_pretrained`.

    Raises:
        WeightsError: There is none.
    """
    try:
        if Path(place).is_dir():
            return Path(place, ADAPTER).resolve(strict=True)
        shared = {name: options[name] for name in HUB_OPTIONS if name in options}
        return Path(hf_hub_download(str(place), ADAPTER, **shared))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise WeightsError(
            f"The pipeline in '{place}' has an image encoder but no '{ADAPTER}' to read it "
            f"({short_reason(error)}). A folder that `save_pretrained` wrote is needed. Get it "
            "again, or pass image_encoder=None to do without identities."
        ) from error
