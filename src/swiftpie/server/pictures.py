"""Pictures as callers get them: files that say what made them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swiftpie import __version__
from swiftpie.imageio.writing import encode_image
from swiftpie.library import Named
from swiftpie.masks import Box
from swiftpie.pipelines.request import Subject
from swiftpie.server.drawing import RenderedPicture
from swiftpie.server.schemas import Drawing

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class Drawn:
    """One picture as a file, with its facts."""

    data: bytes
    mask: bytes  # PNG: where the subject is, or what an edit could change
    seed: int
    model: str
    size: tuple[int, int]  # width and height
    timings_ms: Mapping[str, float]
    milliseconds: float  # from the call to here
    warnings: tuple[str, ...]
    box: Box | None  # where in a photograph a subject was put
    named: tuple[Named, ...]  # who in it is of the library


def as_file(
    made: RenderedPicture,
    body: Drawing,
    subjects: Sequence[Subject],
    *,
    model: str,
    milliseconds: float,
) -> Drawn:
    """Return a picture in the format of its request."""
    facts = _origin(body, subjects, model, box=made.box) | {**made.origin, "seed": str(made.seed)}
    suffix = SUFFIXES[body.output_format]
    return Drawn(
        data=encode_image(made.image, suffix, metadata=facts, quality=body.output_compression),
        mask=encode_image(made.mask, ".png", metadata=None) if body.swiftpie.return_mask else b"",
        seed=made.seed,
        model=model,
        size=made.image.size,
        timings_ms={name: round(spent, 2) for name, spent in made.timings_ms.items()},
        milliseconds=milliseconds,
        warnings=made.warnings,
        box=made.box,
        named=made.named,
    )


def _origin(
    body: Drawing, subjects: Sequence[Subject], model: str, *, box: Box | None
) -> dict[str, str]:
    """Return what a file says of its making, as the command line's files do, and places besides."""
    own = body.swiftpie
    places = [{"box": subject.box, "view": subject.view} for subject in subjects]
    if box is not None:  # given, or proposed
        places = [{**one, "box": box} for one in places]
    return {
        "prompt": body.prompt,
        **({"task": own.task} if own.task in {"insert", "remove", "replace"} else {}),
        **({"source_prompt": own.source_prompt} if own.source_prompt else {}),
        **({"variation": str(own.edit.variation)} if own.edit.variation else {}),
        "preset": model,
        "swiftpie": __version__,
        **{name: str(value) for name, value in own.scales.model_dump(exclude_none=True).items()},
        "subjects": json.dumps(places),
    }
