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
    from swiftpie.pipelines.tasks import RetouchRequest

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
    options.check_prompt(words.get("source_prompt", ""))
    seeds, picture = sampling.seeds, read_picture(image)
    texts = {name: words.get(name, "") for name in ("source_prompt", "keyword")}
    check_stored(prompt=prompt, **texts)
    targets = plan_targets(output, count=len(seeds))
    shown = with_cutouts([read_source(subject)] if subject else [], cutouts)
    # All files are checked here, so that mistakes show at once.
    common: dict[str, Any] = {"image": picture, "seed": 0, "file": read_picture}
    wanted = {**words, "prompt": prompt}
    request = change_of(TASKS["edit"], wanted, source=next(iter(shown), None), **common)
    person = read_person(source, recogniser, loading, others=subject, flag="--subject")
    loaded, identity = open_with(person, loading)
    if identity is not None:
        request = with_changes(request, source=identity)
    first = with_files_opened(request)  # once for all pictures
    requests = [*for_seeds(first, seeds)]
    _check_seeds(loaded.session, requests, sampling)
    drawings = [
        FileDrawing(each, [target], picture) for each, target in zip(requests, targets, strict=True)
    ]
    known = options_of(EditRequest, without=("mask",))
    given = {name: value for name, value in words.items() if name in known}
    draw_files(loaded, drawings, output, **{"prompt": prompt, **given, **texts})
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
    _carry_out("insert", photo, words, output, sampling, loading, (subject, cutouts))


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
    _carry_out("remove", photo, words, output, sampling, loading)


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
    _carry_out("replace", photo, words, output, sampling, loading, (subject, cutouts))


def _carry_out(
    task: str,
    photo: str,
    words: dict[str, Any],
    output: options.EditOutput,
    sampling: options.SeedOptions,
    loading: LoadOptions,
    subject: tuple[str, list[str] | None] | None = None,  # its picture, and how it is cut out
) -> None:
    """Draw the change once for each seed and write every file."""
    options.check_prompt(words.get("prompt", ""))
    check_stored(prompt=words.get("prompt", ""))
    seeds, picture = sampling.seeds, read_picture(photo)
    sources = [] if subject is None else with_cutouts([read_source([subject[0]])], subject[1])
    common: dict[str, Any] = {"image": picture, "seed": 0, "file": read_picture}
    change = change_of(TASKS[task], words, source=next(iter(sources), None), **common)
    preset_for(loading)
    targets = plan_targets(output, count=len(seeds))
    loaded, first = open_session(**loading), with_files_opened(change)
    drawings = [
        FileDrawing(each, [target], picture)
        for each, target in zip(for_seeds(first, seeds), targets, strict=True)
    ]
    draw_files(loaded, drawings, output, prompt=first.prompt)


def _check_seeds(
    session: "Session",
    requests: "list[EditRequest | RetouchRequest]",
    sampling: options.SeedOptions,
) -> None:
    from swiftpie.pipelines.tasks import equal_pictures

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
