"""`swiftpie personalize` and `animate`: draw subjects into new scenes, still or in motion."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import Preset, Use, check_personalizes
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
from swiftpie.cli.writing import FileDrawing, draw_files, plan_targets, steps_beside
from swiftpie.config import Option, options_of, read_options
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.faces import CONSENT, FaceSource
from swiftpie.library import Named
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.pipelines.choose import with_sources
from swiftpie.pipelines.request import (
    FacePicture,
    PersonalizeRequest,
    Source,
    Subject,
    drawing_of,
    seeds_from,
)
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.tasks import TASKS
from swiftpie.validation import check_stored

NO_FACE = FaceSource()


@dataclass(frozen=True)
class DrawnOutput(options.OutputOptions):
    """Where pictures go, with what shows where their subjects are."""

    save_subject_mask: Annotated[
        Path | None, Option("Also write where the subject was drawn.", "FILE")
    ] = None
    explain: Annotated[bool, Option("Also say what becomes of each word of the prompt.")] = False


@dataclass(frozen=True)
class FilmOutput(Film, options.OutputOptions):
    """Where an animation goes, and how fast it plays."""

    out: Annotated[
        str,
        Option(
            "File to write (.webp, .gif, .mp4), or a new folder for the frames as PNG.",
            "FILE|FOLDER",
            ("-o", "--out"),
        ),
    ]


@dataclass(frozen=True)
class Placing:
    """Further subjects, and how each is cut out and placed."""

    also: Annotated[
        tuple[str, ...],
        Option(
            "Another subject in the same picture; may be repeated. Each takes the next --box.",
            "SUBJECT",
            kind=str,
        ),
    ] = ()
    cutout: Annotated[tuple[str, ...], options.CUTOUT] = ()
    box: Annotated[tuple[str, ...], options_of(Subject)["box"].option._replace(kind=str)] = ()
    view: Annotated[tuple[str, ...], options_of(Subject)["view"].option._replace(kind=str)] = ()
    layers: Annotated[tuple[str, ...], options_of(Subject)["layers"].option] = ()


Loading = Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)]
Placed = Annotated[dict[str, list[str]], options.FieldOptions(Placing)]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        'swiftpie personalize dog.jpg "a dog on a beach" -o out.png',
        'swiftpie personalize "a kitten on a beach" -o out.png',
        'swiftpie personalize dog.jpg "a dog in space" -o out.png --cutout mask.png --seed 7',
        'swiftpie personalize car.png "a car in a desert" --view 35,10 -o turned.png',
        'swiftpie personalize dog.jpg --also cat.jpg "a dog and a cat on a beach" -o out.png '
        "--box 0.05,0.4,0.45,0.9 --box 0.55,0.4,0.95,0.9",
        'swiftpie personalize "a lighthouse at night" -o out.png --recipe sdxs',
        'swiftpie personalize --face me.jpg "a person in a cafe" -o out.png --recipe face-plus',
    )
)
@options.with_fields
def personalize(
    *,
    subjects: options.Subjects = [],  # noqa: B006 - Typer makes a new list for each call
    prompt: options.Prompt,
    output: Annotated[DrawnOutput, options.FieldOptions(DrawnOutput)],
    sampling: options.Seeds,
    scales: options.ScaleChanges,
    placing: Placed,
    request: Annotated[
        dict[str, Any], options.FieldOptions(PersonalizeRequest, without=("prompt", "seeds"))
    ],
    source: FaceOf,
    recogniser: Recogniser,
    loading: Loading,
) -> None:
    """Draw the subject, or the person of --face, into the scene that PROMPT describes.

    Subjects that PROMPT names and no picture shows come from the library; see `swiftpie library`.

    Transparency marks the subject in its picture; without it, a network finds the subject.
    A doubtful cut-out raises a warning.

    If the cut-out is wrong, mark the subject with --cutout.
    """
    # Check everything before anything is loaded.
    check_stored(prompt=prompt)
    seeds = sampling.seeds
    targets = plan_targets(output, count=len(seeds))
    known = preset_for(loading, use=Use.FACE if source.face else Use.PERSONALIZE)
    _check_mask(output.save_subject_mask, known)
    person = read_person(source, recogniser, loading, others=subjects, flag="SUBJECT")
    made = _request(
        *("personalize", subjects, placing, {**request, **scales, "prompt": prompt}, known),
        seeds=seeds,
        face=source,
    )
    loaded, identity = open_with(person, loading)
    facts: dict[str, Any] = {"engine": str(loading.get("engine") or "torch")}
    metadata = {}
    if person is not None:
        found = person.chosen
        box = {edge: round(value, 1) for edge, value in found.face.box._asdict().items()}
        where = {"number": found.number, "of": found.num_faces, "turn": found.turn, "box": box}
        facts["face"] = where | {"score": round(found.face.score, 4)}
        metadata = {"face_encoder": person.encoder.name}

    def known_by(source: Source) -> Source:
        return identity if isinstance(source, FacePicture) and identity is not None else source

    asked = with_sources(made, known_by)
    drawing = FileDrawing(asked, targets)
    draw_files(loaded, [drawing], output, metadata=metadata, prompt=prompt, **facts)
    for word, outcome, why in loaded.session.explain(asked) if output.explain else ():
        console.say(f"{word}: {outcome}{f' ({why})' if why else ''}")
    if person is not None:
        console.say(CONSENT)


@app.command(
    epilog=console.examples(
        'swiftpie animate dog.jpg "a dog on a beach at dawn" --to "a dog on a beach by day" '
        '--to "a dog on a beach at night" -o day.webp',
        'swiftpie animate dog.jpg "a dog in a park" --to "a dog in a park in falling snow" '
        '--to "a dog in a park" -o snow.gif --num-frames 24',
        'swiftpie animate dog.jpg "a dog on a beach" --box 0.05,0.5,0.35,0.95 '
        "--to-box 0.6,0.4,0.95,0.95 -o walk.mp4",
    )
)
@options.with_fields
def animate(
    *,
    subjects: options.Subjects = [],  # noqa: B006 - Typer makes a new list for each call
    prompt: options.Prompt,
    output: Annotated[FilmOutput, options.FieldOptions(FilmOutput)],
    seed: options.Seed = None,
    scales: options.ScaleChanges,
    placing: Placed,
    request: Annotated[
        dict[str, Any], options.FieldOptions(AnimateRequest, without=("prompt", "seeds"))
    ],
    loading: Loading,
) -> None:
    """Draw frames from what PROMPT describes to what --to describes, or to another box or view.

    The place stays: a photograph, or a scene of the library. What does not change is the same in
    every frame.
    """
    check_stored(prompt=prompt, to="; ".join(request.get("to", [])))
    targets, known = plan_targets(output), preset_for(loading)
    known_options = options_of(AnimateRequest)
    ends = {
        each.key: request.pop(name, []) for name, each in known_options.items() if each.repeated
    }
    request |= read_options(known_options, ends, is_text=True)
    if seed is None and os.path.lexists(kept := steps_beside(output)):
        from swiftpie.engine.steps import seed_in

        seed = seed_in(kept)  # an interrupted drawing goes on with its seed
    words = {**request, **scales, "prompt": prompt}
    made = _request("animate", subjects, placing, words, known, seeds=seeds_from(seed, 1))
    drawing = FileDrawing(made, targets)
    draw_files(open_session(**loading), [drawing], output, prompt=prompt, fps=output.fps)


def _request(
    task: str,
    pictures: list[str],
    placing: dict[str, list[str]],
    words: dict[str, Any],
    preset: Preset,
    *,
    seeds: tuple[int, ...],
    face: FaceSource = NO_FACE,
) -> PersonalizeRequest:
    from swiftpie.backbones.components import FAMILIES

    sources: list[Source] = [read_source(pictures)] if pictures else []
    sources += [FacePicture(face.face, face.face_number)] if face.face else []
    sources += [read_source([text]) for text in placing.get("also", [])]
    if sources:
        check_personalizes(preset)
    family = FAMILIES.get(preset.family)
    names = [_name(source) for source in sources]
    named: tuple[Named, ...] = family.named_besides(words["prompt"], preset, given=names)
    count = len(sources) + len(named)
    boxes, views, layers = (
        _for_each(name, placing.get(name, []), count) for name in ("box", "view", "layers")
    )
    regions = (words.get("mask"), words.get("detail_mask"))
    if MaskSource.BOX in regions and (None in boxes or not boxes):
        raise ConfigError(
            f"--mask box needs one --box for each of {count} subjects, not "
            f"{len(placing.get('box', []))}: the boxes are the regions. Write them as in --box "
            "0.2,0.4,0.8,0.9."
        )
    everyone: list[Source] = [*with_cutouts(sources, placing.get("cutout")), *named]
    subjects = tuple(
        Subject(source, box, view, name=_name(source), layers=form or "")
        for source, box, view, form in zip(everyone, boxes, views, layers, strict=True)
    )
    return drawing_of(TASKS[task], words, subjects=subjects, seeds=seeds, file=read_picture)


def _name(source: Source) -> str:
    return source.word if isinstance(source, Named) else ""


def _check_mask(target: Path | None, preset: Preset) -> None:
    if target is not None and not preset.predicts_layout:
        raise CapabilityError(
            f"--save-subject-mask cannot be combined with preset {preset.name!r}: it does not "
            "report where it draws a subject. Leave it out, or choose a preset that can 'layout' "
            "(see `swiftpie presets`)."
        )


def _for_each(name: str, texts: list[str], count: int) -> list[Any]:
    """Return the values of an option for `count` subjects, which the first ones take."""
    if len(texts) > count:
        raise ConfigError(
            f"{len(texts)} --{name} cannot be combined with {count} subjects: each takes one at "
            "most. Leave some out."
        )
    field = options_of(Subject)[name]
    return [*(options.said(field, text) for text in texts), *[None] * (count - len(texts))]
