"""`swiftpie personalize`: draw a subject from its pictures into new scenes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.attention.layer_scales import read_form
from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Preset, check_personalizes
from swiftpie.batch.lists import read_prompts
from swiftpie.cli import console, options
from swiftpie.cli.drawing.subjects import (
    cutout_facts,
    named_facts,
    read_picture,
    read_source,
    with_cutouts,
)
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.engine.origin import check_texts, origin_of_result
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.library import Named
from swiftpie.pipelines.request import PersonalizeRequest, Subject, read_scene, region_at
from swiftpie.pipelines.settings import MaskSource, Scales
from swiftpie.validation import parse_box, parse_size

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.pipelines.request import Source, View
    from swiftpie.validation import Box

ByName = Mapping[str, "tuple[Named, ...]"]
"""Subjects of the library that each prompt names."""
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SUBJECT[:MASK]",
        help="Another subject in the same picture; may be repeated. Each takes the next --box.",
        show_default=False,
    ),
]
Request = Annotated[
    dict[str, Any], options.FieldOptions(PersonalizeRequest, without=("prompt", "seeds"))
]
SaveSubjectMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write where the subject was drawn.")
]
MASKS = ("mask", "detail_mask")

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
        'swiftpie personalize "a lighthouse at night" -o out.png --recipe sana-sprint',
        'swiftpie personalize dog.jpg "a dog at sea" -o out.png --style-reference painting.png',
    )
)
@options.with_fields
def personalize(
    *,
    subjects: options.Subjects = [],  # noqa: B006 - Typer makes a new list for each call
    prompt: options.Prompt,
    output: options.Output,
    sampling: options.Seeds,
    scales: options.ScaleChanges,
    also: Also = None,
    cutouts: options.Cutouts = None,
    request: Request,
    boxes: options.BoxTexts = None,
    views: options.ViewTexts = None,
    layers: options.LayerTexts = None,
    save_subject_mask: SaveSubjectMask = None,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)],
) -> None:
    """Draw the subject into the scene that PROMPT describes.

    Subjects that PROMPT names and no picture shows come from the library; see `swiftpie library`.

    Transparency marks the subject in its picture; without it, a network finds the subject.
    A doubtful cut-out raises a warning.

    If the cut-out is wrong, mark the subject with --cutout, or give PICTURE:MASK.
    """
    # Check everything before anything is loaded.
    seeds = sampling.seeds
    size, scene = request.pop("size_px", None), read_scene(request.pop("scene", ""))
    masks = {name: region_at(request[name]) for name in MASKS if name in request}
    request |= masks | _opened(request.get("style_reference"))
    prompts = read_prompts(prompt)
    for words in prompts:
        check_texts(prompt=words)
    count = len(seeds) * len(prompts)
    targets = console.plan_outputs(
        output, count=count, masks=save_subject_mask, flag="--save-subject-mask"
    )
    known = preset_for(loading)
    strengths = Scales(**scales)
    _check_mask(save_subject_mask, known)
    everyone = [read_source(subjects)] if subjects else []
    everyone += [read_source([text]) for text in also or []]
    if everyone:
        check_personalizes(known)
    named = named_in(prompts, everyone, known)
    most = len(everyone) + max(map(len, named.values()))
    places = parse_boxes(boxes or [], most, is_needed=MaskSource.BOX in masks.values())
    read_by = _layers_of(layers or [], most)
    everyone = with_cutouts(everyone, cutouts)
    placed = list(zip(places, parse_views(views or [], most), read_by, strict=True))
    size_px = None if size is None else parse_size(size)
    request |= {"size_px": size_px, "scene": scene, "scales": strengths, "seeds": seeds}
    requests = {
        words: PersonalizeRequest(
            subjects=placed_subjects([*everyone, *named[words]], placed),
            prompt=words,
            takes_named=True,
            **request,
        )
        for words in prompts
    }
    for mask in masks.values():
        if isinstance(mask, Path):
            read_picture(str(mask))
    session, load_ms = open_session(**loading)
    preset = session.components.preset

    rows, timings = [], Counter[str]()
    for words, own in console.shared_out(prompts, targets):
        result = session.draw(requests[words])
        origin = origin_of_result(preset, requests[words], result)
        drawn = zip(result.images, result.subject_masks, result.seeds, own, strict=True)
        console.write_outputs(drawn, metadata=origin, force=output.force)
        for target, seed in zip(own, result.seeds, strict=True):
            console.report_written(target, seed)
            files = {"path": target.picture, "subject_mask": target.mask}
            texts = {"prompt": words, **named_facts(result.named)}
            rows.append({**files, "seed": seed, **texts})
        timings.update(result.timings_ms)
    if output.as_json:
        facts = console.request_facts(preset.name, result.scales, result.images[0], prompt=prompt)
        facts["engine"] = str(loading.get("engine") or "torch")
        facts |= result.origin
        facts["branches"] = list(result.branches)
        facts["cutouts"] = cutout_facts(result.cutouts)
        console.print_pictures(rows, timings, load_ms=round(load_ms, 1), **facts)


def named_in(prompts: list[str], everyone: "list[Source]", preset: Preset) -> "ByName":
    """Return the subjects of the library that each prompt names besides the given ones."""
    from swiftpie.backbones.components import FAMILIES

    family = FAMILIES.get(preset.family)
    names = [source.word if isinstance(source, Named) else "" for source in everyone]
    return {words: family.named_besides(words, preset, given=names) for words in prompts}


def placed_subjects(
    sources: "list[Source]", places: "list[tuple[Box | None, View | None, str]]"
) -> "tuple[Subject, ...]":
    """Return the subjects of a picture, each as `places` says in order."""
    return tuple(
        Subject(
            *(source, box, view),
            name=source.word if isinstance(source, Named) else "",
            layers=layers,
        )
        for source, (box, view, layers) in zip(sources, places, strict=False)
    )  # other prompts name fewer


def _check_mask(target: Path | None, preset: Preset) -> None:
    if target is not None and not preset.places_subjects:
        raise CapabilityError(
            f"--save-subject-mask was given, and preset {preset.name!r} does not report where it "
            "draws a subject. Leave it out, or choose a preset that can 'layout' (see `swiftpie "
            "presets`)."
        )


def parse_boxes(boxes: list[str], count: int, *, is_needed: bool = False) -> "list[Box | None]":
    """Return the boxes of `count` subjects, None without one."""
    if is_needed and not boxes:
        raise ConfigError(
            "--mask box came without --box. The box is the region. "
            "Add one, as in --box 0.2,0.4,0.8,0.9."
        )
    if len(boxes) > count or (is_needed and len(boxes) < count):
        raise ConfigError(
            f"{len(boxes)} boxes came with {count} subjects. Each subject takes one --box at most, "
            "and --mask box needs one for each. Write them as in --box 0.2,0.4,0.8,0.9."
        )
    return [parse_box(box) for box in boxes] + [None] * (count - len(boxes))


def parse_views(views: list[str], count: int) -> "list[View | None]":
    """Return the views of `count` subjects, None without one."""
    from swiftpie.pipelines.request import check_view

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


def _opened(style: str | None) -> "dict[str, Image.Image]":
    """Return the picture of a style, if there is one, as the request takes it."""
    from swiftpie.imageio.decoding import load_image

    return {} if style is None else {"style_reference": load_image(read_picture(style))}


def _layers_of(layers: list[str], count: int) -> list[str]:
    if len(layers) > count:
        raise ConfigError(
            f"{len(layers)} --layers came with {count} subjects. Each takes one at most."
        )
    for form in layers:
        read_form(form)
    return [*layers, *[""] * (count - len(layers))]
