"""`swiftpie evaluate fastface`: people of a folder in the scenes of a file."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.console import examples, say, write_table
from swiftpie.cli.evaluate.running import Anew, Out, watched
from swiftpie.cli.face import (
    Recognisers,
    SidePx,
    StyleName,
    open_face_encoders,
    warn_of_strange_vectors,
)
from swiftpie.cli.options import AsJson, Fields, IdentityScale, open_session, with_fields
from swiftpie.faces.face import CONSENT
from swiftpie.guidance.style import Style
from swiftpie.pipelines.settings import Scales

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.evaluation.fastface.case import Task
    from swiftpie.evaluation.fastface.generate import Lost, Person
    from swiftpie.evaluation.fastface.networks import Networks
    from swiftpie.evaluation.fastface.report import FaceReport
    from swiftpie.evaluation.folder import Run
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.faces.likeness import FaceEncoders

LOADED = (
    *("preset", "adapter", "steps", "weights", "base", "image_encoder", "lora_scale"),
    *("face_version", "allow_pickle", "offline", "device"),
)
RELEASED_SEED = 50  # of the released code, which then draws all noise from one generator

Identities = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Photographs, one a person.", show_default=False),
]
Prompts = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="One prompt a line; what stands before ';' is its style.",
    ),
]
FirstSeed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Of the first case; others count up.")
]
ClipFolder = Annotated[
    Path | None,
    typer.Option("--clip", metavar="DIR", show_default=False, help="CLIP ViT-L/14."),
]
SmallClipFolder = Annotated[
    Path | None,
    typer.Option("--clip-small", metavar="DIR", show_default=False, help="CLIP ViT-B/32."),
]
AestheticFile = Annotated[
    Path | None,
    typer.Option(
        "--aesthetic", metavar="FILE", show_default=False, help="LAION's aesthetic predictor."
    ),
]

app = typer.Typer()


class Drawing(NamedTuple):
    """What all pictures of one run have in common."""

    session: "Session"
    scales: Scales
    style: Style
    side_px: int | None  # of square pictures; None is the preset's

    def draw_one(self, chosen: "ChosenFace", prompt: str, seed: int) -> "Image.Image":
        """Draw one picture of a face."""
        side = self.side_px
        return self.session.face(
            chosen,
            prompt,
            style=self.style,
            seed=seed,
            scales=self.scales,
            size_px=None if side is None else (side, side),
        ).images[0]


@app.command(
    help="Draw every person of a folder by every prompt of a file, and judge each aspect apart.\n\n"
    "Identity, prompt, style, image quality and face ratio are figures of their own, and pictures "
    "without a face are counted. Figures whose networks you do not give are reported as not "
    f"computed. An interrupted run goes on where it stopped. {CONSENT}",
    epilog=examples(
        "swiftpie evaluate fastface --identities people --prompts prompts.txt --preset "
        "sdxl-lightning-4 --adapter ip-adapter-plus-face_sdxl_vit-h.safetensors "
        "--image-encoder models/image_encoder --face-models face-models --clip clip-vit-l14",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset hyper-sdxl-4 --adapter ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface --judge opencv --judge-models face-models --style dcg+am2 "
        "--out out/dcg-am2 --json",
    ),
)
@with_fields
def fastface(
    *,
    identities: Identities,
    prompts: Prompts,
    style: StyleName = Style.PLAIN,
    identity_scale: IdentityScale = None,
    side: SidePx = None,
    recognisers: Recognisers,
    clip: ClipFolder = None,
    clip_small: SmallClipFolder = None,
    aesthetic: AestheticFile = None,
    seed: FirstSeed = RELEASED_SEED,
    loading: Annotated[LoadOptions, Fields(LoadOptions, LOADED, required=("preset",))],
    out: Out = Path("out/evaluate-fastface"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Draw every person of a folder by every prompt of a file, and judge each aspect apart."""
    task = _read_task(identities, prompts, seed)
    allow_pickle = loading.get("allow_pickle", False)
    networks = _open_networks(clip, clip_small, aesthetic, allow_pickle=allow_pickle)
    encoders = open_face_encoders(recognisers)
    people, lost = _find_people(task, encoders)
    session = open_session(**loading).session
    scales = Scales.of(session.components.preset)
    if identity_scale is not None:
        scales = replace(scales, identity_scale=identity_scale)
    drawing = Drawing(session, scales, style, side)
    warn_of_strange_vectors(session, encoders.encoder)
    _draw(drawing, people, _run(drawing, task, encoders), out=out, force=force)
    _tell(_judge(out, people, lost, networks, encoders=encoders), out, as_json=as_json)


def _read_task(identities: Path, prompts: Path, seed: int) -> "Task":
    from swiftpie.evaluation.fastface.case import read_task

    return read_task(identities, prompts, seed=seed)


def _find_people(task: "Task", encoders: "FaceEncoders") -> "tuple[list[Person], list[Lost]]":
    from swiftpie.evaluation.fastface.generate import find_people

    return find_people(task, encoders.encoder)


def _draw(drawing: Drawing, people: "list[Person]", run: "Run", *, out: Path, force: bool) -> None:
    """Draw every case that is not in `out` yet."""
    from swiftpie.evaluation.fastface.folder import FaceFolder
    from swiftpie.evaluation.fastface.generate import generate

    folder = FaceFolder(out)
    folder.start(run, force=force)
    total = sum(len(person.cases) for person in people)
    for _ in watched(generate(people, drawing.draw_one, folder=folder), "drawing", total=total):
        pass


def _run(drawing: Drawing, task: "Task", encoders: "FaceEncoders") -> "Run":
    """Return what all pictures have in common, so that others are not mixed in."""
    import hashlib

    from swiftpie.evaluation.folder import Run

    components = drawing.session.components
    read = f"{task.fingerprint} {encoders.encoder.name} {encoders.encoder.fingerprint}"
    side = drawing.side_px or components.preset.image_size_px
    setting = f"{drawing.style.value}, identity {drawing.scales.identity_scale:g}, {side} px"
    return Run(
        benchmark="fastface",
        version=__version__,
        preset=f"{components.preset.name}, {setting}",
        weights=components.fingerprint,
        data=hashlib.sha256(read.encode()).hexdigest(),
        seed=task.seed,
        num_steps=len(components.schedule.steps),
    )


def _open_networks(
    clip: Path | None, small: Path | None, aesthetic: Path | None, *, allow_pickle: bool
) -> "Networks":
    from swiftpie.evaluation.fastface.networks import Networks, load_aesthetic, load_clip

    large = None if clip is None else load_clip(clip)
    predictor = None
    if aesthetic is not None and large is not None:
        predictor = load_aesthetic(aesthetic, width=large.width, allow_pickle=allow_pickle)
    return Networks(large, None if small is None else load_clip(small), predictor)


def _judge(
    out: Path,
    people: "list[Person]",
    lost: "list[Lost]",
    networks: "Networks",
    *,
    encoders: "FaceEncoders",
) -> "FaceReport":
    """Score what is in `out`, and write rows, report and page beside it."""
    from dataclasses import asdict

    from swiftpie.evaluation.fastface.folder import FaceFolder
    from swiftpie.evaluation.fastface.page import render_page
    from swiftpie.evaluation.fastface.report import Setting, summarise
    from swiftpie.evaluation.fastface.score import score

    folder = FaceFolder(out)
    cases = {case.name: case for person in people for case in person.cases}
    found = score(folder, people, networks, judge=encoders.judge, detector=encoders.encoder)
    rows = list(watched(found, "judging", total=len(cases)))
    missing = networks.not_computed(has_judge=encoders.judge is not None)
    name = None if encoders.judge is None else encoders.judge.name
    setting = Setting(folder.base.read_run(), encoders.encoder.name, name, missing)
    report = summarise(rows, lost, setting)
    folder.base.write_rows("rows.jsonl", (asdict(row) for row in rows))
    folder.base.write_text("report.json", report.to_json())
    folder.base.write_text("index.html", render_page(report, rows, cases, folder=folder))
    return report


def _tell(report: "FaceReport", out: Path, *, as_json: bool) -> None:
    from swiftpie.evaluation.fastface.page import HEADS, describe, table

    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        for line in describe(report):
            typer.echo(line)
        for group in report.groups:
            typer.echo(f"\n{group.title}, {group.num_cases} cases")
            write_table(table(group), headings=HEADS)
    say(f"The pictures are in {out}; open {out / 'index.html'}.")
