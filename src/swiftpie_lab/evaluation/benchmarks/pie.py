"""Edits of PIE-Bench, and SwiftEdit's tables (arXiv:2412.04301) as far as weights are at hand."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypedDict, Unpack

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Use
from swiftpie.cli.loading import resolved
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.pipelines.settings import USUAL, EditMethod, EditSettings, Scales
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks._pie import PICTURES, PieBenchmark, PieCase, read_pie
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    Trial,
    check_own_edits,
    choose_editor,
    drawer_of,
    needs_of,
    open_model,
    open_networks,
    others_draw,
    refuse_beside,
)
from swiftpie_lab.evaluation.editors import (
    ChordEditor,
    DdimEditor,
    EditDrawer,
    MaskChoice,
    SwiftEditor,
)
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.programs import FinishedPictures
from swiftpie_lab.evaluation.report import lacking_networks, published_tables
from swiftpie_lab.evaluation.run import CaseDrawer
from swiftpie_lab.evaluation.study import Study, Variant

PieEditorName = Annotated[
    Literal["swiftedit", "chord", "source"],
    typer.Option(
        "--editor", help="What edits: one-step inversion, ChordEdit, or nothing, as a bound."
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
Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="PIE-Bench's folder, with mapping_file.json and annotation_images."
    ),
]
FirstCases = Annotated[
    int | None, typer.Option("--cases", min=1, metavar="N", help="Only the first N.")
]

# What `swiftpie train inversion` exports, and weights of the generator that may lie beside.
INVERSION, ADAPTER, WEIGHTS = "inversion", "ip_adapter.safetensors", "weights"

PSNR, CLIP_WHOLE, CLIP_EDITED = "unedited-psnr", "clip-whole", "clip-edited"
SEMANTICS = (CLIP_WHOLE, CLIP_EDITED)
RECONSTRUCTION = tuple(f"reconstruction-{name}" for name in ("psnr", "lpips", "mse", "ssim"))

# Figure 9: the paper names the levels of s_non-edit and the range of s_edit; those of s_y are ours.
EDIT_SCALES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
OUTER_SCALES = (0.2, 0.4, 0.6, 0.8, 1.0)
TEXT_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0)
PAPER_EDIT, PAPER_TEXT = 0.0, 2.0  # s_edit and s_y while the other is varied

NO_INVERSION = (
    "it needs a model with an inversion network. Give --recipe swiftedit, or --inversion DIR"
)
FINISHED = f"give pictures that it has edited, a folder with {PICTURES}, by --row"
TRAINED = "it needs the export of `swiftpie train inversion` so trained, by --row"


class _Row(NamedTuple):
    """A row of a table: who draws it, or else what it lacks."""

    title: str
    drawer: CaseDrawer[PieCase] | None
    lacks: str = ""
    group: str = ""


class Parts(NamedTuple):
    """What a row draws with in place of the model under test; None is what that has."""

    preset: str | None = None
    weights: Path | None = None
    inversion: Path | None = None
    adapter: Path | None = None


class _Choices(TypedDict, total=False):
    mask: MaskChoice
    reconstructs: bool
    shows_source: bool


@dataclass(frozen=True, eq=False)
class TableRequest:
    """What a table is computed of."""

    pie: PieBenchmark
    session: Session
    rules: EditSettings  # mode, start and rule of all rows
    given: Mapping[str, Path]  # folders of rows by their title
    load: Callable[[Parts], Session]

    def swift(
        self,
        title: str,
        *,
        lacks: str = "",
        preset: str | None = None,
        group: str = "",
        scales: Scales = USUAL,
        **choices: Unpack[_Choices],
    ) -> _Row:
        """Return a row of SwiftEdit, by the networks in the row's folder if there is one.

        Without a folder the model under test draws it; none does if `lacks` says what is missing.
        """
        folder = self.given.get(title)
        if folder is None and lacks:
            return _Row(title, None, lacks, group)
        session = self.session if folder is None else self.load(_parts_in(folder, preset))
        if session.components.inversion is None:
            return _Row(title, None, NO_INVERSION, group)
        settings = replace(self.rules, scales=scales)
        editor = SwiftEditor(self.pie, session, settings=settings, **choices)
        return _Row(title, editor, group=group)

    def finished(self, title: str) -> _Row | None:
        """Return a row of pictures that another program has edited, if they are given."""
        folder = self.given.get(title)
        if folder is None or not (folder / PICTURES).is_dir():
            return None
        return _Row(title, FinishedPictures(self.pie, folder, self.pie.cases))


def table_study(key: str, request: TableRequest, *, networks: Networks) -> Study[PieCase]:
    """Return the study behind a table of the paper, of `TABLES`, with what its rows lack.

    Raises:
        CapabilityError: Nothing that any of its rows needs is at hand.
        ConfigError: A folder was given for a row that the table does not have.
    """
    table = TABLES[key]
    published = tuple(
        published_table for published_table in published_tables("pie") if published_table.key == key
    )
    rows = [request.finished(row.title) or row for row in table.rows(request)]
    titles = {row.title for row in rows}
    if unknown := [title for title in request.given if title not in titles]:
        raise ConfigError(
            f"{key} has no row {unknown[0]!r}. It has {', '.join(sorted(titles))}. Correct --row."
        )
    variants = [
        Variant(row.group or key, row.title, row.drawer) for row in rows if row.drawer is not None
    ]
    lacking = {row.title: row.lacks for row in rows if row.drawer is None}
    if not variants:
        title, lacks = next(iter(lacking.items()))
        raise CapabilityError(f"No row of {key} can be computed. For {title!r}: {lacks}.")
    unjudged = lacking_networks(request.pie, networks).items()
    lacking |= {name: f"it {needs}" for name, needs in unjudged if name in table.columns}
    return Study(
        variants=variants,
        benchmark=request.pie,
        cases=request.pie.cases,
        networks=networks,
        truth=lambda case: request.pie.task(case).source,
        truth_title="before",
        columns=table.columns,
        sweeps=table.sweeps,
        remarks=(table.about,),
        not_computed=lacking,
        published=published,
    )


def read_rows(given: Sequence[str]) -> dict[str, Path]:
    """Return folders by the title of their row, of texts as `TurboEdit=results`.

    Raises:
        ConfigError: A text has no folder, or names a row again.
    """
    rows: dict[str, Path] = {}
    for text in given:
        title, _, folder = (part.strip() for part in text.partition("="))
        if not folder or not Path(folder).is_dir() or title in rows:
            raise ConfigError(
                f"--row {text[:80]!r} is not the title of one row, = and a folder that exists. "
                "Write it as 'TurboEdit=results'."
            )
        rows[title] = Path(folder)
    return rows


def _methods(request: TableRequest) -> Iterator[_Row]:
    yield request.swift("SwiftEdit, self-guided mask", reconstructs=False)
    given = MaskChoice.TRUE
    yield request.swift("SwiftEdit, ground-truth mask", mask=given, reconstructs=False)
    first = next(table for table in published_tables("pie") if table.key == "T1")
    for row in first.rows:
        if row.method != "SwiftEdit":
            yield _Row(row.method, None, f"SwiftPie does not have this method; {FINISHED}")


def _designs(request: TableRequest) -> Iterator[_Row]:
    yield request.swift("full", reconstructs=True)
    for title in ("without stage 1", "without stage 2"):
        yield request.swift(title, lacks=TRAINED, reconstructs=True)
    alone: _Choices = {"reconstructs": True, "shows_source": False}
    yield request.swift("without image branch", lacks=TRAINED, **alone)


def _losses(request: TableRequest) -> Iterator[_Row]:
    yield request.swift("full", reconstructs=False)
    for title in (
        "without both",
        "without stage 1's noise loss",
        "without stage 2's regulariser",
        "one stage for both",
    ):
        yield request.swift(title, lacks=TRAINED, reconstructs=False)


def _generators(request: TableRequest) -> Iterator[_Row]:
    own = request.session.components.preset.name
    for title, preset in GENERATORS.items():
        lacks = (
            f"it needs the export of `swiftpie train inversion --set stage.preset={preset}`, by "
            f"--row. {WEIGHTS}/ in that folder may hold the generator"
        )
        lacking = "" if preset == own else lacks
        yield request.swift(title, lacks=lacking, preset=preset, reconstructs=False)
    yield _Row("DMD2", None, f"SwiftPie has no preset of DMD2 for Stable Diffusion 1.5; {FINISHED}")


def _inversions(request: TableRequest) -> Iterator[_Row]:
    yield request.swift("SwiftEdit, self-guided mask", reconstructs=False)
    yield _Row("DDIM inversion", DdimEditor(request.pie, request.session))
    yield _Row(
        "Direct Inversion",
        None,
        "without control of attention, which SwiftPie does not have, it draws what DDIM "
        f"inversion draws; {FINISHED}",
    )


def _scales(request: TableRequest) -> Iterator[_Row]:
    def scaled(title: str, group: str, edit: float, outer: float, text: float) -> _Row:
        own = Scales.for_edit(request.session.components.preset)
        scales = replace(own, identity_scale=edit, background_scale=outer, text_scale=text)
        return request.swift(title, group=group, scales=scales, reconstructs=False)

    for outer, edit in itertools.product(OUTER_SCALES, EDIT_SCALES):
        yield scaled(f"s_edit {edit:g}", _level("edit", outer), edit, outer, PAPER_TEXT)
    for outer, text in itertools.product(OUTER_SCALES, TEXT_SCALES):
        yield scaled(f"s_y {text:g}", _level("y", outer), PAPER_EDIT, outer, text)


def _chord(request: TableRequest) -> Iterator[_Row]:
    own = replace(request.rules, method=EditMethod.CHORD)
    for times, delta in {"": own.delta, ", delta 0": 0.0}.items():
        for ending, leaves_out in {"": False, ", without refinement": True}.items():
            settings = replace(own, delta=delta, without_refinement=leaves_out)
            everywhere = ChordEditor(request.pie, request.session, MaskChoice.NONE, settings)
            yield _Row(f"ChordEdit{times}{ending}", everywhere)
    masked = ChordEditor(request.pie, request.session, settings=own)
    yield _Row("ChordEdit, self-guided mask", masked)


def _level(scale: str, outer: float) -> str:
    return f"s_{scale} at s_non-edit {outer:g}"


def _parts_in(folder: Path, preset: str | None = None) -> Parts:
    """Return what a row's folder holds: parts by their names, or an inversion network itself."""
    inversion, adapter, weights = (folder / name for name in (INVERSION, ADAPTER, WEIGHTS))
    return Parts(
        preset,
        weights if weights.is_dir() else None,
        inversion if inversion.is_dir() else folder,
        adapter if adapter.is_file() else None,
    )


@dataclass(frozen=True)
class _Table:
    about: str
    rows: Callable[[TableRequest], Iterator[_Row]]
    columns: tuple[str, ...]
    sweeps: tuple[tuple[str, str], ...] = ()


GENERATORS: Mapping[str, str] = {
    "SwiftBrush v2": "swiftbrush-v2",
    "SwiftBrush v1": "swiftbrush-v1",
    "InstaFlow": "instaflow",
}
MAIN = (PSNR, "unedited-mse", *SEMANTICS, "time")
TABLES: Mapping[str, _Table] = {
    "T1": _Table("Methods.", _methods, MAIN),
    "T2": _Table("Designs of inversion, by reconstructions.", _designs, RECONSTRUCTION),
    "T3": _Table("Losses of the inversion network.", _losses, (PSNR, *SEMANTICS)),
    "T4": _Table("One-step generators.", _generators, (PSNR, *SEMANTICS)),
    "T5": _Table("Inversions of a one-step generator.", _inversions, (PSNR, *SEMANTICS)),
    "T6": _Table("Methods, by all figures.", _methods, PieBenchmark.metrics),
    "F9": _Table(
        "Scales: s_edit at s_y 2, and s_y at s_edit 0, by levels of s_non-edit.",
        _scales,
        (PSNR, CLIP_EDITED),
        tuple((_level("edit", outer), PSNR) for outer in OUTER_SCALES)
        + tuple((_level("y", outer), CLIP_EDITED) for outer in OUTER_SCALES),
    ),
    "ChordEdit": _Table("ChordEdit and what it is made of.", _chord, MAIN),
}


def open_pie(
    *,
    dataset: Dataset,
    table: PieTableName = None,
    row: PieRows = None,
    editor: PieEditorName = "swiftedit",
    programs: given.Programs,
    mask: given.MaskName = "found",
    cases: FirstCases = None,
    files: given.PieNetworks,
    rules: given.EditRules,
    loading: given.LoadedToEdit,
) -> Trial[PieCase] | Study[PieCase]:
    """Judge edits of PIE-Bench by its own definitions; bring the dataset yourself.

    Figures that need CLIP, DINO or LPIPS take weights that you give, and are otherwise reported as
    not computed. An interrupted run goes on where it stopped.
    """
    benchmark = read_pie(dataset, limit=cases)
    networks = open_networks(files, has_to_be_large=True)
    if not others_draw(programs):
        loading, _ = resolved(loading, use=Use.EDIT)
    if table is not None:
        chosen = {"--editor": editor != "swiftedit", "--mask": mask != "found"}
        refuse_beside("--table", chosen | {f"--{name}": True for name in programs})
        return _open_table(table, benchmark, loading, networks, rules=rules, rows=row)
    refuse_beside("no --table", {"--row": bool(row)})
    check_own_edits(programs, rules, editor=editor, mask=mask)

    def own() -> EditDrawer[PieCase]:
        return choose_editor(editor, benchmark, loading, mask=mask, settings=rules)

    drawer = drawer_of(benchmark, benchmark.cases, programs, loading, own, needs=needs_of(mask))
    return Trial(benchmark, benchmark.cases, drawer, networks)


def _open_table(
    name: str,
    benchmark: PieBenchmark,
    loading: LoadOptions,
    networks: Networks,
    *,
    rules: EditSettings,
    rows: list[str] | None,
) -> Study[PieCase]:
    def load(chosen: Parts) -> Session:
        own = {name: value for name, value in chosen._asdict().items() if value is not None}
        kept = {**loading, "recipe": None} if chosen.preset is not None else loading
        return open_model({**kept, **own})  # type: ignore[typeddict-item]

    folders = read_rows(rows or [])
    request = TableRequest(benchmark, open_model(loading), rules, folders, load)
    return table_study(name, request, networks=networks)


BENCHMARK = BenchmarkCommand(
    open_pie,
    (
        "swiftpie evaluate pie PIE-Bench_v1 --recipe swiftedit --clip clip-vit-large-patch14 "
        "--dino dino-vitb8",
        "swiftpie evaluate pie PIE-Bench_v1 --results other-method --out out/other-method",
        "swiftpie evaluate pie PIE-Bench_v1 --table T1 --recipe swiftedit "
        "--row TurboEdit=turboedit-results --out out/table-1",
        "swiftpie evaluate pie PIE-Bench_v1 --table F9 --recipe swiftedit --cases 70",
    ),
)
