"""`swiftpie personalize`: pictures of a subject and a sentence to new pictures."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from swiftpie.apps.cli import console
from swiftpie.apps.cli import options as given
from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.preset import Capability, Preset
from swiftpie.engine.origin import check_texts, origin_of_drawing
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.pipelines.drawing.settings import MaskSource, Scales
from swiftpie.pipelines.naming import log_library_subjects, new_subjects, vocabulary_of
from swiftpie.validation import Size, parse_box, parse_size

if TYPE_CHECKING:
    from torch import Tensor

    from swiftpie.engine.session import Session
    from swiftpie.library import Named
    from swiftpie.pipelines.drawing.request import View
    from swiftpie.types import GenerationResult
    from swiftpie.validation import Box

ByName = Mapping[str, "tuple[Named, ...]"]
"""Those of the library whom each prompt names."""
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SUBJECT[:MASK]",
        help="Another subject in the same picture; repeat for more. Each takes the next --box.",
        show_default=False,
    ),
]
MaskName = Annotated[
    str, typer.Option(metavar="none|inline|two-pass|box|FILE", help=given.MASK_HELP)
]
DetailMaskName = Annotated[
    str | None, typer.Option(metavar="none|inline|two-pass|box|FILE", help=given.DETAIL_MASK_HELP)
]
BoxTexts = Annotated[
    list[str] | None,
    typer.Option("--box", metavar="L,T,R,B", help=given.BOX_HELP, show_default=False),
]
ViewTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--view",
        metavar="YAW,PITCH",
        help="Degrees by which the subject is turned to the right and seen from above; "
        "may be repeated, one a subject.",
        show_default=False,
    ),
]
SizeText = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Width and height in pixels; else the preset's."),
]
SaveSubjectMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write where the subject was drawn.")
]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        'swiftpie personalize dog.jpg "a dog on a beach" -o out.png',
        'swiftpie personalize "a kitten on a beach" -o out.png',
        'swiftpie personalize dog.jpg:mask.png dog2.jpg "a dog in space" -o out.png --seed 7',
        'swiftpie personalize me.spid "a robot at night" --box 0.2,0.4,0.6,0.95 -o out.webp -n 4',
        "swiftpie personalize dog.jpg @prompts.txt -o out.png --seed 7",
        'swiftpie personalize car.png "a car in a desert" --view 35,10 -o turned.png',
        'swiftpie personalize dog.jpg --also cat.jpg "a dog and a cat on a beach" -o out.png '
        "--box 0.05,0.4,0.45,0.9 --box 0.55,0.4,0.95,0.9",
        'swiftpie personalize dog.jpg "a dog at sea" -o out.png --recipe sdxl-turbo',
    )
)
@given.with_fields
def personalize(
    *,
    subjects: given.Subjects = [],  # noqa: B006 - Typer makes a new list for each call
    prompt: given.Prompt,
    output: given.Output,
    seed: given.Seed = None,
    num_images: given.NumImages = 1,
    scales: given.ScaleChanges,
    also: Also = None,
    cutouts: given.Cutouts = None,
    mask: MaskName = "none",
    detail_mask: DetailMaskName = None,
    boxes: BoxTexts = None,
    views: ViewTexts = None,
    size: SizeText = None,
    save_subject_mask: SaveSubjectMask = None,
    loading: Annotated[LoadOptions, given.Fields(LoadOptions, given.DRAWING)],
) -> None:
    """Draw the subject into the scene that PROMPT describes.

    Whom PROMPT names and no picture shows comes from the library, see `swiftpie library`.

    The subject is found by transparency, or else by a network that warns where it is not sure.

    Where it is wrong, say where the subject is with --cutout, or give PICTURE:MASK.
    """
    from swiftpie.validation import seeds_from

    # What can be refused is, before anything is loaded.
    first_seed = seeds_from(seed, num_images)[0]
    prompts = given.read_prompts(prompt)
    for words in prompts:
        check_texts(prompt=words)
    count = num_images * len(prompts)
    targets = console.plan_outputs(
        output, count=count, masks=save_subject_mask, flag="--save-subject-mask"
    )
    loading, known = given.settled(loading)
    replace(Scales.of(known), **scales)
    _check_mask(save_subject_mask, known)
    everyone = [given.read_subjects(subjects)] if subjects else []
    everyone += [given.read_subjects([one]) for one in also or []]
    named = _named_in(prompts, everyone, known)
    most = len(everyone) + max(map(len, named.values()))
    places = _parse_boxes(boxes or [], most, (mask, detail_mask))
    size_px = None if size is None else parse_size(size)
    asks_more = (also, views, size, detail_mask, scales.get("background_scale"))
    way = None
    if mask == "none" and all(one is None for one in asks_more) and _is_light(loading):
        way = _light_way(everyone, named, cutouts, places[0], scales)
    if way is None:
        everyone = given.with_cutouts(everyone, cutouts)
        placed = list(zip(places, parse_views(views or [], most), strict=True))
        way = _usual_way(loading, everyone, named, placed, scales, (mask, detail_mask), size_px)

    rows, timings = [], Counter[str]()
    for words, own in console.shared_out(prompts, targets):
        result = way.draw(words, seed=first_seed, num_images=num_images, scales=way.scales)
        origin = origin_of_drawing(way.preset.name, way.scales, result, prompt=words)
        drawn = zip(result.images, result.subject_masks, result.seeds, own, strict=True)
        console.write_outputs(drawn, metadata=origin, force=output.force)
        for target, one in zip(own, result.seeds, strict=True):
            console.tell_written(target, one)
            files = {"path": target.picture, "subject_mask": target.mask}
            told = {"prompt": words, **given.told_named(result.named)}
            rows.append({**files, "seed": one, **told})
        timings.update(result.timings_ms)
    if output.as_json:
        asked = console.asked_of(way.preset.name, way.scales, result.images[0], prompt=prompt)
        asked["engine"] = way.engine
        asked |= result.origin
        asked["branches"] = list(result.branches)
        asked["cutouts"] = given.list_cutouts(result.cutouts)
        console.print_pictures(rows, timings, load_ms=round(way.load_ms, 1), **asked)


class _Way(NamedTuple):
    """What draws, and with which strengths."""

    draw: Callable[..., "GenerationResult"]  # of a prompt, with seed, num_images and scales
    preset: Preset
    scales: Scales
    load_ms: float
    engine: str


def _is_light(loading: LoadOptions) -> bool:
    """Whether nothing was chosen but what the package draws without PyTorch."""
    from swiftpie.engine.onnx.session import is_light

    chosen = {name: one for name, one in loading.items() if name not in {"preset", "engine", "yes"}}
    return is_light(loading.get("preset"), loading.get("engine") or AUTO, **chosen)


def _named_in(
    prompts: list[str], everyone: list[list[given.SubjectPictures]], preset: Preset
) -> "ByName":
    """Return whom each prompt names besides those who are given, and tell so.

    Raises:
        NobodyNamed: A prompt names nobody, and nobody is given.
    """
    taught = vocabulary_of(preset)
    names = ["" if one[0].named is None else one[0].named.word for one in everyone]
    named = {words: new_subjects(words, taught, given=names).known for words in prompts}
    log_library_subjects(dict.fromkeys(who for one in named.values() for who in one))
    return named


def _light_way(
    everyone: list[list[given.SubjectPictures]],
    named: "ByName",
    cutouts: list[str] | None,
    box: "Box | None",
    changes: Mapping[str, float],
) -> _Way | None:
    """Return how one picture's subject is drawn without PyTorch, or None where that cannot be."""
    from swiftpie.engine.onnx.draw import packaged

    if any(len(everyone) + len(one) != 1 for one in named.values()):
        return None
    if cutouts and (not everyone or everyone[0][0].named):
        return None  # for who is of the library is cut out
    cutout = ("auto", *(cutouts or []))[-1]
    if len(cutouts or []) > 1 or cutout not in {"auto", "none"}:
        return None
    if any(len(one) > 1 or isinstance(one[0].picture, Path) or one[0].mask for one in everyone):
        return None
    started = time.perf_counter()
    model = packaged()
    model.open_soon()
    load_ms = (time.perf_counter() - started) * 1000
    if not everyone:
        shown = {words: model.named(one.word) for words, (one,) in named.items()}
    elif (only := everyone[0][0]).named is not None:
        log_library_subjects([only.named])
        shown = dict.fromkeys(named, model.named(only.named.word))
    else:
        identity = model.encode_identity(cast("Any", only.picture), whole=cutout == "none")
        if identity is None:
            return None
        shown = dict.fromkeys(named, identity)

    def draw(words: str, **asked: Any) -> Any:  # noqa: ANN401 - as of `LightModel`
        return model.personalize(shown[words], words, box=box, **asked)

    scales = replace(Scales.of(model.preset), **changes)
    return _Way(draw, model.preset, scales, load_ms, model.graphs.runtime)


def _usual_way(
    loading: LoadOptions,
    everyone: list[list[given.SubjectPictures]],
    named: "ByName",
    placed: "list[tuple[Box | None, View | None]]",
    changes: Mapping[str, float],
    masks: tuple[str, str | None],
    size_px: Size | None,
) -> _Way:
    """Return how subjects are drawn by a session, where and as seen as `placed` says in order."""
    from swiftpie.pipelines.drawing.request import Subject

    session, load_ms = given.open_session(**loading)
    preset = session.components.preset
    _tell_idle_detail(session, changes)
    drawn_px = size_px or (preset.image_size_px,) * 2
    source, region = _read_mask(masks[0], drawn_px, count=len(placed))
    limited, limit = None, None
    if masks[1] is not None:
        limited, limit = _read_mask(masks[1], drawn_px, count=len(placed), flag="--detail-mask")
    shown = [given.encode_subjects(session, pictures) for pictures in everyone]

    def draw(words: str, **asked: Any) -> "GenerationResult":  # noqa: ANN401 - as of `Session`
        everybody = [*shown, *(session.named(one.word) for one in named[words])]
        subjects = [
            Subject(one, box=box, view=view, mask=region, detail_mask=limit)
            for one, (box, view) in zip(everybody, placed, strict=False)  # others name fewer
        ]
        return session.personalize(
            subjects, words, mask=source, detail_mask=limited, size_px=size_px, **asked
        )

    scales = replace(Scales.of(preset), **changes)
    return _Way(draw, preset, scales, load_ms, engine=str(loading.get("engine") or "torch"))


def _tell_idle_detail(session: "Session", scales: Mapping[str, float]) -> None:
    """Warn of the one strength that `advise` cannot tell from a default of Python's."""
    from swiftpie.pipelines.advice import UNTOUCHED, why_no_detail

    components, asked = session.components, scales.get("detail_scale")
    has_detail = bool(components.denoiser.installation.detail)
    if asked == UNTOUCHED.detail_scale and not has_detail:
        console.warn(f"`detail_scale={asked}` has no effect: {why_no_detail(components)}")


def _check_mask(target: Path | None, preset: Preset) -> None:
    if target is not None and Capability.LAYOUT not in preset.capabilities:
        raise CapabilityError(
            f"--save-subject-mask was given, and preset {preset.name!r} does not tell where it "
            "draws a subject. Leave it out, or choose a preset that can 'layout' (see `swiftpie "
            "presets`)."
        )


def _parse_boxes(boxes: list[str], count: int, masks: tuple[str, str | None]) -> "list[Box | None]":
    if "box" in masks and not boxes:
        raise ConfigError(
            "--mask box came without --box. The box is needed as the region. "
            "Add one, as in --box 0.2,0.4,0.8,0.9."
        )
    if len(boxes) > count or ("box" in masks and len(boxes) < count):
        raise ConfigError(
            f"{len(boxes)} boxes came with {count} subjects. Each subject takes one --box at most, "
            "and --mask box needs one for each. Write them as in --box 0.2,0.4,0.8,0.9."
        )
    return [parse_box(box) for box in boxes] + [None] * (count - len(boxes))


def parse_views(views: list[str], count: int) -> "list[View | None]":
    """Return the views of so many subjects, None where none is said.

    Raises:
        ConfigError: One cannot be read, or there are too many.
        InputError: One is out of range.
    """
    from swiftpie.pipelines.drawing.request import check_view

    if len(views) > count:
        raise ConfigError(
            f"{len(views)} views came with {count} subjects. Each takes one --view at most."
        )
    try:
        pairs = [tuple(map(float, view.split(","))) for view in views]
        found = [(yaw, pitch) for yaw, pitch in pairs]
    except ValueError as error:
        raise ConfigError(
            f"--view is {', '.join(views)!r}. Yaw and pitch in degrees are needed, as in "
            "--view 30,10."
        ) from error
    for view in found:
        check_view(view)
    return [*found, *[None] * (count - len(found))]


def _read_mask(
    mask: str, size: Size, *, count: int, flag: str = "--mask"
) -> "tuple[MaskSource, Tensor | None]":
    from swiftpie.masks import load_mask

    if mask in {source.value for source in MaskSource}:
        return MaskSource(mask), None
    if count > 1:
        raise ConfigError(
            f"{flag} {mask} came with {count} subjects, and one file cannot tell them "
            f"apart. Give each a --box, and {flag} box or inline."
        )
    height, width = size
    return MaskSource.NONE, load_mask(mask, (width, height))
