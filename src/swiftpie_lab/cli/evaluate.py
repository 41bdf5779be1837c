"""The commands under `swiftpie evaluate`: how good a preset is, in numbers and pictures."""

from collections.abc import Mapping
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from swiftpie.apps.cli.console import examples, print_json, print_text, say
from swiftpie.apps.cli.drawing.edit import EditScales, edit_settings
from swiftpie.apps.cli.drawing.face import (
    Recognisers,
    SidePx,
    StyleName,
    open_face_encoders,
    warn_of_strange_vectors,
)
from swiftpie.apps.cli.loading import resolved
from swiftpie.apps.cli.options import (
    AsJson,
    DataPath,
    Force,
    IdentityScale,
    PictureOut,
    with_fields,
)
from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.recipes import Use
from swiftpie.faces import CONSENT
from swiftpie.pipelines.drawing.settings import EditSettings, Scales, Style
from swiftpie_lab.cli import evaluate_options as given

if TYPE_CHECKING:
    from swiftpie.engine.session import Session
    from swiftpie_lab.evaluation.benchmarks.dreambench import DreamCase
    from swiftpie_lab.evaluation.benchmarks.pie import PieBenchmark
    from swiftpie_lab.evaluation.editors import EditDrawer, Editor, TaskBenchmark
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_lab.evaluation.run import C, CaseDrawer

CELL_PX = 192  # of sheets
NUM_PLACES = 4  # of photographs, by default
RELEASED_SEED = 50  # of FastFace's released code, which then draws all noise from one generator

app = typer.Typer(no_args_is_help=True, help="Measure how good a preset is.")


@app.callback()
def evaluate() -> None:
    """Measure how good a preset is."""


@app.command(
    epilog=examples(
        "swiftpie evaluate world",
        "swiftpie evaluate world --cases 4 --weights runs/mini_world/export --out out/mine --json",
        "swiftpie evaluate world --size 128 --out out/small",
        "swiftpie evaluate world --kinds look,accessory --cases 60 --out out/wishes",
    )
)
@with_fields
def world(
    *,
    context: typer.Context,
    judges: given.WorldJudges = None,
    loading: given.LoadedInSizes,
    data: DataPath = None,
    cases: given.CasesAKind = 20,
    kinds: given.KindNames = None,
    scenes: given.Scenes = "library",
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-world"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge a preset with subjects that it was not trained on.

    Settings, also such as were never trained on, views in words and by value, light, looks, art,
    accessories and poses: each picture has an exact answer, drawn from the same noise. An
    interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks import world as benchmarks
    from swiftpie_lab.evaluation.judges import Networks

    chosen, size_px = benchmarks.read_kinds(kinds), given.side_of(loading)
    benchmark = benchmarks.WorldBenchmark(given.open_pack(data), seed=seed, size_px=size_px)
    networks = Networks(panel=benchmark.panel(judges))
    dealt = [case for kind in chosen for case in benchmark.deal(kind, cases)]
    source = benchmarks.SceneSource(scenes)
    drawer = benchmarks.WorldDrawer(given.open_model(loading), benchmark, source)
    given.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


@app.command(
    epilog=examples(
        "swiftpie evaluate leakage",
        "swiftpie evaluate leakage --photos dreambooth/dataset --cases 20 --out out/leaks --json",
    )
)
@with_fields
def leakage(
    *,
    context: typer.Context,
    photos: given.SubjectPhotos = None,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    cases: given.CasesASlice = 8,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-leakage"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Measure how much of each of two to four subjects is found in the place of another.

    Held-out subjects that are light, dark, thin or textured stand side by side, and photographs
    with --photos. The same subjects are drawn alone, too: only what drawing them together adds is
    leakage. The report has the worst slice first.
    """
    from swiftpie_lab.evaluation.benchmarks import leakage as leaks
    from swiftpie_lab.evaluation.judges import Networks

    shown = {} if photos is None else leaks.read_photos(photos)
    benchmark = leaks.LeakageBenchmark(given.open_pack(data), shown, seed=seed)
    networks, dealt = Networks(panel=benchmark.panel()), benchmark.cases(cases)
    drawer = leaks.LeakageDrawer(given.open_model(loading), benchmark)
    given.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


class PhotographTask(NamedTuple):
    """A benchmark of subjects in photographs: its help, and the names of its classes."""

    help: str
    benchmark: str
    drawer: str


PHOTOGRAPH_TASKS = {
    "insertions": PhotographTask(
        """Judge how a preset puts subjects into photographs, with exact answers.

        Subjects that no model was trained on are rendered into photographs that training does not
        use, in a known light. Beside the model's picture, the truth, a naive paste and OpenCV's
        Poisson blending are judged. An interrupted run goes on where it stopped.
        """,
        "InsertionBenchmark",
        "InsertionDrawer",
    ),
    "removals": PhotographTask(
        """Judge how a preset takes subjects and their shadows out of photographs.

        The answers are exact. The cases are those of `insertions`, after and before. Beside the
        model's picture, the truth, OpenCV's inpainting and the untouched picture are judged. An
        interrupted run goes on where it stopped.
        """,
        "RemovalBenchmark",
        "RemovalDrawer",
    ),
}


def _add_photograph_task(name: str, task: PhotographTask) -> None:
    example = f"swiftpie evaluate {name} --photos my-photos"
    more = "--cases 24 --weights runs/mini_world/export --out out/mine --json"

    @app.command(name, help=cleandoc(task.help), epilog=examples(example, f"{example} {more}"))
    @with_fields
    def judge(
        *,
        context: typer.Context,
        photos: given.Backgrounds = None,
        loading: given.LoadedInSteps,
        data: DataPath = None,
        cases: given.NumCases = 48,
        seed: given.Seed = 0,
        out: given.Out = Path(f"out/evaluate-{name}"),
        as_json: AsJson = False,
        force: given.Anew = False,
    ) -> None:
        from swiftpie_lab.evaluation.benchmarks import insertions
        from swiftpie_lab.evaluation.judges import Networks

        backgrounds = insertions.open_backgrounds(photos)
        make = getattr(insertions, task.benchmark)
        benchmark = make(given.open_pack(data), backgrounds, seed=seed)
        dealt = benchmark.cases(cases)
        drawer = getattr(insertions, task.drawer)(given.open_model(loading), benchmark)
        networks = Networks(panel=benchmark.panel())
        given.carry_out(
            benchmark,
            dealt,
            drawer,
            networks,
            context=context,
            out=out,
            as_json=as_json,
            force=force,
        )


for task_name, photograph_task in PHOTOGRAPH_TASKS.items():
    _add_photograph_task(task_name, photograph_task)


@app.command(
    epilog=examples(
        "swiftpie evaluate ablations --size 128 --cases 200 --out out/ablations-200 --json",
        "swiftpie evaluate ablations --weights runs/last/export --against runs/first/export",
    )
)
@with_fields
def ablations(
    *,
    loading: given.LoadedInSizes,
    against: given.AgainstWeights = None,
    data: DataPath = None,
    cases: given.NumCases = 48,
    seed: given.Seed = 0,
    out: given.Out = Path("out/ablations"),
    as_json: AsJson = False,
) -> None:
    """Measure the parts of the method one by one, on subjects in trained settings.

    Branches, geometric prior, masks, rescaling, numbers of references, scales and steps: every row
    draws the same cases. Rows that are drawn already are kept, unless weights, subjects, seed or
    version differ.
    """
    from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark
    from swiftpie_lab.evaluation.variants import scene_study

    size_px = given.side_of(loading)
    study = scene_study(
        given.open_model(loading),
        WorldBenchmark(given.open_pack(data), seed=seed, size_px=size_px),
        num_cases=cases,
        root=out,
        against={
            str(path): given.open_model({**loading, "weights": path}) for path in against or []
        },
    )
    given.carry_out_study(study, as_json=as_json)


@app.command(
    epilog=examples(
        "swiftpie evaluate grid -o grid.png",
        "swiftpie evaluate grid -o mine.png --weights runs/mini_world/export",
        "swiftpie evaluate grid -o small.webp --num-subjects 3 --seed 7",
    )
)
@with_fields
def grid(
    *,
    out: PictureOut,
    num_subjects: given.NumSubjects = 8,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    seed: given.Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw held-out subjects in their five uses, as one picture with labels.

    In a place, from a side, in a colour or of a material, as art, and with something; the seed
    deals subjects and wishes, as for `world`, and nobody picks them. The first column shows the
    references.
    """
    from swiftpie.imageio.writing import check_image_target
    from swiftpie_lab.evaluation.benchmarks.world import USES, WorldBenchmark
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    benchmark = WorldBenchmark(given.open_pack(data), seed=seed)
    cases = benchmark.uses(num_subjects)
    session = given.open_model(loading)
    rows = list(
        given.watched(benchmark.draw_uses(session, cases), "drawing subjects", total=len(cases))
    )
    sheet = labelled_sheet(
        rows,
        columns=["reference", *USES],
        captions=[[row[0].subject, *(case.prompt for case in row)] for row in cases],
        cell_px=CELL_PX,
    )
    given.save_sheet(sheet, out, preset=session.components.preset.name, seed=seed, force=force)
    say(f"the picture is {out}")
    if as_json:
        pictures = [
            {"subject": case.subject, "use": use, "prompt": case.prompt, "seed": case.seed}
            for row in cases
            for use, case in zip(USES, row, strict=True)
        ]
        print_json({"path": str(out), "pictures": pictures})


@app.command(
    epilog=examples(
        "swiftpie evaluate photos my-photos -o sheet.png",
        "swiftpie evaluate photos my-photos -o sheet.png --places beach,desert --noun thing --json",
        "swiftpie evaluate photos my-photos -o sheet.png --recipe sdxl-turbo",
    )
)
@with_fields
def photos(
    *,
    folder: given.Photos,
    out: PictureOut,
    places: given.PlaceNames = None,
    limit: given.Limit = 22,
    noun: given.Noun = "",
    loading: given.LoadedInSteps,
    data: DataPath = None,
    seed: given.Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw subjects of real photographs, and compare what is kept of them with sprites.

    The sheet shows each reference, its cut-out and the pictures. The figure is the similarity of
    subject and reference as the judge of sprites sees it, beside that of as many held-out sprites
    in the same places: the dozen inside the package, or those of --data.
    """
    from swiftpie.imageio.writing import check_image_target
    from swiftpie_lab.data.subjects import load_subjects, sample_subjects
    from swiftpie_lab.evaluation.benchmarks import photos as kept
    from swiftpie_lab.evaluation.benchmarks.sprites import SpritesInPlaces, check_places
    from swiftpie_lab.evaluation.judges import shipped_embedder
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    subjects = kept.find_subjects(folder, limit=limit)
    pack = sample_subjects() if data is None else load_subjects(data)
    placed = SpritesInPlaces(pack, seed=seed)
    names = placed.places(NUM_PLACES)
    if places is not None:
        names = check_places([name.strip() for name in places.split(",")])
    session, embedder = given.open_model(loading), shipped_embedder()
    drawn = kept.draw_photos(
        session, embedder, subjects, places=names, seed=seed, noun=noun.strip()
    )
    everyone = list(given.watched(drawn, "photographs", total=len(subjects)))
    count = min(len(subjects), len(placed.codes))
    sprites = kept.draw_sprites(session, embedder, placed, num_subjects=count, places=names)
    others = list(given.watched(sprites, "sprites", total=count))
    report = kept.summarise(session.components, everyone, others, places=names, seed=seed)
    portraits = [one for one in everyone if isinstance(one, kept.Portrait)]
    sheet = labelled_sheet(
        [[one.reference, one.cutout, *one.pictures] for one in portraits],
        columns=["reference", "cut-out", *names],
        captions=[[one.name] for one in portraits],
        cell_px=CELL_PX,
    )
    given.save_sheet(sheet, out, preset=session.components.preset.name, seed=seed, force=force)
    for left_out in report.left_out:
        say(f"left out {left_out.name}: {left_out.reason}")
    for doubt in report.doubtful:
        say(f"doubtful cut-out: {doubt.name} (confidence {doubt.confidence:.2f})")
    if as_json:
        print_text(report.to_json())
    else:
        given.tell([*kept.describe(report.likeness), kept.WHAT_IT_SAYS], {})
    say(f"the picture is {out}")


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
    from swiftpie_lab.evaluation.benchmarks.world_edits import WorldEditBenchmark

    networks = given.open_networks(files)
    loading, _ = resolved(loading, use=Use.EDIT)
    size_px = given.side_of(loading)
    benchmark = WorldEditBenchmark(given.open_pack(data), seed=seed, size_px=size_px)
    networks = replace(networks, panel=benchmark.panel(judges))
    settings = _settings_of_each(loading, rules, scales)
    chosen = given.choose_editor(
        editor, loading, mask=mask, settings=settings, scales=scales, by_name=by_name
    )
    drawer = _beside_naive(chosen, benchmark)
    dealt = benchmark.cases(cases, kinds=() if kinds is None else kinds.split(","))
    given.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


def _settings_of_each(
    loading: LoadOptions, rules: EditSettings, scales: Mapping[str, float]
) -> EditSettings:
    if not scales:  # those of edits with a reference are others than those of edits without
        return rules
    settings = edit_settings(resolved(loading)[1], rules, scales=scales)
    return replace(settings, mode=rules.mode)


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
    size_px = given.side_of(loading)
    study = edit_study(
        given.open_model(loading),
        WorldEditBenchmark(given.open_pack(data), seed=seed, size_px=size_px),
        num_cases=cases,
        root=out,
        inversions={
            str(path): given.open_model({**loading, "inversion": path}) for path in against or []
        },
        teacher=None if teacher is None else given.open_model({**loading, "weights": teacher}),
    )
    given.carry_out_study(study, as_json=as_json)


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
    results: given.OtherResults = None,
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
    from swiftpie_lab.evaluation.benchmarks.pie import ResultsEditor, read_pie
    from swiftpie_lab.evaluation.editors import EditDrawer, Editor

    benchmark = read_pie(dataset, limit=cases)
    networks = given.open_networks(files, has_to_be_large=True)
    loading, _ = resolved(loading, use=Use.EDIT)
    if table is not None:
        parts = {"--editor": editor != "swiftedit", "--results": results is not None}
        parts |= {"--mask": mask != "found", "--force": force}
        given.refuse_beside("--table", parts)
        _repeat_table(
            table, benchmark, loading, networks, rules=rules, rows=row, out=out, as_json=as_json
        )
        return
    given.refuse_beside("no --table", {"--row": bool(row)})
    if results is None:
        chosen: Editor = given.choose_editor(editor, loading, mask=mask, settings=rules)
    else:
        given.check_unused("--results", mask=mask, settings=rules)
        chosen = ResultsEditor(results, benchmark)
    drawer = EditDrawer(chosen, benchmark)
    given.carry_out(
        benchmark,
        benchmark.cases,
        drawer,
        networks,
        context=context,
        out=out,
        as_json=as_json,
        force=force,
    )


def _repeat_table(
    name: str,
    benchmark: "PieBenchmark",
    loading: LoadOptions,
    networks: "Networks",
    *,
    rules: EditSettings,
    rows: list[str] | None,
    out: Path,
    as_json: bool,
) -> None:
    from swiftpie_lab.evaluation.pie_tables import Parts, TableRequest, read_rows, table_study

    def load(parts: Parts) -> "Session":
        own = {name: value for name, value in parts._asdict().items() if value is not None}
        kept = {**loading, "recipe": None} if parts.preset is not None else loading
        return given.open_model({**kept, **own})  # type: ignore[typeddict-item]

    folders = read_rows(rows or [])
    request = TableRequest(benchmark, given.open_model(loading), rules, folders, load)
    study = table_study(name, request, networks=networks, root=out)
    given.carry_out_study(study, as_json=as_json)


@app.command(
    epilog=examples(
        "swiftpie evaluate dreambench dreambooth/dataset",
        "swiftpie evaluate dreambench dreambooth/dataset --recipe ip-adapter-plus_sd15 "
        "--dino-small dino-vits16 --clip-small clip-vit-base-patch32",
        "swiftpie evaluate dreambench dreambooth/dataset --results other-method --out out/other",
        "swiftpie evaluate dreambench dreambooth/dataset --pipeline stable-diffusion-v1-5 "
        "--adapter ip-adapter-plus_sd15.safetensors --image-encoder image_encoder --out out/rival",
        "swiftpie evaluate dreambench photos --subjects 4 --prompts 5 --seeds 1 --json",
        "swiftpie evaluate dreambench dreambooth/dataset --boxes boxes.json",
        "swiftpie evaluate dreambench dreambench_plus/data --set dreambench++ "
        "--siglip2 siglip2-so400m-patch16-naflex",
    )
)
@with_fields
def dreambench(
    *,
    context: typer.Context,
    dataset: given.DreamFolder,
    which: given.DreamSetName = "dreambench",
    boxes: given.SubjectBoxes = None,
    subjects: given.FirstSubjects = None,
    prompts: given.NumPrompts = None,
    seeds: given.NumSeeds = 4,
    all_references: given.UsesAll = False,
    results: given.FinishedPictures = None,
    files: given.DreamNetworks,
    rivals: given.Rivals,
    loading: given.LoadedInSteps,
    seed: given.FirstSeed = 0,
    out: given.Out = Path("out/evaluate-dreambench"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Draw photographed subjects by the prompts of DreamBench; bring the dataset yourself.

    DINO, CLIP-I and CLIP-T are computed as DreamBooth defines them and as later papers do, of whole
    pictures and of subjects cut out on white, and MaSC with masks. They take weights that you give,
    and are otherwise reported as not computed. The package's own judge of sprites compares colours
    and shapes without any. An interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks import dreambench as dreams
    from swiftpie_lab.evaluation.judges import SubjectJudge, shipped_embedder

    benchmark = dreams.read_dreambench(
        dataset, which, limit=subjects, num_prompts=prompts, num_seeds=seeds, seed=seed, boxes=boxes
    )
    networks = replace(given.open_networks(files), subjects=SubjectJudge(shipped_embedder()))
    rival = given.open_rival(rivals, loading, results=results)
    drawer: CaseDrawer[DreamCase]
    if results is not None:
        drawer = dreams.DreamResults(benchmark, results)
    elif rival is not None:
        drawer = dreams.DreamRival(benchmark, rival, uses_all=all_references)
    else:
        session = given.open_model(loading)
        drawer = dreams.DreamDrawer(benchmark, session, uses_all=all_references)
    dealt = benchmark.cases()
    given.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


@app.command(
    help="Draw every person of a folder by every prompt of a file, and judge each aspect apart.\n\n"
    "Identity, prompt, style, image quality and face ratio are figures of their own, and pictures "
    "without a face are counted. Figures whose networks you do not give are reported as not "
    f"computed. An interrupted run goes on where it stopped. {CONSENT}",
    epilog=examples(
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--recipe face-plus --clip clip-vit-l14",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset hyper-sdxl-4 --adapter ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface --judge opencv --judge-models face-models --style dcg+am2 "
        "--out out/dcg-am2 --json",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset sdxl-lightning-4 --weights models/sdxl_lightning_4step_unet.safetensors "
        "--base models/sdxl-base-1.0 --image-encoder models/image_encoder "
        "--adapter models/ip-adapter-plus-face_sdxl_vit-h.safetensors "
        "--face-models models/faces --offline",
    ),
)
@with_fields
def fastface(
    *,
    context: typer.Context,
    identities: given.Identities,
    prompts: given.Prompts,
    style: StyleName = Style.PLAIN,
    identity_scale: IdentityScale = None,
    side: SidePx = None,
    recognisers: Recognisers,
    results: given.FinishedFaces = None,
    files: given.FaceNetworks,
    rivals: given.Rivals,
    seed: given.FirstSeed = RELEASED_SEED,
    loading: given.LoadedForFaces,
    out: given.Out = Path("out/evaluate-fastface"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Draw every person of a folder by every prompt of a file, and judge each aspect apart."""
    from swiftpie_lab.evaluation.benchmarks import fastface as faces

    rival = given.open_rival(rivals, loading, results=results)
    if rival is not None or results is not None:
        given.check_drawn_by_others(style=style, identity_scale=identity_scale, side=side)
    else:
        loading, _ = resolved(loading, use=Use.FACE)
    networks = given.open_networks(files, allow_pickle=loading.get("allow_pickle", False))
    (encoder, judge), agreed = open_face_encoders(recognisers, loading)
    benchmark = faces.read_faces(identities, prompts, seed=seed, encoder=encoder, judge=judge)
    cases = benchmark.cases()
    agreed.fetch()
    drawer: CaseDrawer[faces.FaceCase]
    if results is not None:
        drawer = faces.FaceResults(results, benchmark)
    elif rival is not None:
        drawer = faces.FaceRival(rival, benchmark)
    else:
        session = given.open_model(loading)
        warn_of_strange_vectors(session, encoder)
        scales = Scales.of(session.components.preset)
        if identity_scale is not None:
            scales = replace(scales, identity_scale=identity_scale)
        drawer = faces.FaceDrawer(session, benchmark, style, scales, side)
    networks = replace(networks, face_judge=judge)
    given.carry_out(
        benchmark, cases, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )
