"""Options that several commands share, and what their values mean."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.backbones.choices import Choices
    from swiftpie.engine.session import Session
    from swiftpie.types import Identity

STREAM = "-"  # stands for standard input or output

Out = Annotated[
    str,
    typer.Option(
        "-o", "--out", metavar="FILE", help="Picture to write (.png, .jpg, .webp); - is stdout."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write the result as JSON to standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
PresetName = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="One of `swiftpie presets`.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="DIR", help="A folder of weights instead of the preset's own."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=1,
        metavar="N",
        show_default=False,
        help="Denoising steps, one of the numbers the weights were trained for; by default the "
        "preset's own.",
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|NAME", help="Folder, or name on the hub, of what the weights do not hold."
    ),
]
Adapter = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Identity adapter: SwiftPie's own or an IP-Adapter."),
]
ImageEncoder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The CLIP image encoder that --adapter reads.")
]
Inversion = Annotated[
    Path | None, typer.Option(metavar="DIR", help="SwiftEdit's inversion network, for edits.")
]
Precision = Literal["float32", "bfloat16", "float16"]
Dtype = Annotated[
    Precision | None, typer.Option(help="Numbers to compute with; by default float32.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read plain tensors from pickles; runs no code.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Use only weights that are on this machine already.")
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME]",
        show_default=False,
        help="What makes it quicker or smaller: any of `swiftpie engine`.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda, mps.")
]
Subjects = Annotated[
    list[str],
    typer.Argument(
        metavar="SUBJECT...",
        help="Pictures of one subject, each PICTURE or PICTURE:MASK, or one identity file; "
        "- reads standard input.",
        show_default=False,
    ),
]
DataPath = Annotated[
    Path | None,
    typer.Option("--data", metavar="PATH", help="The sticker pack, if it is elsewhere."),
]


class Opened(NamedTuple):
    """A loaded preset and how long loading took."""

    session: "Session"
    load_ms: float


class SubjectPath(NamedTuple):
    """One SUBJECT argument, taken apart."""

    picture: str
    mask: str | None


class SubjectPictures(NamedTuple):
    """A picture that can be read and its mask; an identity file is a `Path`."""

    picture: "str | Path | Image.Image"
    mask: "str | Image.Image | None"


def open_session(
    preset: str,
    choices: "Choices | None" = None,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    steps: int | None = None,
    engine: str = "",
) -> Opened:
    """Load a preset, with the transforms that `engine` names, by commas."""
    import swiftpie

    check_device(device)
    started = time.perf_counter()
    chosen: Choices = {**(choices or {}), "weights": weights, "steps": steps}
    names = [name.strip() for name in engine.split(",") if name.strip()]
    session = swiftpie.load(preset, device=device, engine=names, **chosen)
    return Opened(session, (time.perf_counter() - started) * 1000)


def choices_of(
    *,
    base: str | None = None,
    adapter: Path | None = None,
    image_encoder: Path | None = None,
    inversion: Path | None = None,
    dtype: Precision | None = None,
    allow_pickle: bool = False,
    offline: bool = False,
) -> "Choices":
    """Return what was chosen about loading, as `swiftpie.load` takes it."""
    import torch

    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return {
        "base": base,
        "adapter": adapter,
        "image_encoder": image_encoder,
        "inversion": inversion,
        "dtype": None if dtype is None else types[dtype],
        "allow_pickle": allow_pickle,
        "offline": offline,
    }


def check_device(name: str) -> None:
    """Try a device.

    Raises:
        ConfigError: There is no such device here.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"The device {name!r} cannot be used here. A device that PyTorch knows is needed. "
            "Choose cpu, or see `swiftpie doctor` for others."
        ) from error


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


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # the name cannot exist; reading it will say why
