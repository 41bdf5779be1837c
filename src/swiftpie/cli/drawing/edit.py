"""`swiftpie edit`: change a picture so that it fits a sentence."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Use
from swiftpie.batch.lists import read_prompts
from swiftpie.cli import console, options
from swiftpie.cli.drawing.face import (
    Recogniser,
    choose_in,
    warn_of_strange_vectors,
    with_face_files,
)
from swiftpie.cli.drawing.subjects import (
    cutout_facts,
    named_facts,
    read_picture,
    read_source,
    with_cutouts,
)
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.engine.origin import check_texts, origin_of_result
from swiftpie.errors import ConfigError
from swiftpie.faces import CONSENT, FaceSettings, FaceSource
from swiftpie.pipelines.request import EditRequest, opened
from swiftpie.pipelines.settings import EditSettings, Scales

if TYPE_CHECKING:
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.engine.session import Session
    from swiftpie.faces import FaceEncoder
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.masks import Box
    from swiftpie.pipelines.request import Source
    from swiftpie.types import EditResult

STRIP_CELL_PX = 384
STRIP_CAPTIONS = ("before", "region", "after")
LOADED = (
    *(name for name in options.DRAWING if name != "steps"),
    *("inversion", "lora_scale", "face_version"),
)
SCALES = ("identity_scale", "background_scale", "text_scale")

EditScales = Annotated[dict[str, float], options.FieldOptions(Scales, SCALES)]
Picture = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE", help="The picture to edit; - reads standard input.", show_default=False
    ),
]
Request = Annotated[dict[str, Any], options.FieldOptions(EditRequest, without=("prompt", "seed"))]
NewSubject = Annotated[
    list[str] | None,
    typer.Option(
        "--subject",
        metavar="PICTURE[:MASK]",
        help="Subject to draw where the picture changes; repeat for more views of it. By default "
        "the subject of `swiftpie library` that PROMPT names.",
    ),
]

FaceOf = Annotated[FaceSource, options.FieldOptions(FaceSource)]
PreviewMask = Annotated[
    bool,
    typer.Option(
        "--preview-mask",
        help="Write what the edit may change, in white, in place of the edit. It is a FILE for "
        "--mask.",
    ),
]

app = typer.Typer()


class EditJob(NamedTuple):
    """A request with the files that it is read from and written to, which sessions do not know."""

    request: EditRequest
    picture: str | bytes  # a path, or what standard input held
    target: console.Target
    strip: Path | None
    force: bool


class Person(NamedTuple):
    """The person whose face an edit draws."""

    chosen: "ChosenFace"
    encoder: "FaceEncoder"
    agreed: "DownloadPlan"  # what the networks need, if the user agreed to it


@app.command(
    epilog=console.examples(
        'swiftpie edit cat.jpg "a dog on a sofa" -o dog.png --source-prompt "a cat on a sofa" '
        "--recipe swiftedit",
        'swiftpie edit garden.jpg "at sunset in autumn" -o sunset.png',
        'swiftpie edit cat.jpg "a dog" -o where.png --keyword cat --preview-mask',
        'swiftpie edit cat.jpg "a blue cat" -o blue.png --strip strip.png',
        'swiftpie edit cat.jpg "in the rain" -o rain.png -n 4',
        'swiftpie edit two-dogs.jpg "a statue of a dog" -o out.png --where dog.spid',
        'swiftpie edit cat.jpg "wearing a red hat" -o hat.png',
        'swiftpie edit room.jpg "a mug on a table" -o mug.png --box 0.4,0.5,0.7,0.9 '
        "--subject mug.png",
        'swiftpie edit group.jpg "a person in a garden" -o me.png --face me.jpg --recipe face-plus',
    )
)
@options.with_fields
def edit(
    *,
    image: Picture,
    prompt: options.Prompt,
    output: options.Edited,
    sampling: options.Seeds,
    request: Request,
    subject: NewSubject = None,
    source: FaceOf,
    recogniser: Recogniser,
    preview_mask: PreviewMask = False,
    cutouts: options.Cutouts = None,
    box: options.BoxText = None,
    scales: EditScales,
    settings: Annotated[EditSettings, options.FieldOptions(EditSettings)],
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADED)],
) -> None:
    """Change a picture so that it fits PROMPT; a mask, a box or a keyword limits the change."""
    preset = preset_for(loading, use=Use.FACE if source.face else Use.EDIT)
    settings = replace(settings, scales=Scales(**scales))
    where = read_where(request.pop("where", None), mask=request.get("mask"), box=box)
    place = read_place(request.pop("mask", None), box)
    words = {name: request.get(name, "") for name in ("source_prompt", "keyword")}
    picture, seeds = read_picture(image), sampling.seeds
    options.check_prompt(words["source_prompt"])
    prompts = read_prompts(prompt)
    for text in prompts:
        check_texts(prompt=text, **words)
    targets = plan_targets(output, count=len(seeds) * len(prompts))
    shown = with_cutouts([read_source(subject)] if subject else [], cutouts)
    person = _read_person(source, recogniser, loading, subjects=subject)
    if person is not None:
        person.agreed.fetch()
    session, load_ms = open_session(**loading)
    if person is not None:
        warn_of_strange_vectors(session, person.encoder)
        shown = [session.encode_face(person.chosen)]
        session = session.with_face_encoder(person.encoder)  # finds the face that changes
    edited = EditRequest(
        image=picture,
        prompt=prompts[0],
        seed=seeds[0],
        **request,
        mask=place,
        where=where,
        source=next(iter(shown), None),
        settings=settings,
        takes_named=True,
    )
    first = opened(edited)  # once for all pictures
    jobs = [
        EditJob(replace(first, prompt=text, seed=seed), picture, target, strip, force=output.force)
        for text, own in console.shared_out(prompts, targets)
        for seed, (target, strip) in zip(seeds, own, strict=True)
    ]
    if preview_mask:
        for job in jobs:
            preview(session, job)
        return
    _check_seeds(session, jobs, sampling)
    rows, timings = [], Counter[str]()
    for job in jobs:
        result = carry_out(session, job)
        console.report_written(job.target, result.seed)
        files = {"path": job.target.picture, "region": job.target.mask, "strip": job.strip}
        texts = {"prompt": job.request.prompt, **named_facts(result.named)}
        rows.append({**files, "seed": result.seed, **texts})
        timings.update(result.timings_ms)
    warn_of_losses(picture, jobs[0].target)
    if person is not None:
        console.say(CONSENT)
    if output.as_json:
        said = {"prompt": prompt, **request, **words}
        facts = console.request_facts(preset.name, result.scales, result.image, **said)
        facts["branches"] = list(result.branches)
        facts["cutouts"] = cutout_facts(result.cutouts)
        console.print_pictures(rows, timings, load_ms=round(load_ms, 1), **facts)


def carry_out(session: "Session", job: EditJob) -> "EditResult":
    """Edit the picture and write the files of `job`."""
    request = job.request
    result = session.draw(request)
    origin = origin_of_result(session.components.preset, request, result)
    write_result(*(result, job.picture, job.target, job.strip), metadata=origin, force=job.force)
    return result


def _read_person(
    source: FaceSource, settings: FaceSettings, loading: LoadOptions, *, subjects: list[str] | None
) -> Person | None:
    """Return the person of --face, found before anything is loaded; None without one."""
    if not source.face:
        if source.face_number is not None:
            raise ConfigError(
                f"--face-number {source.face_number} came without --face, the photograph that it "
                "is about. Add --face, or leave it out."
            )
        return None
    if subjects:
        raise ConfigError(
            "--face and --subject exclude each other: an edit draws one new subject. Leave one out."
        )
    settings, agreed = with_face_files(settings, loading)
    encoder = settings.open()
    return Person(choose_in(encoder, source), encoder, agreed)


def preview(session: "Session", job: EditJob) -> None:
    """Write the region that the edit of `job` may change, and nothing else."""
    from swiftpie.pipelines.draw import find_region

    request = job.request
    region = find_region(session.components, session.resolved(request))
    target = job.target._replace(mask=None)
    console.write_outputs([(region, region, request.seed, target)], metadata={}, force=job.force)
    console.report_written(target, request.seed)


def write_result(
    result: "EditResult",
    picture: str | bytes,
    target: console.Target,
    strip: Path | None,
    *,
    metadata: Mapping[str, str],
    force: bool,
) -> None:
    """Write an edited picture; pixels outside the change keep the bits of the original file."""
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.images import contact_sheet
    from swiftpie.imageio.originals import composite, read_original
    from swiftpie.imageio.writing import save_image

    finished = composite(read_original(picture), result.edited, result.blend)
    drawn = [(finished, result.region, result.seed, target)]
    console.write_outputs(drawn, metadata=metadata, force=force)
    if strip is not None:
        row = [load_image(picture), result.region, result.image]
        sheet = contact_sheet([row], cell_px=STRIP_CELL_PX, captions=STRIP_CAPTIONS)
        save_image(sheet, strip, metadata=metadata, force=force)


def warn_of_losses(picture: str | bytes, target: console.Target) -> None:
    """Report what the edited file does not keep of the original."""
    from swiftpie.imageio.originals import losses_in, read_original
    from swiftpie.imageio.writing import DEEP_FORMATS, format_of

    suffix = ".png" if target.picture is None else target.picture.suffix
    if losses := losses_in(read_original(picture), suffix):
        console.say(f"The edited picture does not keep {', '.join(losses)}.")
    if format_of(suffix) not in DEEP_FORMATS:
        console.say(
            f"{format_of(suffix)} compresses all pixels again, so those outside the region "
            "change a little. Give a name in .png or .tif to keep them bit for bit."
        )


def read_where(subject: str | None, *, mask: str | None, box: str | None) -> "Source | None":
    """Return what shows a subject that is looked for; None without one."""
    if subject is None:
        return None
    if mask is not None or box is not None:
        raise ConfigError(
            f"--where and {'--mask' if box is None else '--box'} exclude each other: both say what "
            "changes. Leave one out."
        )
    return read_source([subject])


def read_place(mask: str | None, box: str | None) -> "Path | Box | None":
    """Return the file or the box of the change; None without one."""
    from swiftpie.imageio.decoding import open_image
    from swiftpie.masks import parse_box

    if mask is not None and box is not None:
        raise ConfigError(
            "--mask and --box exclude each other. Draw the box into the mask, or leave one out."
        )
    if mask is not None:
        open_image(mask)  # reports a mistake before a model is loaded
        return Path(mask)
    return None if box is None else parse_box(box)


def _check_seeds(session: "Session", jobs: list[EditJob], sampling: options.SeedOptions) -> None:
    from PIL import Image

    from swiftpie.pipelines.advice import equal_pictures
    from swiftpie.pipelines.draw import follows_seed

    request = jobs[0].request
    has_mask = request.mask is not None or getattr(request.source, "is_face", False)
    blank = Image.new("RGB", (1, 1))
    requests = (
        replace(job.request, image=blank, mask=(0, 0, 1, 1) if has_mask else None, where=None)
        for job in jobs
    )
    if all(follows_seed(session.components, session.resolved(each)) for each in requests):
        return
    if sampling.num_images > 1:
        console.warn(equal_pictures(sampling.num_images))
    elif sampling.seed is not None:
        console.warn("--seed has no effect: nothing of this edit is random.")


def plan_targets(
    output: options.EditOutput, *, count: int
) -> "list[tuple[console.Target, Path | None]]":
    """Name the files of `count` pictures, each with its strip; see `console.plan_outputs`."""
    from swiftpie.imageio.writing import check_image_target

    region, strip = output.save_region, output.strip
    targets = console.plan_outputs(output, count=count, masks=region, flag="--save-region")
    strips = [None] * count if strip is None else console.numbered(strip, count)
    if strip is not None:
        out = None if output.out == options.STREAM else Path(output.out)
        console.check_apart("--strip", strip, {"--out": out, "--save-region": region})
    for path in strips:
        if path is not None:
            check_image_target(path, force=output.force)
    return list(zip(targets, strips, strict=True))
