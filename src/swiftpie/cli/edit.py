"""`swiftpie edit`: a picture and a sentence to the edited picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.options import (
    Adapter,
    AllowPickle,
    AsJson,
    Base,
    Device,
    Dtype,
    Engine,
    Force,
    ImageEncoder,
    Inversion,
    Offline,
    Out,
    PresetName,
    SubjectPictures,
    Weights,
    choices_of,
    encode_subjects,
    open_session,
    read_picture,
    read_subjects,
)
from swiftpie.cli.outputs import (
    MAX_STORED_PROMPT,
    Output,
    check_outputs,
    plan_outputs,
    write_output,
)
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from swiftpie.engine.session import Session
    from swiftpie.masks import Box
    from swiftpie.pipelines.edit import EditResult
    from swiftpie.pipelines.request import EditSettings

STRIP_CELL_PX = 384
STRIP_CAPTIONS = ("before", "mask", "after")

Picture = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE", help="The picture to edit; - reads standard input.", show_default=False
    ),
]
Prompt = Annotated[
    str, typer.Argument(help="What the picture shall show afterwards.", show_default=False)
]
SourcePrompt = Annotated[str, typer.Option(help="What the picture shows now.")]
Keyword = Annotated[
    str, typer.Option(metavar="WORDS", help="What in the picture shall change, as in 'cat'.")
]
MaskFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="White where the picture may change.")
]
BoxText = Annotated[
    str | None,
    typer.Option(metavar="L,T,R,B", help="Where it may change, as fractions from 0 to 1."),
]
SaveMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write where the picture may have changed.")
]
Strip = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write before, mask and after in a row.")
]
EditScale = Annotated[
    float | None, typer.Option(help="Strength of the picture's own look where it changes.")
]
BackgroundScale = Annotated[
    float | None, typer.Option(help="Strength of the picture's own look elsewhere.")
]
TextScale = Annotated[float | None, typer.Option(help="Strength of the prompt where it changes.")]
Mode = Annotated[
    Literal["paper", "released"],
    typer.Option(help="Follow SwiftEdit's paper, or the code that was released with it."),
]
Rule = Annotated[
    Literal["released", "smooth"] | None,
    typer.Option(help="How a mask is found in the noise: hard or soft. By default the best known."),
]
NewSubject = Annotated[
    list[str] | None,
    typer.Option(
        "--subject",
        metavar="PICTURE[:MASK]",
        help="What to draw where the picture changes; repeat for more views of it.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the little chance that there is in an edit.")]

app = typer.Typer()


class Job(NamedTuple):
    """One edit, checked, before anything is loaded."""

    picture: "str | Image"
    prompt: str
    source_prompt: str
    keyword: str
    subject: list[SubjectPictures]  # pictures of what is drawn instead; may be none
    place: "str | Box | None"  # a mask file or a box
    settings: "EditSettings"
    output: Output
    strip: Path | None
    force: bool


@app.command(
    epilog=examples(
        'swiftpie edit cat.jpg "a dog on a sofa" -o dog.png --source-prompt "a cat on a sofa" '
        "--preset swiftbrush-v2 --inversion inverse_ckpt --adapter ip_adapter.safetensors "
        "--image-encoder models/image_encoder",
        'swiftpie edit cat.jpg "a dog" -o dog.png --keyword cat --strip strip.png',
        'swiftpie edit cat.jpg "a red hat" -o hat.png --box 0.3,0.05,0.7,0.3',
        'swiftpie edit room.jpg "a mug on a table" -o mug.png --box 0.4,0.5,0.7,0.9 '
        "--subject mug.png",
    )
)
def edit(
    *,
    image: Picture,
    prompt: Prompt,
    out: Out,
    source_prompt: SourcePrompt = "",
    keyword: Keyword = "",
    subject: NewSubject = None,
    mask: MaskFile = None,
    box: BoxText = None,
    save_mask: SaveMask = None,
    strip: Strip = None,
    identity_scale: EditScale = None,
    background_scale: BackgroundScale = None,
    text_scale: TextScale = None,
    mode: Mode = "paper",
    rule: Rule = None,
    seed: Seed = 0,
    preset: PresetName = "mini",
    weights: Weights = None,
    base: Base = None,
    adapter: Adapter = None,
    image_encoder: ImageEncoder = None,
    inversion: Inversion = None,
    dtype: Dtype = None,
    allow_pickle: AllowPickle = False,
    offline: Offline = False,
    device: Device = "cpu",
    engine: Engine = "",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Change a picture so that it fits PROMPT; a mask, a box or a keyword may say where."""
    given = {
        "identity_scale": identity_scale,
        "background_scale": background_scale,
        "text_scale": text_scale,
    }
    settings = edit_settings(preset, mode, rule, seed=seed, scales=given, subjects=subject)
    picture, place = read_picture(image), _place(mask, box)
    output = _plan(out, save_mask, strip, as_json=as_json, force=force)
    shown = read_subjects(subject or [])
    job = Job(picture, prompt, source_prompt, keyword, shown, place, settings, output, strip, force)
    choices = choices_of(
        base=base,
        adapter=adapter,
        image_encoder=image_encoder,
        inversion=inversion,
        dtype=dtype,
        allow_pickle=allow_pickle,
        offline=offline,
    )
    opened = open_session(preset, device=device, weights=weights, engine=engine, choices=choices)
    _tell(carry_out(opened.session, job), job, as_json=as_json, load_ms=opened.load_ms)


def edit_settings(
    preset: str,
    mode: str,
    rule: str | None,
    *,
    seed: int,
    scales: dict[str, float | None],
    subjects: list[str] | None = None,
) -> "EditSettings":
    """Return the choices of an edit.

    Strengths that are not given follow from mode, preset and whether new `subjects` are shown.

    Raises:
        ConfigError: There is no such preset.
    """
    from dataclasses import replace

    from swiftpie.backbones.preset import PRESETS
    from swiftpie.masks import MaskRule
    from swiftpie.pipelines.request import EditMode, EditSettings, Scales

    own = Scales.for_edit(PRESETS.get(preset), mode=EditMode(mode), has_reference=bool(subjects))
    given = {name: value for name, value in scales.items() if value is not None}
    return EditSettings(
        mode=EditMode(mode),
        rule=None if rule is None else MaskRule(rule),
        scales=replace(own, **given),
        seed=seed,
    )


def carry_out(session: "Session", job: Job) -> "EditResult":
    """Edit the picture and write every file of `job`."""
    from swiftpie.images import contact_sheet, load_image, save_image

    before = load_image(job.picture)
    result = session.edit(
        before,
        job.prompt,
        source_prompt=job.source_prompt,
        keyword=job.keyword,
        mask=job.place,
        identity=encode_subjects(session, job.subject) if job.subject else None,
        settings=job.settings,
    )
    facts = _metadata(job, session.components.preset.name)
    write_output(result.image, result.region, output=job.output, metadata=facts, force=job.force)
    if job.strip is not None:
        row = [before, result.region, result.image]
        sheet = contact_sheet([row], cell_px=STRIP_CELL_PX, captions=STRIP_CAPTIONS)
        save_image(sheet, job.strip, metadata=facts, force=job.force)
    return result


def _place(mask: str | None, box: str | None) -> "str | Box | None":
    """Return where to edit, if that is said.

    Raises:
        ConfigError: It is said twice.
        ImageError: The mask is no picture.
    """
    from swiftpie.files import open_image
    from swiftpie.masks import parse_box

    if mask is not None and box is not None:
        raise ConfigError(
            "--mask and --box came together. One place is needed. Draw the box into the mask, or "
            "leave one out."
        )
    if mask is not None:
        open_image(mask)  # so that a mistake shows before a model is loaded
    return mask if box is None else parse_box(box)


def _plan(
    out: str, save_mask: Path | None, strip: Path | None, *, as_json: bool, force: bool
) -> Output:
    """Return where the picture and its mask go, after a check of every file.

    Raises:
        ConfigError: One place would have to hold two things.
    """
    from swiftpie.images import check_image_target

    (output,) = plan_outputs(out, save_mask, count=1, as_json=as_json)
    check_outputs([output], force=force)
    if strip is not None:
        if strip in {output.picture, output.mask}:
            raise ConfigError(
                f"'{strip}' is --strip and another output. Two different files are needed. "
                "Rename one."
            )
        check_image_target(strip, force=force)
    return output


def _metadata(job: Job, preset: str) -> dict[str, str]:
    settings = job.settings
    scales = {name: str(value) for name, value in vars(settings.scales).items()}
    return {
        "prompt": job.prompt[:MAX_STORED_PROMPT],
        "source_prompt": job.source_prompt[:MAX_STORED_PROMPT],
        "keyword": job.keyword[:MAX_STORED_PROMPT],
        "preset": preset,
        "mode": settings.mode.value,
        "rule": "learned" if settings.rule is None else settings.rule.value,
        "seed": str(settings.seed),
        "swiftpie": __version__,
        **scales,
    }


def _tell(result: "EditResult", job: Job, *, as_json: bool, load_ms: float) -> None:
    say(f"wrote {job.output.picture or 'the picture to standard output'} (seed {result.seed})")
    if as_json:
        files = {"path": job.output.picture, "mask": job.output.mask, "strip": job.strip}
        picture = {name: path and str(path) for name, path in files.items()}
        timings_ms = {stage: round(ms, 2) for stage, ms in result.timings_ms.items()}
        pictures = [{**picture, "seed": result.seed}]
        print_json({"pictures": pictures, "load_ms": round(load_ms, 1), "timings_ms": timings_ms})
