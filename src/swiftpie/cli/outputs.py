"""Where the pictures of one call go, checked before and written after."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from swiftpie.cli.options import STREAM
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from swiftpie.types import GenerationResult

MAX_STORED_PROMPT = 4000  # characters; no model reads as many


class Output(NamedTuple):
    """Where one picture goes."""

    picture: Path | None  # None is standard output
    mask: Path | None  # None is nowhere


def plan_outputs(out: str, save_mask: Path | None, *, count: int, as_json: bool) -> list[Output]:
    """Name the files of `count` pictures.

    Raises:
        ConfigError: One place would have to hold two things.
    """
    if out == STREAM and (count > 1 or as_json):
        raise ConfigError(
            "Standard output was asked to hold more than one thing. It holds one picture and "
            "no JSON. Give a file name with -o."
        )
    if save_mask == Path(out):
        raise ConfigError(
            f"'{out}' is both --out and --save-mask. Two different files are needed. Rename one."
        )
    pictures = [None] if out == STREAM else _numbered(Path(out), count)
    masks = [None] * count if save_mask is None else _numbered(save_mask, count)
    return [Output(*pair) for pair in zip(pictures, masks, strict=True)]


def check_outputs(outputs: list[Output], *, force: bool) -> None:
    """Refuse what could not be written, before a model is loaded for it."""
    from swiftpie.images import check_image_target

    for output in outputs:
        for path in output:
            if path is not None:
                check_image_target(path, force=force)


def write_outputs(
    result: "GenerationResult", outputs: list[Output], *, metadata: Mapping[str, str], force: bool
) -> None:
    """Write pictures and masks, each with `metadata` and its own seed."""
    rows = zip(result.images, result.subject_masks, result.seeds, outputs, strict=True)
    for image, mask, seed, output in rows:
        facts = {**metadata, "seed": str(seed)}
        write_output(image, mask, output=output, metadata=facts, force=force)


def write_output(
    image: "Image",
    mask: "Image",
    *,
    output: Output,
    metadata: Mapping[str, str],
    force: bool,
) -> None:
    """Write one picture and its mask where they belong, each with `metadata`."""
    from swiftpie.images import encode_image, save_image

    if output.mask is not None:
        save_image(mask, output.mask, metadata=metadata, force=force)
    if output.picture is not None:
        save_image(image, output.picture, metadata=metadata, force=force)
    else:
        data = encode_image(image, ".png", metadata=metadata)
        typer.get_binary_stream("stdout").write(data)


def _numbered(path: Path, count: int) -> list[Path]:
    """Return `path`, or with several pictures `path` with -1, -2 ... before the suffix."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]
