"""What the commands under `swiftpie evaluate` share: options, progress, and telling results."""

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from swiftpie import __version__
from swiftpie.apps.cli.console import print_text, say
from swiftpie.apps.cli.loading import open_session, resolved
from swiftpie.apps.cli.options import FieldOptions
from swiftpie.backbones.choices import LoadOptions, device_of
from swiftpie.backbones.machine import AUTO
from swiftpie.config import Option
from swiftpie.errors import ConfigError, printable
from swiftpie.pipelines.drawing.settings import EditMethod, EditSettings, EditStart, Style

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie_lab.data.subjects import Subjects
    from swiftpie_lab.evaluation.ablations import Study
    from swiftpie_lab.evaluation.editors import Editor
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_lab.evaluation.report import Table as ReportTable
    from swiftpie_lab.evaluation.rivals import Rival
    from swiftpie_lab.evaluation.run import Benchmark, C, CaseDrawer

T = TypeVar("T")
BORDER = 3  # letters of a column of a table: a line and a space on both sides
FIRST_COLUMN = 24  # letters that the first one has at least, if it can fill them

PUBLISHED = (
    *("recipe", "preset", "weights", "base", "adapter", "image_encoder"),
    *("allow_pickle", "offline", "yes"),
)
STEPS, EDITS = (*PUBLISHED, "steps", "device"), (*PUBLISHED, "inversion", "device")
LoadedInSteps = Annotated[LoadOptions, FieldOptions(LoadOptions, STEPS)]
LoadedInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*STEPS, "size_px"))]
LoadedInTurns = Annotated[LoadOptions, FieldOptions(LoadOptions, (*PUBLISHED, "device", "size_px"))]
EditRules = Annotated[EditSettings, FieldOptions(EditSettings, ("mode", "start", "rule"))]
LoadedToEdit = Annotated[LoadOptions, FieldOptions(LoadOptions, EDITS)]
LoadedToEditInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*EDITS, "size_px"))]
FACES = (*PUBLISHED, "steps", "lora_scale", "face_version", "device")
LoadedForFaces = Annotated[LoadOptions, FieldOptions(LoadOptions, FACES)]

Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Decides cases, noise and references.")
]
FirstSeed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Of the first case; others count up.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where pictures and report go.")]
Anew = Annotated[
    bool, typer.Option("--force", help="Draw all anew; otherwise pictures in DIR are kept.")
]
NumCases = Annotated[int, typer.Option("--cases", min=1, metavar="N", help="How many to judge.")]
CasesAKind = Annotated[
    int, typer.Option("--cases", min=1, metavar="N", help="How many of each kind to judge.")
]
EditKinds = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="NAMES",
        help="Only edits of these kinds, such as pose,colour; by default of all.",
    ),
]
WorldJudges = Annotated[
    Path | None,
    typer.Option(
        "--judges",
        metavar="DIR",
        help="Other judges than the package's: an export of `swiftpie train world-judges`.",
    ),
]
FirstCases = Annotated[
    int | None, typer.Option("--cases", min=1, metavar="N", help="Only the first N.")
]
NumSubjects = Annotated[int, typer.Option(min=1, help="Rows.")]
AgainstWeights = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Other weights, such as those of an earlier training stage, as a row; repeat for "
        "more.",
    ),
]
AgainstInversions = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Another inversion network, such as that of the first stage, as a row; repeat for "
        "more.",
    ),
]
TeacherWeights = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="DIR",
        help="Weights of a multi-step model, for DDIM inversion as a row.",
    ),
]
Photos = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder for each subject; the first picture of each is taken, and NAME.mask.png "
        "beside NAME.jpg is its mask.",
    ),
]
SubjectPhotos = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="A folder for each photographed subject, as a slice of its own; by default none.",
    ),
]
CasesASlice = Annotated[
    int,
    typer.Option(
        "--cases", min=1, metavar="N", help="How many of each slice and number of subjects."
    ),
]
Backgrounds = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="Photographs to use, of which training leaves one in five alone; by default the one "
        "inside the package.",
    ),
]
PlaceNames = Annotated[
    str | None,
    typer.Option(
        "--places", metavar="A,B", help="Places to draw; by default four that the seed deals."
    ),
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Use at most so many subjects.")]
FirstSubjects = Annotated[
    int | None, typer.Option("--subjects", min=1, metavar="N", help="Only the first N by name.")
]
NumSprites = Annotated[
    int, typer.Option("--subjects", min=1, metavar="N", help="How many held-out subjects to use.")
]
Noun = Annotated[
    str,
    typer.Option(
        metavar="WORDS", help="What prompts call every subject; by default its folder's name."
    ),
]
BOUNDS = frozenset({"target", "source"})  # editors that draw nothing by themselves
Scenes = Annotated[
    Literal["library", "words", "rendering"],
    typer.Option(
        "--scenes",
        help="Where places come from: the library, as for users, the model's words alone, or "
        "pictures of the same places that neither library nor training holds.",
    ),
]
KindNames = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="A,B",
        help="Only cases of these kinds, named as in the report, such as look,pose; by default "
        "all.",
    ),
]
EditorName = Annotated[
    Literal["swiftedit", "ddim", "naive", "target", "source"],
    typer.Option(
        "--editor",
        help="Who edits: one-step inversion, DDIM inversion with a multi-step model, or one of the "
        "bounds: the naive paste, the exact answer, or nobody.",
    ),
]
PieEditorName = Annotated[
    Literal["swiftedit", "chord", "source"],
    typer.Option(
        "--editor", help="Who edits: one-step inversion, ChordEdit, or nobody, as a bound."
    ),
]
PieTableName = Annotated[
    Literal["T1", "T2", "T3", "T4", "T5", "T6", "F9", "ChordEdit"] | None,
    typer.Option(
        "--table",
        help="Repeat a table of SwiftEdit's paper, the grids of its figure 9, or ChordEdit's "
        "parts, as far as weights are given; other rows are listed with what they lack.",
    ),
]
PieRows = Annotated[
    list[str] | None,
    typer.Option(
        "--row",
        metavar="TITLE=DIR",
        help="With --table, what a row is drawn with: an export of `swiftpie train inversion`, an "
        "inversion network, or pictures that another program has edited; repeat for more.",
    ),
]
MaskName = Annotated[
    Literal["found", "keyword", "true", "none"],
    typer.Option(
        "--mask",
        help="Where it may change: found between the prompts, found by the keyword, the true "
        "mask, or everywhere.",
    ),
]
ByName = Annotated[
    bool,
    typer.Option(
        "--by-name",
        help="Take subjects that a prompt names from the library, as edits of users do; by "
        "default words alone tell who comes. It holds the held-out subjects, too.",
    ),
]
Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="PIE-Bench's folder, with mapping_file.json and annotation_images."
    ),
]
OtherResults = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Judge pictures that another program has edited instead: a folder with "
        "annotation_images.",
    ),
]
DreamFolder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The dataset's folder; of DreamBench that with prompts_and_classes.txt and a folder "
        "of photographs for each subject. NAME.mask.png beside NAME.jpg is its mask.",
    ),
]
DreamSetName = Annotated[
    Literal["dreambench", "dreambench++", "multibanana"],
    typer.Option("--set", help="Which dataset the folder holds."),
]
SubjectBoxes = Annotated[
    Path | None,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Where subjects are in their first photographs, if there is no mask beside: a JSON "
        'object such as {"dog": [0.1, 0.1, 0.9, 0.9]}.',
    ),
]
NumPrompts = Annotated[
    int | None, typer.Option("--prompts", min=1, metavar="N", help="Only the first N of each.")
]
NumSeeds = Annotated[
    int, typer.Option("--seeds", min=1, max=64, metavar="N", help="Pictures of each prompt.")
]
UsesAll = Annotated[
    bool,
    typer.Option(
        "--all-references",
        help="Show the model every photograph of a subject; by default the first one.",
    ),
]
FinishedPictures = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Judge pictures that another program has drawn instead: SUBJECT-PROMPT-SEED.png, "
        "such as dog-07-2.png for its eighth prompt and seed 2.",
    ),
]
FinishedFaces = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Judge pictures that another program has drawn instead: PERSON-PROMPT.png, both from "
        "0 in three digits, such as 001-004.png for the second person and the fifth prompt.",
    ),
]
Identities = Annotated[Path, typer.Option(metavar="DIR", help="Photographs, one a person.")]
Prompts = Annotated[
    Path,
    typer.Option(metavar="FILE", help="One prompt a line; what stands before ';' is its style."),
]


class NetworkFiles(TypedDict, total=False):
    """Networks of the user's that judge; read by `open_networks`."""

    clip: Annotated[Path, Option("CLIP ViT-L/14, for the figures that need it.", "DIR")]
    clip_small: Annotated[Path, Option("CLIP ViT-B/32, likewise.", "DIR")]
    dino: Annotated[Path, Option("DINO ViT-B/8, for the structure distance.", "DIR")]
    dino_small: Annotated[Path, Option("DINO ViT-S/16, for the likeness of subjects.", "DIR")]
    dinov2: Annotated[Path, Option("DINOv2 ViT-S/14, likewise.", "DIR")]
    siglip2: Annotated[Path, Option("SigLIP2 SO400M NaFlex, for MaSC.", "DIR")]
    lpips: Annotated[Path, Option("Weights of LPIPS with SqueezeNet, as safetensors.", "FILE")]
    aesthetic: Annotated[Path, Option("LAION's aesthetic predictor.", "FILE")]
    image_reward: Annotated[
        Path, Option("ImageReward-v1.0 with its tokenizer, for the preference of people.", "DIR")
    ]


EditNetworks = Annotated[NetworkFiles, FieldOptions(NetworkFiles, ("lpips",))]
PieNetworks = Annotated[NetworkFiles, FieldOptions(NetworkFiles, ("clip", "dino", "lpips"))]
DreamNetworks = Annotated[
    NetworkFiles,
    FieldOptions(NetworkFiles, ("clip", "clip_small", "dino_small", "dinov2", "siglip2", "lpips")),
]
FaceNetworks = Annotated[
    NetworkFiles, FieldOptions(NetworkFiles, ("clip", "clip_small", "aesthetic", "image_reward"))
]


class RivalFiles(TypedDict, total=False):
    """A pipeline of diffusers that draws in SwiftPie's place; read by `open_rival`."""

    pipeline: Annotated[
        Path,
        Option(
            "Draw with this pipeline as diffusers saved and runs it, instead of SwiftPie. Adapter "
            "and image encoder go through diffusers' own loader; --steps counts.",
            "DIR",
        ),
    ]
    pipeline_guidance: Annotated[
        float, Option("Guidance scale of its calls; by default the pipeline's own.", least=0)
    ]
    pipeline_adapter_scale: Annotated[
        float, Option("Strength of its IP-Adapter; by default diffusers' own.", least=0)
    ]


Rivals = Annotated[RivalFiles, FieldOptions(RivalFiles)]
WHERE_RESULTS_GO = frozenset({"out", "as_json", "force"})
RIVALS_USE = frozenset(
    {"adapter", "image_encoder", "steps", "device", "allow_pickle", "offline", "yes"}
)


def open_pack(data: Path | None) -> "Subjects":
    """Return the pack of subjects at `data`, by default the one that was prepared."""
    from swiftpie_lab.data.archive import default_pack
    from swiftpie_lab.data.subjects import load_subjects

    return load_subjects(data or default_pack())


def open_model(loading: LoadOptions) -> "Session":
    """Load a model that a command judges."""
    return open_session(**resolved(loading)[0]).session


def open_rival(
    files: RivalFiles, loading: LoadOptions, *, results: Path | None = None
) -> "Rival | None":
    """Load the pipeline that a command judges instead of a preset, if there is one.

    Raises:
        ConfigError: Something was chosen that it does not heed, or finished pictures with it.
    """
    from swiftpie_lab.evaluation.rivals import load_rival

    if files and results is not None:
        raise ConfigError("--results came with --pipeline. Leave one of them out.")
    if "pipeline" not in files:
        if files:
            option = next(iter(files)).replace("_", "-")
            raise ConfigError(f"--{option} came without --pipeline. Give that, too.")
        return None
    if others := [name for name in loading if name not in RIVALS_USE]:
        raise ConfigError(
            f"--{others[0].replace('_', '-')} came with --pipeline, which does not heed it. Leave "
            "one of them out."
        )
    adapter, encoder = loading.get("adapter"), loading.get("image_encoder")
    return load_rival(
        files["pipeline"],
        adapter=None if adapter is None else Path(adapter),
        image_encoder=None if encoder is None else Path(encoder),
        adapter_scale=files.get("pipeline_adapter_scale"),
        keywords={
            "num_inference_steps": loading.get("steps"),
            "guidance_scale": files.get("pipeline_guidance"),
        },
        device=device_of(loading.get("device", AUTO)),
        allow_pickle=loading.get("allow_pickle", False),
    )


def check_drawn_by_others(**choices: object) -> None:
    """Refuse choices about SwiftPie's own drawing where it draws nothing.

    Raises:
        ConfigError: One of them was made.
    """
    chosen = [name for name, one in choices.items() if one not in {None, Style.PLAIN}]
    if chosen:
        raise ConfigError(
            f"--{chosen[0].replace('_', '-')} came with --pipeline or --results, which do not heed "
            "it. Leave one of them out."
        )


def side_of(loading: LoadOptions) -> int:
    """Return the side of the pictures that will be drawn."""
    _, preset = resolved(loading)
    return preset.sized(loading.get("size_px")).image_size_px


def whole_numbers(text: str, *, option: str) -> list[int]:
    """Return the numbers above 0 that commas separate.

    Raises:
        ConfigError: Something else is among them.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise ConfigError(
            f"{option} {text!r} was given. Whole numbers above 0 with commas between them are "
            "needed, as in 1,2,4."
        )
    return [int(word) for word in words]


def watched(steps: Iterable[T], title: str, *, total: int) -> Iterator[T]:
    """Yield all `steps` while a bar on standard error shows how many are done."""
    console = Console(stderr=True)
    yield from track(steps, title, total=total, console=console, disable=not console.is_terminal)


def typed_command(context: typer.Context) -> str:
    """Return the running command with what the user gave, as others can repeat it.

    Options that say where results go are left out, and paths are named by their last part: a
    report tells neither.
    """
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in WHERE_RESULTS_GO:
            continue
        value = context.params[name]
        is_option = parameter.param_type_name == "option"
        flag = [max(parameter.opts, key=len)] if is_option else []
        for one in value if isinstance(value, list | tuple) else [value]:
            words += flag if one is True else [*flag, _without_folders(one)]
    return shlex.join(words)


def _without_folders(value: object) -> str:
    text = str(getattr(value, "value", value))
    is_path = isinstance(value, Path) or Path(text).is_absolute()
    return Path(text).name or text if is_path else text


def carry_out(
    benchmark: "Benchmark[C]",
    cases: "Sequence[C]",
    drawer: "CaseDrawer[C]",
    networks: "Networks",
    *,
    context: typer.Context,
    out: Path,
    as_json: bool,
    force: bool,
) -> None:
    """Draw and judge `cases`, write pictures and report into `out`, and tell the report."""
    from swiftpie_lab.evaluation.page import write_report
    from swiftpie_lab.evaluation.report import table, table_by_group, tables_of_published
    from swiftpie_lab.evaluation.run import Results, draw, score

    results = Results(out)
    drawn = draw(benchmark, cases, drawer, results=results, force=force)
    for _ in watched(drawn, "drawing", total=len(cases)):
        pass
    judged = score(benchmark, cases, results, networks)
    rows = list(watched(judged, "judging", total=len(cases)))
    report = write_report(benchmark, rows, results, networks, command=typed_command(context))
    if as_json:
        print_text(report.to_json())
    else:
        tables = {"": table(benchmark, report.metrics)}
        if report.groups:
            tables[" "] = table_by_group(benchmark, report)
        tables |= tables_of_published(report.published)
        tell(report.sentences, tables)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def carry_out_study(study: "Study[C]", *, as_json: bool) -> None:
    """Measure all variants of a study, write every form of its tables, and tell them."""
    from swiftpie_lab.evaluation.ablations import describe_sweep, measure, page_of, tabulate
    from swiftpie_lab.evaluation.page import render
    from swiftpie_lab.evaluation.report import tables_of_published
    from swiftpie_lab.evaluation.run import Results

    lines = list(watched(measure(study), "measuring", total=len(study.variants)))
    ablations, results = tabulate(study, lines), Results(study.root)
    results.write_text("report.json", ablations.to_json())
    results.write_text("report.md", ablations.to_markdown())
    results.write_text("index.html", render(page_of(study, ablations)))
    if as_json:
        print_text(ablations.to_json())
    else:
        tell(ablations.sentences, ablations.tables() | tables_of_published(ablations.published))
        tell([describe_sweep(sweep) for sweep in ablations.sweeps], {})
    say(f"The pictures are in {study.root}; open {study.root / 'index.html'}.")


def tell(sentences: Iterable[str], tables: "Mapping[str, ReportTable]") -> None:
    """Write sentences and tables, by title, on standard output."""
    console = Console()
    for sentence in sentences:
        console.print(Text(printable(sentence)))
    for title, (heads, lines) in tables.items():
        for widths in side_by_side(heads, lines, width=console.width):
            shown = Table(title=title.strip() or None)
            for column, letters in widths.items():
                shown.add_column(heads[column], width=letters, overflow="fold")
            for line in lines:
                shown.add_row(
                    *(Text("\n".join(map(printable, _parts(line[column])))) for column in widths)
                )
            console.print(shown)


def side_by_side(
    heads: Sequence[str], lines: Sequence[Sequence[str]], *, width: int
) -> list[dict[int, int]]:
    """Return the columns of each table that fits into `width` letters, and how wide each is.

    All tables begin with the first column, whose words may fill several lines. Neither a number
    nor a word is broken anywhere.
    """
    least = [
        max(
            map(
                len, (*head.split(), *(part for line in lines for part in _parts(line[column])), "")
            )
        )
        for column, head in enumerate(heads)
    ]
    words = max((len(word) for line in lines for word in line[0].split()), default=0)
    first = min(least[0], max(words, FIRST_COLUMN))
    tables: list[dict[int, int]] = []
    for column, letters in enumerate(least[1:], start=1):
        if (
            not tables
            or sum(tables[-1].values(), letters) + BORDER * (len(tables[-1]) + 1) >= width
        ):
            tables.append({0: first})
        tables[-1][column] = letters
    for table in tables:
        free = width - 1 - BORDER * len(table) - sum(table.values())
        table[0] = min(least[0], first + max(0, free))
    return tables or [{0: first}]


def _parts(cell: str) -> list[str]:
    return cell.replace(" [", "\n[").split("\n")  # a figure stands above its interval


def save_sheet(sheet: "Image.Image", out: Path, *, preset: str, seed: int, force: bool) -> None:
    """Write a drawn sheet with its origin."""
    from swiftpie.imageio.writing import save_image

    facts = {"preset": preset, "swiftpie": __version__, "seed": str(seed)}
    save_image(sheet, out, metadata=facts, force=force)


def open_networks(
    files: NetworkFiles, *, has_to_be_large: bool = False, allow_pickle: bool = False
) -> "Networks":
    """Read what users give to judge with."""
    from swiftpie_lab.evaluation import judges

    clip = aesthetic = None
    if "clip" in files:
        clip = judges.load_clip(files["clip"], has_to_be_large=has_to_be_large)
        if "aesthetic" in files:
            path = files["aesthetic"]
            aesthetic = judges.load_aesthetic(path, width=clip.width, allow_pickle=allow_pickle)
    return judges.Networks(
        clip=clip,
        clip_small=judges.load_clip(files["clip_small"]) if "clip_small" in files else None,
        dino=judges.load_dino(files["dino"]) if "dino" in files else None,
        dino_small=(
            judges.load_dino(files["dino_small"], is_small=True) if "dino_small" in files else None
        ),
        dinov2=judges.load_dinov2(files["dinov2"]) if "dinov2" in files else None,
        siglip2=judges.load_siglip2(files["siglip2"]) if "siglip2" in files else None,
        lpips=judges.load_lpips(files["lpips"]) if "lpips" in files else None,
        aesthetic=aesthetic,
        image_reward=(
            judges.load_image_reward(files["image_reward"], allow_pickle=allow_pickle)
            if "image_reward" in files
            else None
        ),
        digests={
            f"{name}/{path.name}": _sha256(path)
            for name, place in files.items()
            for path in _weights_at(Path(str(place)))
        },
    )


def _weights_at(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return sorted([*place.glob("*.safetensors"), *place.glob("*.pt")])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_unused(
    editor: str, *, mask: str, settings: EditSettings, scales: Iterable[str] = ()
) -> None:
    """Refuse choices about edits where `editor` makes none of its own.

    Raises:
        ConfigError: One of them was made.
    """
    chosen = {
        "--mask": mask != "found",
        "--mode": settings.mode is not None,
        "--start": settings.start is not EditStart.MIXTURE,
        "--rule": settings.rule is not None,
        **{f"--{name.replace('_', '-')}": True for name in scales},
    }
    refuse_beside(editor, chosen)


def refuse_beside(option: str, chosen: Mapping[str, bool]) -> None:
    """Refuse what was chosen beside an option that does not heed it.

    Raises:
        ConfigError: One of `chosen`, whether it was by its name, is true.
    """
    if given := [name for name, is_chosen in chosen.items() if is_chosen]:
        raise ConfigError(
            f"{given[0]} came with {option}, which does not heed it. Leave one of them out."
        )


def choose_editor(
    name: str,
    loading: LoadOptions,
    *,
    mask: str,
    settings: EditSettings,
    scales: Iterable[str] = (),
    by_name: bool = False,
) -> "Editor":
    """Return the editor of this name; where it draws with a preset, that is loaded.

    `scales` are those that users gave, by name.

    Raises:
        CapabilityError: The preset has no inversion network.
        ConfigError: Something was chosen that this editor does not heed.
    """
    from swiftpie_lab.evaluation import editors

    if name == "chord":  # it has a mask, and no scales
        rules = replace(settings, rule=None)
        check_unused("--editor chord", mask="found", settings=rules)
    elif name != "swiftedit":
        given = [*scales, *(["by_name"] if by_name else [])]
        check_unused(f"--editor {name}", mask=mask, settings=settings, scales=given)
    if mask in {"true", "none"} and settings.rule is not None:
        raise ConfigError(
            f"--rule came with --mask {mask}, where no region is looked for. Leave one of them out."
        )
    if name in BOUNDS:
        return editors.TargetEditor() if name == "target" else editors.SourceEditor()
    session = open_model(loading)
    if name == "naive":
        return editors.NaiveEditor(session)
    if name == "ddim":
        return editors.DdimEditor(session)
    choice = editors.MaskChoice(mask)
    if name == "chord":
        return editors.ChordEditor(session, choice, replace(settings, method=EditMethod.CHORD))
    return editors.SwiftEditor(session, mask=choice, settings=settings, uses_library=by_name)
