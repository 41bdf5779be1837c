"""Pictures of one call: where they are read from, and where they go."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import print_json, say
from swiftpie.cli.options import OutputOptions
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.types import GenerationResult, Identity

STREAM = "-"  # stands for standard input or output
MAX_STORED_PROMPT = 4000  # characters; no model reads as many

Subjects = Annotated[
    list[str],
    typer.Argument(
        metavar="SUBJECT...",
        help="Pictures of one subject, each PICTURE or PICTURE:MASK, or one identity file; "
        "- reads standard input.",
        show_default=False,
    ),
]


class SubjectPath(NamedTuple):
    """One SUBJECT argument, taken apart."""

    picture: str
    mask: str | None


class SubjectPictures(NamedTuple):
    """A picture that can be read and its mask; an identity file is a `Path`."""

    picture: "str | Path | Image.Image"
    mask: "str | Image.Image | None"


class Target(NamedTuple):
    """Where one picture goes, and what shows the place of its subject or its change."""

    picture: Path | None  # None is standard output
    mask: Path | None = None  # None is nowhere


def split_subject(text: str) -> SubjectPath:
    """Take PICTURE:MASK apart; a name that exists as a whole is a picture, colons and all."""
    if text == STREAM or _is_file(text):
        return SubjectPath(text, None)
    places = [place for place, letter in enumerate(text) if letter == ":"]
    for place in reversed(places):
        picture, mask = text[:place], text[place + 1 :]
        if mask and (picture == STREAM or _is_file(picture)):
            return SubjectPath(picture, mask)
    return SubjectPath(text, None)


def read_subjects(texts: list[str]) -> list[SubjectPictures]:
    """Take SUBJECT arguments apart and look at every header, so that mistakes show at once.

    Raises:
        ImageError: A picture or mask cannot be read.
        ConfigError: An identity file came with anything else.
    """
    from swiftpie.pipelines.identity import is_identity_file

    paths = [split_subject(text) for text in texts]
    if any(is_identity_file(path.picture) for path in paths):
        if len(paths) > 1 or paths[0].mask is not None:
            raise ConfigError(
                "An identity file came with other pictures or a mask. It already is a whole "
                "subject. Give it alone, or encode all pictures again."
            )
        return [SubjectPictures(Path(paths[0].picture), None)]
    return [
        SubjectPictures(
            read_picture(path.picture), None if path.mask is None else read_picture(path.mask)
        )
        for path in paths
    ]


def encode_subjects(session: "Session", pictures: list[SubjectPictures]) -> "Identity":
    """Return the identity of the one subject that all `pictures` show."""
    only = pictures[0].picture
    if isinstance(only, Path):
        return session.load_identity(only)
    return session.encode_identity(
        [one.picture for one in pictures], masks=[one.mask for one in pictures]
    )


def read_picture(name: str) -> "str | Image.Image":
    """Return standard input as a picture for `-`, any other name itself."""
    from swiftpie.files import load_image, open_image

    if name == STREAM:
        return load_image(sys.stdin.buffer)
    open_image(name)
    return name


def plan_outputs(
    options: OutputOptions, *, count: int = 1, masks: Path | None = None, flag: str = ""
) -> list[Target]:
    """Name the files of `count` pictures and refuse what could not be written.

    Args:
        options: Where pictures go.
        count: Of pictures.
        masks: Where the mask of each goes, if anywhere.
        flag: The option that says so.

    Raises:
        ConfigError: One place would have to hold two things.
        InputError: A file exists or cannot be written.
    """
    from swiftpie.images import check_image_target

    out = options.out
    if out == STREAM and (count > 1 or options.as_json):
        raise ConfigError(
            "Standard output was asked to hold more than one thing. It holds one picture and "
            "no JSON. Give a file name with -o."
        )
    if masks == Path(out):
        raise ConfigError(
            f"'{out}' is both --out and {flag}. Two different files are needed. Rename one."
        )
    pictures = [None] if out == STREAM else _numbered(Path(out), count)
    shapes = [None] * count if masks is None else _numbered(masks, count)
    for path in (*pictures, *shapes):
        if path is not None:
            check_image_target(path, force=options.force)
    return [Target(*pair) for pair in zip(pictures, shapes, strict=True)]


def write_outputs(
    result: "GenerationResult",
    targets: list[Target],
    *,
    metadata: Mapping[str, str],
    force: bool,
) -> None:
    """Write pictures and masks, each with `metadata` and its own seed."""
    rows = zip(result.images, result.subject_masks, result.seeds, targets, strict=True)
    for image, mask, seed, target in rows:
        facts = {**metadata, "seed": str(seed)}
        write_output(image, mask, target=target, metadata=facts, force=force)


def write_output(
    image: "Image.Image",
    mask: "Image.Image",
    *,
    target: Target,
    metadata: Mapping[str, str],
    force: bool,
) -> None:
    """Write one picture and its mask where they belong, each with `metadata`."""
    from swiftpie.images import encode_image, save_image

    if target.mask is not None:
        save_image(mask, target.mask, metadata=metadata, force=force)
    if target.picture is not None:
        save_image(image, target.picture, metadata=metadata, force=force)
    else:
        data = encode_image(image, ".png", metadata=metadata)
        typer.get_binary_stream("stdout").write(data)


def origin_of(preset: str, scales: object, **texts: str) -> dict[str, str]:
    """Return what every picture says of its making: prompts and other words, preset and scales."""
    return {
        **{name: text[:MAX_STORED_PROMPT] for name, text in texts.items()},
        "preset": preset,
        "swiftpie": __version__,
        **{name: str(value) for name, value in vars(scales).items()},
    }


def tell_written(target: Target, seed: int, *, more: str = "") -> None:
    """Tell where a picture went and by which seed it can be drawn again."""
    say(f"wrote {target.picture or 'the picture to standard output'} (seed {seed}{more})")


def print_pictures(
    pictures: Sequence[Mapping[str, object]], timings_ms: Mapping[str, float], **facts: object
) -> None:
    """Write what was made, where it is and how long it took as JSON; paths become text."""
    rows = [
        {name: str(one) if isinstance(one, Path) else one for name, one in picture.items()}
        for picture in pictures
    ]
    timings = {stage: round(ms, 2) for stage, ms in timings_ms.items()}
    print_json({"pictures": rows, **facts, "timings_ms": timings})


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # the name cannot exist; reading it will say why


def _numbered(path: Path, count: int) -> list[Path]:
    """Return `path`, or with several pictures `path` with -1, -2 ... before the suffix."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]
