"""`swiftpie insert`, `remove` and `replace`: put subjects into photographs, or take them out."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli import console, options
from swiftpie.cli.drawing.edit import read_place
from swiftpie.cli.drawing.personalize import parse_view
from swiftpie.cli.drawing.subjects import read_picture, read_source, with_cutouts
from swiftpie.cli.drawing.writing import Drawing, draw_files, plan_targets
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.engine.origin import check_texts
from swiftpie.errors import ConfigError, check_exclusive
from swiftpie.pipelines.request import RepaintRequest, opened, with_seed

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from swiftpie.masks import Box
    from swiftpie.pipelines.request import Source

LOADED = tuple(name for name in options.DRAWING if name != "steps")


Loading = Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADED)]
Photo = Annotated[str, options.argument("The photograph; - reads standard input.", "PHOTO")]
PLACED = ("seed", "mask")
Words = Annotated[dict[str, Any], options.FieldOptions(RepaintRequest, without=PLACED)]
NewWords = Annotated[  # of what comes into a place of its own
    dict[str, Any], options.FieldOptions(RepaintRequest, without=(*PLACED, "keep_pose"))
]
MaskFile = Annotated[str | None, options.option_of(RepaintRequest, "mask")]
PointTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--point",
        metavar="X,Y",
        help="A point on the thing to remove; its outline and shadow are found, inside --box if "
        "you give one. Repeat for more points; not:X,Y marks what stays. A --box alone is removed "
        "as a whole.",
        show_default=False,
    ),
]
app = typer.Typer()


Fields = dict[str, Any]
"""Fields of a `RepaintRequest`; a mask is still the name of its file."""


@app.command(
    epilog=console.examples(
        "swiftpie insert dog.jpg meadow.jpg -o out.png",
        "swiftpie insert cat meadow.jpg -o out.png",
        "swiftpie insert dog.jpg meadow.jpg -o out.png --box 0.55,0.5,0.85,0.9 --view 30,0",
        'swiftpie insert mug.jpg:mask.png desk.tif -o out.tif --prompt "a photo of a mug"',
    )
)
@options.with_fields
def insert(
    *,
    subject: options.OneSubject,
    photo: Photo,
    output: options.Edited,
    words: NewWords,
    cutouts: options.Cutouts = None,
    box: options.BoxText = None,
    view: options.ViewText = None,
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Put SUBJECT into PHOTO, in its light and at its size, on the ground if there is no --box."""
    from swiftpie.masks import parse_box

    turned = None if view is None else parse_view(view)
    place = {"box": None if box is None else parse_box(box), "view": turned}
    picture, source = read_picture(photo), _read_subject(subject, cutouts)
    _carry_out(picture, {"source": source, **words, **place}, output, sampling, loading)


@app.command(
    epilog=console.examples(
        "swiftpie remove photo.jpg --mask what.png -o out.png",
        "swiftpie remove photo.jpg --point 0.2,0.65 -o out.png --strip strip.png",
    )
)
@options.with_fields
def remove(
    *,
    photo: Photo,
    output: options.Edited,
    mask: MaskFile = None,
    box: options.BoxText = None,
    points: PointTexts = None,
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Remove from PHOTO what a mask or a box covers, or the thing at a point."""
    picture = read_picture(photo)
    _carry_out(picture, _what_goes(picture, mask, box, points), output, sampling, loading)


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
    words: Words,
    cutouts: options.Cutouts = None,
    mask: MaskFile = None,
    box: options.BoxText = None,
    points: PointTexts = None,
    sampling: options.Seeds,
    loading: Loading,
) -> None:
    """Replace what a mask or a box covers, or the thing at a point, by SUBJECT."""
    picture = read_picture(photo)
    finds_by_words = bool(words.get("keep_pose") and words.get("prompt"))
    gone = _what_goes(picture, mask, box, points, is_needed=not finds_by_words)
    comes = {"source": _read_subject(subject, cutouts)}
    _carry_out(picture, {**comes, **words, **gone}, output, sampling, loading)


def _read_subject(subject: str, cutouts: list[str] | None) -> "Source":
    (source,) = with_cutouts([read_source([subject])], cutouts)
    return source


def _what_goes(
    photo: str | bytes,
    mask: str | None,
    box: str | None,
    points: list[str] | None,
    *,
    is_needed: bool = True,
) -> Fields:
    """Return what to remove: by a file, a box, a search or a hole."""
    from swiftpie.imageio.decoding import load_image
    from swiftpie.masks import hole_of
    from swiftpie.models.cutout import search_at

    for other in ({"--box": box}, {"--point": points}):
        check_exclusive({"--mask": mask, **other})
    gone: Path | Box | Tensor | None = read_place(mask, box)
    if points:
        return {"mask": search_at(points, box=box)}
    if gone is None and not is_needed:
        return {}
    if gone is None:
        gone = hole_of(load_image(photo))
    if gone is None:
        raise ConfigError(
            "Nothing marks what to remove, and the picture has no hole. A mask, a box or a "
            "point is needed. Write --mask FILE, transparent or white where it is, --box "
            "0.1,0.5,0.3,0.8 or --point 0.2,0.65."
        )
    return {"mask": gone}


def _carry_out(
    photo: str | bytes,
    change: Fields,
    output: options.EditOutput,
    sampling: options.SeedOptions,
    loading: LoadOptions,
) -> None:
    """Draw the change once for each seed and write every file."""
    prompt = change.get("prompt", "")
    options.check_prompt(prompt)
    check_texts(prompt=prompt)
    seeds = sampling.seeds
    preset_for(loading)
    targets = plan_targets(output, count=len(seeds))
    loaded = open_session(**loading)
    takes_named = "source" in change  # so that a name of the library is logged
    request = opened(RepaintRequest(image=photo, seed=seeds[0], takes_named=takes_named, **change))
    drawings = [
        Drawing(with_seed(request, seed), [target], photo)
        for seed, target in zip(seeds, targets, strict=True)
    ]
    draw_files(loaded, drawings, output, prompt=prompt)
