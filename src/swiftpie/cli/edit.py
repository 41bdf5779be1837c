"""`swiftpie edit`, `insert`, `remove` and `replace`: change pictures by words, or by subjects."""

from dataclasses import replace as with_changes
from typing import TYPE_CHECKING, Annotated, Any

import typer
from PIL import Image

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Use
from swiftpie.cli import console, options
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.cli.subjects import (
    FaceOf,
    Recogniser,
    open_with,
    read_person,
    read_picture,
    read_source,
    with_cutouts,
)
from swiftpie.cli.writing import FileDrawing, draw_files, plan_targets
from swiftpie.config import options_of
from swiftpie.faces import CONSENT
from swiftpie.pipelines.tasks import TASKS, EditRequest, change_of, for_seeds, with_files_opened
from swiftpie.validation import check_stored

if TYPE_CHECKING:
    from swiftpie.engine.session import Session

LOADED = tuple(name for name in options.DRAWING if name != "steps")
EDITING = (*LOADED, "inversion")

Loading = Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADED)]
Picture = Annotated[str, options.argument("The picture to edit; - reads standard input.", "IMAGE")]
Photo = Annotated[str, options.argument("The photograph; - reads standard input.", "PHOTO")]
NewSubject = Annotated[
    list[str] | None,
    typer.Option(
        "--subject",
        metavar="PICTURE",
        help="Subject whose look the change takes; repeat for more views of it. By default that "
        "of PHOTO.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        'swiftpie edit cat.jpg "a dog on a sofa" -o dog.png --source-prompt "a cat on a sofa" '
        "--recipe swiftedit",
        'swiftpie edit garden.jpg "at sunset in autumn" -o sunset.png',
        'swiftpie edit cat.jpg "wearing a red hat" -o hat.png --recipe klein',
        'swiftpie edit room.jpg "a mug on a table" -o mug.png --box 0.4,0.5,0.7,0.9 '
        "--subject mug.png --recipe sd-turbo",
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
    words: Annotated[
        dict[str, Any], options.FieldOptions(TASKS["edit"], without=("prompt", "seed"))
    ],
    subject: NewSubject = None,
    source: FaceOf,
    recogniser: Recogniser,
    cutouts: options.Cutouts = None,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, EDITING)],
) -> None:
    """Change a picture so that it fits PROMPT; a mask, a box or a keyword limits the change."""
    preset_for(loading, use=Use.FACE if source.face else Use.EDIT)
    words["prompt"] = prompt
    drawings = _drawings("edit", image, words, output, sampling, (subject, cutouts))
    person = read_person(source, recogniser, loading, others=subject, flag="--subject")
    loaded, identity = open_with(person, loading)
    if identity is not None:
        own: Any = {"source": identity}
        drawings = [each._replace(request=with_changes(each.request, **own)) for each in drawings]
    _check_seeds(loaded.session, drawings, sampling)
    known = options_of(EditRequest, without=("mask",))
    said: dict[str, Any] = {name: value for name, value in words.items() if name in known}
    draw_files(loaded, drawings, output, **{"source_prompt": "", "keyword": "", **said})
    if person is not None:
        console.say(CONSENT)


@app.command(
    epilog=console.examples(
        "swiftpie insert dog.jpg meadow.jpg -o out.png",
        "swiftpie insert dog.jpg meadow.jpg -o out.png --box 0.55,0.5,0.85,0.9 --view 30,0",
        'swiftpie insert mug.jpg desk.tif -o out.tif --cutout mask.png --prompt "a mug"',
    )
)
@options.with_fields
def insert(
    *,
    subject: options.OneSubject,
    photo: Photo,
    output: options.Edited,
    words: Annotated[dict[str, Any], options.FieldOptions(TASKS["insert"], without=("seed",))],
    cutouts: options.Cutouts = None,
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Put SUBJECT into PHOTO, in its light and at its size, on the ground if there is no --box."""
    drawings = _drawings("insert", photo, words, output, sampling, ([subject], cutouts))
    _carry_out(drawings, output, loading)


@app.command(
    epilog=console.examples(
        "swiftpie remove photo.jpg --mask what.png -o out.png",
        "swiftpie remove photo.jpg --point 0.2,0.65 -o out.png --save-region where.png",
        "swiftpie remove photo.jpg --box 0.1,0.4,0.5,0.9 -o out.png",
    )
)
@options.with_fields
def remove(
    *,
    photo: Photo,
    output: options.Edited,
    words: Annotated[dict[str, Any], options.FieldOptions(TASKS["remove"], without=("seed",))],
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Remove from PHOTO what a mask or a box covers, or the thing at a point."""
    drawings = _drawings("remove", photo, words, output, sampling)
    _carry_out(drawings, output, loading)


@app.command(
    epilog=console.examples(
        "swiftpie replace dog.jpg photo.jpg --mask cat.png -o out.png",
        "swiftpie replace mug.spid desk.jpg --box 0.4,0.5,0.6,0.8 -o out.png",
        "swiftpie replace shirt.png me.jpg --mask old.png --keep-pose --recipe sdxl-turbo -o a.png",
    )
)
@options.with_fields
def replace(
    *,
    subject: options.OneSubject,
    photo: Photo,
    output: options.Edited,
    words: Annotated[dict[str, Any], options.FieldOptions(TASKS["replace"], without=("seed",))],
    cutouts: options.Cutouts = None,
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Replace what a mask or a box covers, or the thing at a point, by SUBJECT."""
    drawings = _drawings("replace", photo, words, output, sampling, ([subject], cutouts))
    _carry_out(drawings, output, loading)


def _drawings(
    task: str,
    photo: str,
    words: dict[str, Any],
    output: options.EditOutput,
    sampling: options.SeedOptions,
    subject: tuple[list[str] | None, list[str] | None] = (None, None),  # pictures, their cutouts
) -> list[FileDrawing]:
    """Return a change for each seed; all files are read here, so that mistakes show at once."""
    stored = {name: words.get(name, "") for name in ("prompt", "source_prompt", "keyword")}
    for prompt in (stored["prompt"], stored["source_prompt"]):
        options.check_prompt(prompt)
    check_stored(**stored)
    picture, (shown, cutouts) = read_picture(photo), subject
    sources = with_cutouts([read_source(shown)] if shown else [], cutouts)
    common: dict[str, Any] = {"image": picture, "seed": 0, "file": read_picture}
    change = change_of(TASKS[task], words, source=next(iter(sources), None), **common)
    targets = plan_targets(output, count=len(sampling.seeds))
    pairs = zip(for_seeds(with_files_opened(change), sampling.seeds), targets, strict=True)
    return [FileDrawing(request, [target], picture) for request, target in pairs]


def _carry_out(
    drawings: list[FileDrawing], output: options.EditOutput, loading: LoadOptions
) -> None:
    preset_for(loading)
    draw_files(open_session(**loading), drawings, output, prompt=drawings[0].request.prompt)


def _check_seeds(
    session: "Session", drawings: list[FileDrawing], sampling: options.SeedOptions
) -> None:
    from swiftpie.pipelines.tasks import equal_pictures

    requests: list[Any] = [each.request for each in drawings]
    first, blank = requests[0], Image.new("RGB", (1, 1))
    has_mask = first.mask is not None or getattr(first.source, "is_face", False)
    mask = (0, 0, 1, 1) if has_mask else None
    checked = (with_changes(each, image=blank, mask=mask) for each in requests)
    if all(session.choose(each).follows_seed for each in checked):
        return
    if sampling.num_images > 1:
        console.warn(equal_pictures(sampling.num_images))
    elif sampling.seed is not None:
        console.warn("--seed has no effect: nothing of this edit is random.")
