"""Options made from what the fields of values say of themselves, and what stands for pictures."""

import functools
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Unpack, get_origin, is_typeddict

import typer

from swiftpie.apps.batch.lists import read_prompts as read_prompts
from swiftpie.apps.cli.asking import ask
from swiftpie.backbones.choices import Choices, LoadOptions
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.preset import Preset
from swiftpie.backbones.recipe import Use
from swiftpie.backbones.resolve import best_recipe, settle
from swiftpie.config import Option
from swiftpie.errors import ConfigError
from swiftpie.pipelines.drawing.settings import Scales
from swiftpie.pipelines.naming import log_library_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.backbones.acquire.download import Needs
    from swiftpie.backbones.recipe import Recipe
    from swiftpie.engine.session import Session
    from swiftpie.library import Named
    from swiftpie.types import Cutout, Identity

STREAM = "-"  # stands for standard input or output
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic")
REQUIRED = inspect.Parameter.empty


class Fields(NamedTuple):
    """Which fields of a class become options of a command; see `with_fields`."""

    source: type
    names: tuple[str, ...]
    required: tuple[str, ...] = ()  # of them, where the class has a default


def with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command options for the fields of the values that it takes.

    Of a parameter `settings: Annotated[EditSettings, Fields(EditSettings, ("mode", "rule"))]` users
    see `--mode` and `--rule`, and the command gets `EditSettings(mode=…, rule=…)`. What nobody
    gave is left out, so that the class decides; of keywords also switches that are off, so that a
    recipe may turn them on. With `Annotated[dict[str, float], …]` the command gets what was given
    alone, for a value that is not known yet.
    """
    parameters: list[inspect.Parameter] = []
    values: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        fields = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
        if not isinstance(fields, Fields):
            parameters.append(parameter)
            continue
        made = parameter.annotation.__origin__
        values[parameter.name] = (get_origin(made) or made, fields.names)
        parameters += [
            _parameter(fields, name, has_default=made is fields.source) for name in fields.names
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever users may give
        for value, (make, names) in values.items():
            options = {name: given.pop(name) for name in names}
            absent = (None, False) if is_typeddict(make) else (None,)
            given[value] = make(
                **{
                    name: one
                    for name, one in options.items()
                    if not any(one is no for no in absent)
                }
            )
        command(**given)

    signature = inspect.Signature(parameters)
    run.__dict__["__signature__"] = signature
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def option_of(source: type, name: str) -> Any:  # noqa: ANN401 - what Typer reads is untyped
    """Return the option that a field of a class describes, for `Annotated`."""
    option, _ = _described(source, name)
    return typer.Option(
        *(option.flags or (f"--{name.replace('_', '-')}",)),
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        max=option.most,
    )


def _parameter(fields: Fields, name: str, *, has_default: bool) -> inspect.Parameter:
    option, kind = _described(fields.source, name)
    default: object = False if kind is bool else None
    if name in fields.required:
        default = REQUIRED
    elif has_default:
        is_value = hasattr(fields.source, "__dataclass_fields__")
        default = getattr(fields.source, name, REQUIRED) if is_value else option.default or default
    kind = kind | None if default is None else kind
    annotate: Any = Annotated  # made here from values, which type checkers do not follow
    annotation = annotate[kind, option_of(fields.source, name)]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _described(source: type, name: str) -> tuple[Option, Any]:
    annotation = source.__annotations__[name]
    (option,) = annotation.__metadata__
    assert isinstance(option, Option)
    return option, option.kind or annotation.__origin__


@dataclass(frozen=True)
class OutputOptions:
    """Where the pictures of a call go."""

    out: Annotated[
        str,
        Option("Picture to write (.png, .jpg, .webp, .tif); - is stdout.", "FILE", ("-o", "--out")),
    ]
    as_json: Annotated[
        bool, Option("Write the result as JSON to standard output.", flags=("--json",))
    ] = False
    force: Annotated[bool, Option("Replace files that exist.")] = False


Output = Annotated[OutputOptions, Fields(OutputOptions, ("out", "as_json", "force"))]
AsJson = Annotated[bool, option_of(OutputOptions, "as_json")]
Force = Annotated[bool, option_of(OutputOptions, "force")]
PictureOut = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="FILE", help="Picture to write (.png, .jpg, .webp, .tif)."),
]

CommercialOnly = Annotated[
    bool, typer.Option("--commercial-only", help="Only what everyone may use commercially.")
]
DETAIL_MASK_HELP = (
    "Where in its region the detail branch acts; a FILE is white there. By default what suits the "
    "preset, or all of the region if there is a --mask."
)
MASK_HELP = "Region that may change; a FILE is white there."
BOX_HELP = "Where subject or change goes, as fractions from 0 to 1; once for each subject."

PresetName = Annotated[str, option_of(LoadOptions, "preset")]
Device = Annotated[str, option_of(LoadOptions, "device")]
ENCODING = (
    *("recipe", "preset", "weights", "base", "adapter", "detail", "image_encoder", "autoencoder"),
    *("dtype", "allow_pickle", "offline", "yes", "device"),
)
DRAWING = ("recipe", "preset", "steps", *ENCODING[2:], "engine")
Networks = Annotated[LoadOptions, Fields(LoadOptions, ENCODING)]

SCALES = ("identity_scale", "detail_scale", "background_scale", "text_scale", "balance")
ScaleChanges = Annotated[dict[str, float], Fields(Scales, SCALES)]

IdentityScale = Annotated[float | None, option_of(Scales, "identity_scale")]


def check_prompt(prompt: str) -> str:
    """Return `prompt`, unless a file was given in its place.

    Raises:
        ConfigError: It is a file, or ends as pictures and identity files do.
    """
    if _is_file(prompt) or prompt.lower().strip().endswith((*PICTURE_SUFFIXES, ".spid")):
        raise ConfigError(
            f"The prompt is '{prompt}', which names a file. A sentence is needed there, after all "
            "pictures, or @FILE for a file of prompts. Write for example: swiftpie personalize "
            'front.png side.png "a dog at sea".'
        )
    return prompt


DataPath = Annotated[
    Path | None,
    typer.Option("--data", metavar="PATH", help="The sticker pack, if it is elsewhere."),
]
Subjects = Annotated[
    list[str],
    typer.Argument(
        metavar="SUBJECT...",
        help="Pictures of one subject, each PICTURE or PICTURE:MASK, or one identity file, or a "
        "name of `swiftpie library`; - reads standard input.",
        show_default=False,
    ),
]
Cutouts = Annotated[
    list[str] | None,
    typer.Option(
        "--cutout",
        metavar="auto|rembg[:MODEL]|none|PLACE|MASK",
        help="How the subject is told from the rest of its picture: found by SwiftPie, or by the "
        "library rembg; not at all; within a box L,T,R,B; around points 'X,Y not:X,Y'; or by a "
        "file, white there. Once for all pictures, or once for each.",
        show_default=False,
    ),
]
Prompt = Annotated[
    str,
    typer.Argument(
        help="What the picture shall show; @FILE draws every line of a text file.",
        show_default=False,
        callback=check_prompt,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="Decides everything that is random; drawn and told if not given."),
]
NumImages = Annotated[
    int, typer.Option("-n", "--num-images", min=1, help="Pictures, with seeds that count up.")
]


class SubjectPictures(NamedTuple):
    """A picture that can be read and where its subject is; an identity file is a `Path`."""

    picture: str | Path | bytes
    mask: str | bytes | None
    cutout: str = "auto"  # how the subject is found without a mask
    named: "Named | None" = None  # whose picture it is, if it is of the library

    @property
    def is_cut(self) -> bool:
        """Whether nobody has to look for the subject in it."""
        return self.named is not None or isinstance(self.picture, Path)


class Opened(NamedTuple):
    """A loaded preset and how long loading took."""

    session: "Session"
    load_ms: float


def open_session(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: str = AUTO,
    engine: "str | Sequence[str]" = "",
    yes: bool = False,
    **choices: Unpack[Choices],
) -> Opened:
    """Load a preset or recipe as `swiftpie.load` does; `engine` may name several, by commas.

    What is missing is told, and fetched if people say so or `yes` was given.

    Raises:
        ConfigError: Something is missing, and nobody can be asked.
    """
    from swiftpie.engine.session import load

    started = time.perf_counter()
    given: LoadOptions = {"preset": preset, "recipe": recipe, "device": device, "engine": engine}
    needs = needs_of({**given, **choices})
    ask(needs, yes=yes)
    needs.fetch()
    session = load(**as_given({**given, **choices}))
    return Opened(session, (time.perf_counter() - started) * 1000)


def needs_of(loading: LoadOptions) -> "Needs":
    """Return what is to be fetched for what was chosen to be loaded."""
    from swiftpie.engine.session import needs_of as session_needs

    return session_needs(**as_given(loading))


def as_given(loading: LoadOptions) -> Any:  # noqa: ANN401 - keywords of `swiftpie.load`
    """Return what `swiftpie.load` takes of what people chose."""
    given = {name: one for name, one in loading.items() if name != "yes"}
    engine = given.get("engine")
    if isinstance(engine, str):
        given["engine"] = [name.strip() for name in engine.split(",") if name.strip()]
    return given


def settled(loading: LoadOptions, *, use: Use = Use.PERSONALIZE) -> tuple[LoadOptions, Preset]:
    """Return `loading` with what `--recipe auto` is for this use, and the preset it is about.

    Raises:
        ConfigError: There is no such preset or recipe, both are given, or neither where a face
            shall be drawn.
        WeightsError: No recipe is on this machine whole.
    """
    if use is Use.FACE and loading.get("recipe") is None and loading.get("preset") is None:
        raise ConfigError(
            "Neither --recipe nor --preset was given, and the embedded model draws no faces. A "
            "full-size model is needed. Write --recipe face-plus, or see `swiftpie recipes`."
        )
    if loading.get("recipe") == AUTO:
        loading = {**loading, "recipe": best_recipe(use)}
    return loading, settle(loading.get("preset"), loading.get("recipe"), {})[0]


def split_subject(text: str) -> tuple[str, str | None]:
    """Take PICTURE:MASK apart; a name that exists as a whole is a picture, colons and all."""
    if text == STREAM or _is_file(text):
        return (text, None)
    places = [place for place, letter in enumerate(text) if letter == ":"]
    for place in reversed(places):
        picture, mask = text[:place], text[place + 1 :]
        if mask and (picture == STREAM or _is_file(picture)):
            return (picture, mask)
    return (text, None)


def read_subjects(texts: list[str]) -> list[SubjectPictures]:
    """Take SUBJECT arguments apart and look at every header, so that mistakes show at once.

    Raises:
        ImageError: A picture or mask cannot be read.
        ConfigError: An identity file or a name came with anything else.
        NobodyNamed: It is no file, and nearly a name of the library.
    """
    from swiftpie.imageio.files import is_safetensors
    from swiftpie.library import named_by, packaged

    named = [who for one in texts if not _is_file(one) and (who := named_by(one))]
    if named and len(texts) > 1:
        raise ConfigError(
            f"The name {named[0].word!r} came with other pictures, and already is a whole subject. "
            "Give it alone, or one more subject with --also."
        )
    if named:
        return [SubjectPictures(packaged().picture(named[0].name), None, named=named[0])]
    paths = [split_subject(text) for text in texts]
    if any(is_safetensors(picture) for picture, _ in paths):
        if len(paths) > 1 or paths[0][1] is not None:
            raise ConfigError(
                "An identity file came with other pictures or a mask. It already is a whole "
                "subject. Give it alone, or encode all pictures again."
            )
        return [SubjectPictures(Path(paths[0][0]), None)]
    return [
        SubjectPictures(read_picture(picture), None if mask is None else read_picture(mask))
        for picture, mask in paths
    ]


def encode_subjects(session: "Session", pictures: list[SubjectPictures]) -> "Identity":
    """Return the identity of the one subject that all `pictures` show."""
    if pictures[0].named is not None:
        log_library_subjects([pictures[0].named])
        return session.named(pictures[0].named.word)
    only = pictures[0].picture
    if isinstance(only, Path):
        return session.load_identity(only)
    return session.encode_identity(
        [one.picture for one in pictures],
        masks=[one.mask for one in pictures],
        cutout=[one.cutout for one in pictures],
    )


def with_cutouts(
    subjects: list[list[SubjectPictures]], cutouts: list[str] | None
) -> list[list[SubjectPictures]]:
    """Return the pictures of each subject with how they are cut out: one way for all, or one each.

    Raises:
        ConfigError: There are other numbers of both, or a way has no picture to act on.
        InputError: A way cannot be read.
    """
    from swiftpie.models.cutout import parse_search

    if not cutouts:
        return subjects
    open_ones = [one for pictures in subjects for one in pictures if not one.is_cut]
    told = [one for one in cutouts if (search := parse_search(one)) is None or search.has_hints]
    if len(cutouts) == 1 and len(open_ones) > 1 and told:
        raise ConfigError(
            f"--cutout {told[0]} came with {len(open_ones)} pictures, and one place does not fit "
            "all. Give as many --cutout as pictures, auto for those that need none."
        )
    if not open_ones or len(cutouts) not in {1, len(open_ones)}:
        raise ConfigError(
            f"{len(cutouts)} --cutout came with {len(open_ones)} pictures to cut out; identity "
            "files and the library are cut out already. Give one for all, or one a picture, in "
            "their order."
        )
    each = iter(cutouts * len(open_ones) if len(cutouts) == 1 else cutouts)
    changed = [
        [one if one.is_cut else _cut_as(one, next(each)) for one in pictures]
        for pictures in subjects
    ]
    if changed == subjects and set(cutouts) != {"auto"}:
        raise ConfigError(
            f"--cutout {cutouts[0]} has no effect, as every picture came with its mask. Leave one "
            "of them out."
        )
    return changed


def _cut_as(picture: SubjectPictures, way: str) -> SubjectPictures:
    from swiftpie.imageio.cutout import Way
    from swiftpie.models import rembg
    from swiftpie.models.cutout import parse_search

    if picture.mask is not None:
        return picture  # it answers the question for its own picture
    search = parse_search(way)
    if search is None:
        return picture._replace(mask=read_picture(way))
    if search.way is Way.REMBG:
        rembg.locate(search.model)  # a mistake shows before a model is loaded
    return picture._replace(cutout=way)


def told_named(named: "Sequence[Named]") -> dict[str, Any]:
    """Return who in a picture is of the library, as JSON has it; nothing if nobody is."""
    return {"named": [one._asdict() for one in named]} if named else {}


def list_cutouts(cutouts: "tuple[tuple[Cutout, ...], ...]") -> list[list[dict[str, Any]]]:
    """Return how the pictures of each subject were cut out, as JSON has it."""
    return [[one._asdict() for one in pictures] for pictures in cutouts]


def read_picture(name: str) -> str | bytes:
    """Return what standard input holds for `-`, any other name itself, if it is a picture."""
    from swiftpie.imageio.files import open_image, read_bytes

    given = read_bytes(sys.stdin.buffer) if name == STREAM else name
    open_image(given)
    return given


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # the name cannot exist; reading it will say why
