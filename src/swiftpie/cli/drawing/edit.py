"""`swiftpie edit`: change a picture so that it fits a sentence."""

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
from swiftpie.cli.drawing.subjects import read_picture, read_source, with_cutouts
from swiftpie.cli.drawing.writing import Drawing, draw_files, plan_targets, preview
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.engine.origin import check_texts
from swiftpie.errors import ConfigError, check_exclusive
from swiftpie.faces import CONSENT, FaceSettings, FaceSource
from swiftpie.pipelines.request import EditRequest, opened
from swiftpie.pipelines.settings import EditSettings, Scales

if TYPE_CHECKING:
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.engine.session import Session
    from swiftpie.faces import FaceEncoder
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.masks import Box

LOADED = (
    *(name for name in options.DRAWING if name != "steps"),
    *("inversion", "lora_scale", "face_version"),
)
SCALES = ("identity_scale", "background_scale", "text_scale")

EditScales = Annotated[dict[str, float], options.FieldOptions(Scales, SCALES)]
Picture = Annotated[str, options.argument("The picture to edit; - reads standard input.", "IMAGE")]
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
    preset_for(loading, use=Use.FACE if source.face else Use.EDIT)
    settings = replace(settings, scales=Scales(**scales))
    mask = request.pop("mask", None)
    check_exclusive({"--mask": mask, "--box": box})
    place = read_place(mask, box)
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
    loaded = open_session(**loading)
    if person is not None:
        warn_of_strange_vectors(loaded.session, person.encoder)
        shown = [loaded.session.encode_face(person.chosen)]
        finding = loaded.session.with_face_encoder(person.encoder)  # the face that changes
        loaded = loaded._replace(session=finding)
    edited = EditRequest(
        image=picture,
        prompt=prompts[0],
        seed=seeds[0],
        **request,
        mask=place,
        source=next(iter(shown), None),
        settings=settings,
        takes_named=True,
    )
    first = opened(edited)  # once for all pictures
    requests = [replace(first, prompt=text, seed=seed) for text in prompts for seed in seeds]
    if preview_mask:
        for each, target in zip(requests, targets, strict=True):
            preview(loaded.session, each, target, force=output.force)
        return
    _check_seeds(loaded.session, requests, sampling)
    drawings = [
        Drawing(each, [target], picture) for each, target in zip(requests, targets, strict=True)
    ]
    draw_files(loaded, drawings, output, **{"prompt": prompt, **request, **words})
    if person is not None:
        console.say(CONSENT)


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
    check_exclusive({"--face": source.face, "--subject": subjects})
    settings, agreed = with_face_files(settings, loading)
    encoder = settings.open()
    return Person(choose_in(encoder, source), encoder, agreed)


def read_place(mask: str | None, box: str | None) -> "Path | Box | None":
    """Return the file or the box of the change; None without one."""
    from swiftpie.imageio.decoding import open_image
    from swiftpie.masks import parse_box

    if mask is not None:
        open_image(mask)  # reports a mistake before a model is loaded
        return Path(mask)
    return None if box is None else parse_box(box)


def _check_seeds(
    session: "Session", requests: list[EditRequest], sampling: options.SeedOptions
) -> None:
    from PIL import Image

    from swiftpie.pipelines.advice import equal_pictures
    from swiftpie.pipelines.draw import follows_seed

    first, blank = requests[0], Image.new("RGB", (1, 1))
    has_mask = first.mask is not None or getattr(first.source, "is_face", False)
    mask = (0, 0, 1, 1) if has_mask else None
    checked = (replace(each, image=blank, mask=mask) for each in requests)
    if all(follows_seed(session.components, session.resolved(each)) for each in checked):
        return
    if sampling.num_images > 1:
        console.warn(equal_pictures(sampling.num_images))
    elif sampling.seed is not None:
        console.warn("--seed has no effect: nothing of this edit is random.")
