"""Options of commands, made from the fields of the values that they take."""

import functools
import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, is_typeddict

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.batch.lists import IDENTITY, PICTURES
from swiftpie.config import Option, OptionField, Surface, options_of, read_options
from swiftpie.errors import ConfigError
from swiftpie.pipelines.request import SEED, PersonalizeRequest, Task, seeds_from
from swiftpie.pipelines.settings import Scales
from swiftpie.pipelines.tasks import EditRequest

STREAM = "-"  # stands for standard input or output
REQUIRED = inspect.Parameter.empty

_TEXT = Path(__file__).with_name("panels.toml").read_text(encoding="utf-8")
PANELS: Mapping[str, str] = tomllib.loads(_TEXT)
"""Groups of the help pages: the names of the parameters of each; an `Option` may name its own."""

CUTOUT = Option(
    "How the subject is cut out of its picture; once for all pictures, or once for each.\n\n"
    "auto: a network finds it, the default.\n\n"
    "NETWORK: isnet, birefnet or sam2 finds it, see `swiftpie fetch`; a box may follow.\n\n"
    "none: the whole picture.\n\n"
    "PLACE: a box L,T,R,B or points, as in '0.5,0.6 not:0.1,0.1'.\n\n"
    "MASK: a file, white where the subject is.",
    "auto|none|NETWORK|PLACE|MASK",
    ("--cutout",),
    kind=str,
)


class FieldOptions(NamedTuple):
    """Which fields of a class or a task become options of a command; see `with_fields`."""

    source: type | Task
    names: tuple[str, ...] = ()  # by default all that it offers on the command line
    without: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, OptionField]:
        """The fields by name, in the order of `names` or of their declaration."""
        if isinstance(self.source, Task):
            return self.source.options(Surface.CLI, without=self.without)
        if not self.names:
            return options_of(self.source, Surface.CLI, without=self.without)
        known = options_of(self.source)
        return {name: known[name] for name in self.names}


def with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command options for the fields of the values that it takes.

    With a parameter
    `settings: Annotated[EditSettings, FieldOptions(EditSettings, ("mode", "chord"))]` the
    command has the options `--mode` and `--chord`, and receives `EditSettings(mode=…, chord=…)`.
    Options that the user leaves out are left out of the call, so the class chooses its defaults;
    so are switches that are off in keywords of `load`, which a recipe may turn on. With
    `Annotated[dict[str, float], …]` the command receives only what the user gave, switches that
    are on among it, for a value that is completed later.
    """
    parameters: list[inspect.Parameter] = []
    values: dict[str, tuple[Callable[..., Any], dict[str, OptionField]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        fields = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
        if not isinstance(fields, FieldOptions):
            parameters.append(parameter)
            continue
        made = parameter.annotation.__origin__
        values[parameter.name] = (get_origin(made) or made, fields.options)
        parameters += [
            _parameter(option, is_whole=made is fields.source) for option in fields.options.values()
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever users may give
        for value, (make, fields) in values.items():
            options = {name: said(field, given.pop(name)) for name, field in fields.items()}
            absent = (None, False) if make is dict or is_typeddict(make) else (None,)
            given[value] = make(
                **{
                    name: option
                    for name, option in options.items()
                    if not any(option is no for no in absent)
                }
            )
        command(**given)

    signature = inspect.Signature(parameters)
    run.__dict__["__signature__"] = signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def argument(text: str, metavar: str | None = None, **more: Any) -> Any:  # noqa: ANN401 - as Typer has it
    """Return a positional argument with its help, which shows no default."""
    return typer.Argument(help=text, metavar=metavar, show_default=False, **more)


def option_of(source: type, name: str) -> Any:  # noqa: ANN401 - what Typer reads is untyped
    return _typer_option(options_of(source)[name])


def _typer_option(field: OptionField) -> Any:  # noqa: ANN401 - what Typer reads is untyped
    option = field.option
    is_number = {int, float} & {field.typed, *get_args(field.typed)}
    return typer.Option(
        *(option.flags or (f"--{field.name.replace('_', '-')}",)),
        help=option.help,
        metavar=option.metavar,
        rich_help_panel=option.panel,
        min=option.least if is_number else None,
        max=option.most if is_number else None,
        show_default=field.repeated is None,
    )


def said(field: OptionField, value: object) -> Any:  # noqa: ANN401 - of the field's type
    """Return a value as its field has it; several numbers were typed with commas."""
    if not isinstance(value, str) or not _is_several(field):
        return value
    return read_options({field.name: field}, {field.key: value}, is_text=True)[field.name]


def _is_several(field: OptionField) -> bool:
    """Whether a value is several numbers, as that of a box is."""
    return any(get_origin(kind) is tuple for kind in (field.typed, *get_args(field.typed)))


def _parameter(field: OptionField, *, is_whole: bool) -> inspect.Parameter:
    kind: Any = list[str] if field.repeated else str if _is_several(field) else field.typed
    default: object = False if kind is bool else None
    if is_whole:
        default = REQUIRED if field.default is MISSING else field.default
        default = False if default is None and kind is bool else default
    kind = kind | None if default is None else kind
    annotate: Any = Annotated  # made here from values, which type checkers do not follow
    annotation = annotate[kind, _typer_option(field)]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def arrange(command: Any) -> None:  # noqa: ANN401 - Typer's own copy of Click has no public types
    """Group the options of a command and of its subcommands; flags show no value."""
    panel_of = {name: panel for panel, names in PANELS.items() for name in names.split()}
    for param in command.get_params(typer.Context(command)):  # --help among them
        if param.param_type_name == "option":
            param.rich_help_panel = panel_of.get(param.name, param.rich_help_panel)
            param.metavar = "" if param.is_flag else param.metavar
    for below in getattr(command, "commands", {}).values():
        arrange(below)


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
    sign: Annotated[
        Path | None,
        Option(
            "Add content credentials (C2PA), signed by a PEM file with certificates and key; needs "
            "the extra c2pa.",
            "PEM",
        ),
    ] = None


@dataclass(frozen=True)
class EditOutput(OutputOptions):
    """Where edited pictures go, with what shows where they changed."""

    save_region: Annotated[
        Path | None, Option("Also write the region that may have changed, as a mask.", "FILE")
    ] = None


@dataclass(frozen=True)
class SeedOptions:
    """How many pictures are drawn, and by which seeds."""

    num_images: Annotated[
        int,
        Option(
            "Number of pictures, with consecutive seeds.", flags=("-n", "--num-images"), least=1
        ),
    ] = 1
    seed: Annotated[int | None, SEED] = None

    @property
    def seeds(self) -> tuple[int, ...]:
        return seeds_from(self.seed, self.num_images)


Edited = Annotated[EditOutput, FieldOptions(EditOutput)]
Seeds = Annotated[SeedOptions, FieldOptions(SeedOptions)]
Seed = Annotated[int | None, option_of(SeedOptions, "seed")]
AsJson = Annotated[bool, option_of(OutputOptions, "as_json")]
Force = Annotated[bool, option_of(OutputOptions, "force")]
Sign = Annotated[Path | None, option_of(OutputOptions, "sign")]
PictureOut = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="FILE", help="Picture to write (.png, .jpg, .webp, .tif)."),
]

Cutouts = Annotated[
    list[str] | None, _typer_option(OptionField("cutout", tuple[str, ...], (), CUTOUT))
]

PresetName = Annotated[str, option_of(LoadOptions, "preset")]
Device = Annotated[str, option_of(LoadOptions, "device")]
ENCODING = (
    *("recipe", "preset", "weights", "base", "adapter", "detail", "image_encoder", "autoencoder"),
    *("reference", "dtype", "allow_pickle", "offline", "commercial_only", "yes", "device"),
)
DRAWING = ("recipe", "preset", "steps", *ENCODING[2:], "engine")
Networks = Annotated[LoadOptions, FieldOptions(LoadOptions, ENCODING)]

ScaleChanges = Annotated[dict[str, float], FieldOptions(Scales)]
IdentityScale = Annotated[float | None, option_of(Scales, "identity_scale")]
Ray = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS|local",
        help="Draw with Ray (extra ray): the ADDRESS of a cluster, or local.",
    ),
]
RayCpus = Annotated[
    float | None, typer.Option(min=0, help="Processors of each process; 1 by default.")
]
RayGpus = Annotated[
    float | None,
    typer.Option(min=0, help="Accelerators of each process, such as 0.5; 0 by default."),
]


def check_ray(ray: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None and not ray:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} needs --ray. Add --ray local.")


def check_key_stays(ray: str, sign: Path | None) -> None:
    """Refuse to sign on other machines."""
    if sign is not None and ray not in {"", "local"}:
        raise ConfigError(
            "--sign cannot be combined with --ray on other machines: the key does not leave this "
            "one. Sign with --ray local."
        )


SizeText = Annotated[str | None, option_of(PersonalizeRequest, "size_px")]


def check_prompt(prompt: str) -> str:
    """Return `prompt`, unless it is the name of a file."""
    is_picture = prompt.lower().strip().endswith((*PICTURES, IDENTITY, ".heic"))
    if is_picture or is_file(prompt.removeprefix("@")):
        raise ConfigError(
            f"The prompt is '{prompt}', which is a file. A sentence is needed after all pictures, "
            'as in swiftpie personalize front.png side.png "a dog at sea". `swiftpie batch` draws '
            "every line of a file."
        )
    return prompt


def is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # the name cannot exist; reading it will say why


DataPath = Annotated[
    Path | None,
    typer.Option("--data", metavar="PATH", help="The pack of subjects, if it is elsewhere."),
]
SOURCES = "an identity file, or a name from `swiftpie library`; - reads standard input."
Subjects = Annotated[list[str], argument(f"Pictures of one subject, {SOURCES}", "SUBJECT")]
OneSubject = Annotated[str, argument(f"A picture of the subject, {SOURCES}", "SUBJECT")]
Prompt = Annotated[
    str, argument(options_of(EditRequest)["prompt"].option.help, "PROMPT", callback=check_prompt)
]
