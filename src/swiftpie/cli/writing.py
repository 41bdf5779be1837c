"""Drawing requests into files: their names, what is written, and what is reported."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console

from swiftpie.cli import console, options
from swiftpie.cli.loading import LoadedSession
from swiftpie.errors import ConfigError
from swiftpie.imageio.atomic import are_one_place, write_file
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.types import EditResult

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.imageio.writing import PictureData
    from swiftpie.pipelines.tasks import Request
    from swiftpie.types import GenerationResult

NO_FACTS: Mapping[str, Any] = MappingProxyType({})
MORE = ("save_subject_mask", "save_region")  # files besides a picture, of which one is given


class Target(NamedTuple):
    """The files of one picture: itself, and the mask of its subject or change."""

    picture: Path | None  # None is standard output; of an animation it may be a folder
    mask: Path | None = None  # None is nowhere


class FileDrawing(NamedTuple):
    """A request with the files of its pictures, which sessions do not know."""

    request: "Request"
    targets: Sequence[Target]
    photo: Path | bytes = b""  # the photo to change: a path, or what standard input held


def plan_targets(output: options.OutputOptions, *, count: int = 1) -> list[Target]:
    """Name the files of `count` pictures; InputError or ConfigError if they cannot be written."""
    from swiftpie.imageio.credentials import check_signer
    from swiftpie.imageio.writing import check_animation_target, check_image_target, numbered

    check_signer(output.sign)
    if isinstance(output, Film):
        check_animation_target(Path(output.out), fps=output.fps, force=output.force)
        return [Target(Path(output.out))]
    out = None if output.out == options.STREAM else Path(output.out)
    if out is None and (count > 1 or output.as_json):
        raise ConfigError(
            "Standard output holds one picture and no JSON, and more was requested. Give a file "
            "name with -o."
        )
    mask = None
    for name in MORE:
        if (path := getattr(output, name, None)) is not None:
            mask = path
            if out is not None and are_one_place(mask, out):
                raise ConfigError(
                    f"'{mask}' is both --out and --{name.replace('_', '-')}. Two different files "
                    "are needed. Rename one."
                )
    named = [[None] * count if path is None else numbered(path, count) for path in (out, mask)]
    for path in (path for paths in named for path in paths):
        if path is not None:
            check_image_target(path, force=output.force)
    return [Target(*row) for row in zip(*named, strict=True)]


def steps_beside(film: options.OutputOptions) -> Path:
    """Return where the steps of an animation are kept until it is drawn."""
    path = Path(film.out)
    return path.with_name(f".{path.name}.steps")


def draw_files(
    loaded: LoadedSession,
    drawings: Sequence[FileDrawing],
    output: options.OutputOptions,
    *,
    metadata: Mapping[str, str] = NO_FACTS,
    **facts: object,
) -> None:
    """Draw requests, write their files and report each; --json also writes `facts` and timings."""
    session, rows, timings = loaded.session, list[dict[str, object]](), Counter[str]()
    for drawing in drawings:
        result = carry_out(session, drawing, output, metadata=metadata)
        is_edit = isinstance(result, EditResult)
        seeds = (result.seed,) if isinstance(result, EditResult) else result.seeds
        scores = result.scores or (NO_FACTS,) * len(seeds)
        for target, seed, score in zip(drawing.targets, seeds, scores, strict=True):
            said = (f"{name.replace('_', ' ')} {value:.3f}" for name, value in score.items())
            about = ", ".join([f"seed {seed}", *said])
            console.say(f"wrote {target.picture or 'the picture to standard output'} ({about})")
            files = {"path": target.picture, "region" if is_edit else "subject_mask": target.mask}
            rows.append({**files, "seed": seed, "prompt": drawing.request.prompt, **score})
            if result.named:
                rows[-1]["named"] = [named._asdict() for named in result.named]
            if result.warnings:
                rows[-1]["warnings"] = list(result.warnings)
        timings.update(result.timings_ms)
    if drawings[0].photo:
        warn_of_losses(drawings[0], is_signed=output.sign is not None)
    if not output.as_json:
        return
    image = result.image if isinstance(result, EditResult) else result.images[0]
    own = {
        "preset": session.components.preset.name,
        "size": {"width": image.width, "height": image.height},
        "scales": dict(result.scales),
        "branches": list(result.branches),
        "cutouts": [[each._asdict() for each in pictures] for pictures in result.cutouts],
        "load_ms": round(loaded.load_ms, 1),
    }
    spent = {stage: round(ms, 2) for stage, ms in timings.items()}
    console.print_json({"pictures": rows, **result.origin, **own, **facts, "timings_ms": spent})


def carry_out(
    session: "Session",
    drawing: FileDrawing,
    output: options.OutputOptions,
    *,
    metadata: Mapping[str, str] = NO_FACTS,
) -> "GenerationResult | EditResult":
    """Draw a request and write its files; a terminal shows the stage that it is in."""
    from swiftpie.engine.steps import StepFile
    from swiftpie.imageio.writing import save_animation
    from swiftpie.pipelines.choose import CHECK

    request, screen = drawing.request, Console(stderr=True)
    steps = None
    if isinstance(request, AnimateRequest) and len(session.components.schedule.steps) > 1:
        steps = StepFile(steps_beside(output), seed=request.seeds[0])
    if screen.is_terminal:
        with screen.status("drawing") as status:

            def show(stage: str) -> None:
                if stage != CHECK:
                    status.update(f"drew: {stage}")

            result = session.draw(request, on_step=steps, on_stage=show)
    else:
        result = session.draw(request, on_step=steps)
    origin = {**result.record, **metadata}
    if isinstance(result, EditResult):
        _write_edit(result, drawing, output, metadata=origin)
    elif isinstance(output, Film):
        path, force = Path(output.out), output.force
        fps, sign = output.fps, output.sign
        save_animation(result.images, path, fps=fps, metadata=origin, force=force, sign=sign)
    else:
        pictures = zip(result.images, result.subject_masks, result.seeds, strict=True)
        for (image, mask, seed), target in zip(pictures, drawing.targets, strict=True):
            write(image, mask, target, output, metadata=origin | {"seed": str(seed)})
    if steps is not None:
        steps.remove()
    return result


def write(
    image: "Image.Image | PictureData",
    mask: "Image.Image",
    target: Target,
    output: options.OutputOptions,
    *,
    metadata: Mapping[str, str],
    source: Path | bytes | None = None,
) -> None:
    """Write a picture and its mask with what they say of their making; the picture is signed."""
    from swiftpie.imageio.writing import encode_image, save_image

    if target.mask is not None:
        save_image(mask, target.mask, metadata=metadata, force=output.force)
    suffix = ".png" if target.picture is None else target.picture.suffix
    data = encode_image(image, suffix, metadata=metadata, sign=output.sign, source=source)
    if target.picture is not None:
        write_file(target.picture, data, force=output.force)
    else:
        typer.get_binary_stream("stdout").write(data)


def _write_edit(
    result: "EditResult",
    drawing: FileDrawing,
    output: options.OutputOptions,
    *,
    metadata: Mapping[str, str],
) -> None:
    """Write an edited picture; pixels outside the change keep the bits of the original file."""
    from swiftpie.imageio.originals import composite, read_original

    (target,) = drawing.targets
    finished = composite(read_original(drawing.photo), result.edited, result.blend)
    source = drawing.photo
    write(finished, result.region, target, output, metadata=metadata, source=source)


def warn_of_losses(drawing: FileDrawing, *, is_signed: bool) -> None:
    from swiftpie.imageio.originals import losses_in, read_original
    from swiftpie.imageio.writing import LOSSLESS, format_of

    picture = drawing.targets[0].picture
    suffix = ".png" if picture is None else picture.suffix
    if losses := losses_in(read_original(drawing.photo), suffix, is_signed=is_signed):
        console.say(f"The edited picture does not keep {', '.join(losses)}.")
    if format_of(suffix) not in LOSSLESS:
        console.say(
            f"{format_of(suffix)} compresses all pixels again, so those outside the region "
            "change a little. Give a name in .png or .tif to keep them bit for bit."
        )
