"""`swiftpie animate`: a subject in motion, or a place from morning to night."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli import console, options
from swiftpie.cli.drawing.personalize import (
    Also,
    named_in,
    parse_boxes,
    parse_views,
    placed_subjects,
)
from swiftpie.cli.drawing.subjects import cutout_facts, named_facts, read_source, with_cutouts
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.config import Option
from swiftpie.engine.origin import check_texts, origin_of_result
from swiftpie.pipelines.animation import USUAL_FPS, AnimateRequest
from swiftpie.pipelines.request import read_scene
from swiftpie.pipelines.settings import Scales
from swiftpie.validation import parse_size, seeds_from


@dataclass(frozen=True)
class AnimationOutput(options.OutputOptions):
    """Where an animation goes, and how fast it plays."""

    out: Annotated[
        str,
        Option(
            "File to write (.webp, .gif, .mp4), or a new folder for the frames as PNG.",
            "FILE|FOLDER",
            ("-o", "--out"),
        ),
    ]
    fps: Annotated[float, Option("Frames a second.", least=1, most=50)] = USUAL_FPS


Request = Annotated[
    dict[str, Any],
    options.FieldOptions(AnimateRequest, ("size_px", "scene", "flip", "tilt", "num_frames")),
]
To = Annotated[list[str] | None, options.repeated(AnimateRequest, "to")]
ToBoxes = Annotated[list[str] | None, options.repeated(AnimateRequest, "to_boxes")]
ToViews = Annotated[list[str] | None, options.repeated(AnimateRequest, "to_views")]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        'swiftpie animate dog.jpg "a dog on a beach at dawn" --to "a dog on a beach by day" '
        '--to "a dog on a beach at night" -o day.webp',
        'swiftpie animate dog.jpg "a dog in a park" --to "a dog in a park in falling snow" '
        '--to "a dog in a park" -o snow.gif --num-frames 24',
        'swiftpie animate dog.jpg "a dog on a beach" --box 0.05,0.5,0.35,0.95 '
        "--to-box 0.6,0.4,0.95,0.95 -o walk.mp4",
        'swiftpie animate car.png "a car in a desert" --to-view 45,10 -o frames',
    )
)
@options.with_fields
def animate(
    *,
    subjects: options.Subjects = [],  # noqa: B006 - Typer makes a new list for each call
    prompt: options.Prompt,
    output: Annotated[AnimationOutput, options.FieldOptions(AnimationOutput)],
    seed: options.Seed = None,
    scales: options.ScaleChanges,
    also: Also = None,
    cutouts: options.Cutouts = None,
    request: Request,
    to_prompts: To = None,
    boxes: options.BoxTexts = None,
    to_boxes: ToBoxes = None,
    views: options.ViewTexts = None,
    to_views: ToViews = None,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)],
) -> None:
    """Draw frames from what PROMPT describes to what --to describes, or to another box or view.

    The place stays: a photograph, or a scene of the library. What does not change is the same in
    every frame.
    """
    from swiftpie.imageio.animation import check_animation_target, save_animation

    path = Path(output.out)
    check_animation_target(path, fps=output.fps, force=output.force)
    check_texts(prompt=prompt, to="; ".join(to_prompts or []))
    known = preset_for(loading)
    size, scene = request.pop("size_px", None), read_scene(request.pop("scene", ""))
    sources = [read_source(subjects)] if subjects else []
    sources += [read_source([text]) for text in also or []]
    (named,) = named_in([prompt], sources, known).values()
    everyone = [*with_cutouts(sources, cutouts), *named]
    count = len(everyone)
    own = zip(
        parse_boxes(boxes or [], count),
        parse_views(views or [], count),
        [""] * count,  # layers
        strict=True,
    )
    asked = AnimateRequest(
        subjects=placed_subjects(everyone, list(own)),
        prompt=prompt,
        to=tuple(to_prompts or ()),
        to_boxes=tuple(filter(None, parse_boxes(to_boxes or [], count))),
        to_views=tuple(filter(None, parse_views(to_views or [], count))),
        seeds=seeds_from(seed, 1),
        size_px=None if size is None else parse_size(size),
        scene=scene,
        scales=Scales(**scales),
        takes_named=True,
        **request,
    )
    session, load_ms = open_session(**loading)
    preset = session.components.preset.name
    result = session.draw(asked)
    facts = origin_of_result(session.components.preset, asked, result)
    save_animation(result.images, path, fps=output.fps, metadata=facts, force=output.force)
    console.report_written(console.Target(path), asked.seeds[0])
    if output.as_json:
        row = {"path": path, "seed": asked.seeds[0], **named_facts(result.named)}
        more = console.request_facts(preset, result.scales, result.images[0], prompt=prompt)
        more |= {**result.origin, "cutouts": cutout_facts(result.cutouts)}
        timings = result.timings_ms
        console.print_pictures([row], timings, load_ms=round(load_ms, 1), fps=output.fps, **more)
