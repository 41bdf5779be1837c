"""Where the pictures of one call go, checked before and written after."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from swiftpie.cli.options import STREAM
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from swiftpie.types import GenerationResult


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
    from swiftpie.images import encode_image, save_image

    for i, output in enumerate(outputs):
        facts = {**metadata, "seed": str(result.seeds[i])}
        if output.mask is not None:
            save_image(result.masks[i], output.mask, metadata=facts, force=force)
        if output.picture is not None:
            save_image(result.images[i], output.picture, metadata=facts, force=force)
        else:
            data = encode_image(result.images[i], ".png", metadata=facts)
            typer.get_binary_stream("stdout").write(data)


def _numbered(path: Path, count: int) -> list[Path]:
    """Return `path`, or with several pictures `path` with -1, -2 ... before the suffix."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]
