"""Commands under `swiftpie evaluate` that judge edits."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Use
from swiftpie.cli.console import examples
from swiftpie.cli.drawing.edit import EditScales
from swiftpie.cli.loading import resolved
from swiftpie.cli.options import AsJson, DataPath, with_fields
from swiftpie.pipelines.drawing.settings import EditSettings, Scales
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts
from swiftpie_lab.cli import evaluate_rivals as others

if TYPE_CHECKING:
    from swiftpie.engine.session import Session
    from swiftpie_lab.evaluation.ablations import Study
    from swiftpie_lab.evaluation.benchmarks.pie import PieBenchmark, PieCase
    from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditCase
    from swiftpie_lab.evaluation.contest import Ability
    from swiftpie_lab.evaluation.editors import EditDrawer, Editor, TaskBenchmark
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_lab.evaluation.run import C

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate world-edits",
        "swiftpie evaluate world-edits --weights runs/mini_world/export "
        "--inversion runs/world_inversion/export/inversion --out out/mine",
        "swiftpie evaluate world-edits --kinds pose,put_on --cases 6 --by-name --out out/poses",
        "swiftpie evaluate world-edits --editor source --cases 4 --out out/bounds --json",
    )
)
@with_fields
def world_edits(
    *,
    context: typer.Context,
    judges: given.WorldJudges = None,
    editor: given.EditorName = "swiftedit",
    mask: given.MaskName = "found",
    by_name: given.ByName = False,
    rivals: given.Rivals,
    cases: given.CasesAKind = 20,
    kinds: given.EditKinds = None,
    scales: EditScales,
    rules: given.EditRules,
    files: given.EditNetworks,
    loading: given.LoadedToEditInSizes,
    data: DataPath = None,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-world-edits"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge edits with subjects that no model was trained on.

    Restyled, relit, turned, recoloured, added, removed, replaced: one noise is drawn twice, before
    and after, so the answer and its mask are exact. The answer, the untouched source and a naive
    paste are judged beside the edit. An interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks.world import SIZE_PX
    from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark

    networks = parts.open_networks(files)
    _check_own_edits(rivals, rules, editor=editor, mask=mask, scales=scales, by_name=by_name)
    own_px = SIZE_PX if others.others_draw(rivals) else None
    if own_px is None:
        loading, _ = resolved(loading, use=Use.EDIT)
    size_px = parts.side_of(loading, own_px=own_px)
    benchmark = WorldEditBenchmark(parts.open_pack(data), seed=seed, size_px=size_px)
    networks = replace(networks, panel=benchmark.panel(judges))
    dealt = benchmark.cases(cases, kinds=() if kinds is None else kinds.split(","))

    def own() -> "EditDrawer[WorldEditCase]":
        settings = replace(rules, scales=Scales(**scales))
        chosen = parts.choose_editor(
            editor, loading, mask=mask, settings=settings, scales=scales, by_name=by_name
        )
        return _beside_naive(chosen, benchmark)

    drawer = others.drawer_of(benchmark, dealt, rivals, loading, own, needs=_needs(mask))
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


def _check_own_edits(
    rivals: given.RivalFiles,
    rules: EditSettings,
    *,
    editor: str,
    mask: str,
    scales: Mapping[str, float] = MappingProxyType({}),
    by_name: bool = False,
) -> None:
    """Refuse choices about SwiftPie's own edits where another program draws.

    Raises:
        ConfigError: One of them was made; a pipeline may get the true mask.
    """
    if others.others_draw(rivals):
        is_masked = mask == "true" and "pipeline" in rivals
        others.check_drawn_by_others(
            rivals, editor=editor != "swiftedit", mask=mask != "found" and not is_masked
        )
        more = [*scales, *(["by_name"] if by_name else [])]
        parts.check_unused(others.named(rivals), mask="found", settings=rules, scales=more)


def _needs(mask: str) -> "tuple[Ability, ...]":
    """Return what pipelines have to do: with the true mask, to fill that."""
    from swiftpie_lab.evaluation.contest import Ability

    return (Ability.FILL,) if mask == "true" else (Ability.CHANGE,)


def _beside_naive(editor: "Editor", benchmark: "TaskBenchmark[C]") -> "EditDrawer[C]":
    from swiftpie_lab.evaluation.editors import EditDrawer, NaiveEditor, SwiftEditor

    # Only an editor in one step draws with weights that can draw the paste as well.
    baseline = NaiveEditor(editor.session) if isinstance(editor, SwiftEditor) else None
    return EditDrawer(editor, benchmark, baseline)


@app.command(
    epilog=examples(
        "swiftpie evaluate edit-ablations --cases 5 --json",
        "swiftpie evaluate edit-ablations --size 128 "
        "--against runs/world_inversion/export/inversion --teacher runs/mini_teacher/export",
    )
)
@with_fields
def edit_ablations(
    *,
    context: typer.Context,
    loading: given.LoadedInSizes,
    against: given.AgainstInversions = None,
    teacher: given.TeacherWeights = None,
    data: DataPath = None,
    cases: given.CasesAKind = 5,
    seed: given.Seed = 0,
    out: given.Out = Path("out/edit-ablations"),
    as_json: AsJson = False,
) -> None:
    """Measure the parts of an edit one by one.

    Masks, inversion networks and the scales of attention rescaling: every row draws the same
    cases. An interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.ablations import edit_study
    from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark

    loading, _ = resolved(loading, use=Use.EDIT)
    size_px = parts.side_of(loading)
    study = edit_study(
        parts.open_model(loading),
        WorldEditBenchmark(parts.open_pack(data), seed=seed, size_px=size_px),
        num_cases=cases,
        root=out,
        inversions={
            str(path): parts.open_model({**loading, "inversion": path}) for path in against or []
        },
        teacher=None if teacher is None else parts.open_model({**loading, "weights": teacher}),
    )
    output.carry_out_study(study, context=context, as_json=as_json)


@app.command(
    epilog=examples(
        "swiftpie evaluate pie PIE-Bench_v1 --recipe swiftedit --clip clip-vit-large-patch14 "
        "--dino dino-vitb8",
        "swiftpie evaluate pie PIE-Bench_v1 --results other-method --out out/other-method",
        "swiftpie evaluate pie PIE-Bench_v1 --table T1 --recipe swiftedit "
        "--row TurboEdit=turboedit-results --out out/table-1",
        "swiftpie evaluate pie PIE-Bench_v1 --table F9 --recipe swiftedit --cases 70",
    )
)
@with_fields
def pie(
    *,
    context: typer.Context,
    dataset: given.Dataset,
    table: given.PieTableName = None,
    row: given.PieRows = None,
    editor: given.PieEditorName = "swiftedit",
    rivals: given.Rivals,
    mask: given.MaskName = "found",
    cases: given.FirstCases = None,
    files: given.PieNetworks,
    rules: given.EditRules,
    loading: given.LoadedToEdit,
    out: given.Out = Path("out/evaluate-pie"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge edits of PIE-Bench by its own definitions; bring the dataset yourself.

    Figures that need CLIP, DINO or LPIPS take weights that you give, and are otherwise reported as
    not computed. An interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks.pie import read_pie
    from swiftpie_lab.evaluation.editors import EditDrawer

    benchmark = read_pie(dataset, limit=cases)
    networks = parts.open_networks(files, has_to_be_large=True)
    if not others.others_draw(rivals):
        loading, _ = resolved(loading, use=Use.EDIT)
    if table is not None:
        chosen = {"--editor": editor != "swiftedit", "--mask": mask != "found", "--force": force}
        chosen |= {f"--{name}": True for name in rivals}
        parts.refuse_beside("--table", chosen)
        study = _table(table, benchmark, loading, networks, rules=rules, rows=row, out=out)
        output.carry_out_study(study, context=context, as_json=as_json)
        return
    parts.refuse_beside("no --table", {"--row": bool(row)})
    _check_own_edits(rivals, rules, editor=editor, mask=mask)
    drawer = others.drawer_of(
        benchmark,
        benchmark.cases,
        rivals,
        loading,
        lambda: EditDrawer(
            parts.choose_editor(editor, loading, mask=mask, settings=rules), benchmark
        ),
        needs=_needs(mask),
    )
    output.carry_out(
        benchmark,
        benchmark.cases,
        drawer,
        networks,
        context=context,
        out=out,
        as_json=as_json,
        force=force,
    )


def _table(
    name: str,
    benchmark: "PieBenchmark",
    loading: LoadOptions,
    networks: "Networks",
    *,
    rules: EditSettings,
    rows: list[str] | None,
    out: Path,
) -> "Study[PieCase]":
    from swiftpie_lab.evaluation.pie_tables import Parts, TableRequest, read_rows, table_study

    def load(chosen: Parts) -> "Session":
        own = {name: value for name, value in chosen._asdict().items() if value is not None}
        kept = {**loading, "recipe": None} if chosen.preset is not None else loading
        return parts.open_model({**kept, **own})  # type: ignore[typeddict-item]

    folders = read_rows(rows or [])
    request = TableRequest(benchmark, parts.open_model(loading), rules, folders, load)
    return table_study(name, request, networks=networks, root=out)
