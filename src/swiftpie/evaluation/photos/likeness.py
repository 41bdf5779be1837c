"""How much of the identity of photographs survives, beside that of sprites."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from swiftpie.backbones.components import Components
from swiftpie.errors import ImageError
from swiftpie.evaluation.photos.draw import Lost, Portrait
from swiftpie.evaluation.report import CONFIDENCE, NUM_RESAMPLES, Interval, interval

Values = NDArray[np.float64]

WHAT_IT_SAYS = (
    "Cosine similarity of the subject as drawn, around the model's own mask, and its cut-out on "
    "white; the mean over scenes, then over subjects, with 95 % bootstrap intervals over subjects. "
    "The judge was trained on rendered sprites alone: it compares colours and shapes, and knows no "
    "photographs. It says whether photographs keep as much of what it sees as sprites do, and not "
    "whether a person would call it the same thing. A cut-out that missed the subject is compared "
    "with pictures of that cut-out, so its faults do not count here. Look at the sheet for both."
)


@dataclass(frozen=True)
class Group:
    """Similarities of one kind of subject."""

    same: Interval  # to the subject's own reference
    other: Interval | None  # to those of the others, the lower bound; None with one subject


@dataclass(frozen=True)
class Likeness:
    """Photographs beside held-out sprites in the same scenes."""

    photos: Group
    sprites: Group
    share: Interval  # photos over sprites
    share_above_bound: Interval | None  # the same of what exceeds each one's lower bound


@dataclass(frozen=True)
class PhotoReport:
    """Everything the command found."""

    preset: str
    weights: str
    num_steps: int
    seed: int
    scenes: tuple[str, ...]
    subjects: tuple[str, ...]
    lost: tuple[Lost, ...]
    likeness: Likeness
    what_it_says: str = WHAT_IT_SAYS

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def summarise(
    components: Components,
    drawn: Sequence[Portrait | Lost],
    sprites: Sequence[Portrait],
    *,
    scenes: Sequence[str],
    seed: int,
) -> PhotoReport:
    """Return the report on photographs that were `drawn` and held-out `sprites` beside them.

    Raises:
        ImageError: No subject was found in any photograph.
    """
    portraits = [one for one in drawn if isinstance(one, Portrait)]
    if not portraits:
        raise ImageError(
            f"No subject was found in any of {len(drawn)} photographs. Subjects on plain grounds, "
            "or masks beside the photographs, are needed. Add NAME.mask.png for each NAME.jpg."
        )
    return PhotoReport(
        preset=components.preset.name,
        weights=components.fingerprint,
        num_steps=len(components.schedule.steps),
        seed=seed,
        scenes=tuple(scenes),
        subjects=tuple(one.name for one in portraits),
        lost=tuple(one for one in drawn if isinstance(one, Lost)),
        likeness=compare(portraits, sprites),
    )


def compare(photos: Sequence[Portrait], sprites: Sequence[Portrait]) -> Likeness:
    """Return the figures of at least one subject of each kind."""
    ours, theirs = _similarities(photos), _similarities(sprites)
    has_bounds = len(photos) > 1 and len(sprites) > 1
    above = _share(ours[0] - ours[1], theirs[0] - theirs[1]) if has_bounds else None
    return Likeness(_group(*ours), _group(*theirs), _share(ours[0], theirs[0]), above)


def describe(found: Likeness) -> list[str]:
    """Return the figures, a sentence each."""
    lines = []
    for name, group in (("photographs", found.photos), ("held-out sprites", found.sprites)):
        bound = "" if group.other is None else f"; to other subjects {_words(group.other)}"
        lines.append(f"{name}: similarity {_words(group.same)}{bound}")
    lines.append(f"photographs keep {_words(found.share)} of what sprites do")
    if found.share_above_bound is not None:
        lines.append(f"of what exceeds the lower bound, {_words(found.share_above_bound)}")
    return lines


def _similarities(portraits: Sequence[Portrait]) -> tuple[Values, Values]:
    """Return each subject's mean similarity to its own reference and to those of the others."""
    wanted = torch.cat([one.wanted for one in portraits])
    to_all = np.array([(one.found @ wanted.T).mean(0).double().tolist() for one in portraits])
    same = to_all.diagonal()
    others = (to_all.sum(axis=1) - same) / max(1, len(portraits) - 1)
    return same, others


def _group(same: Values, other: Values) -> Group:
    return Group(interval(list(same)), interval(list(other)) if len(same) > 1 else None)


def _share(part: Values, whole: Values) -> Interval:
    """Return mean over mean; both kinds of subjects are resampled by themselves."""
    random = np.random.default_rng(0)
    means = [
        values[random.integers(len(values), size=(NUM_RESAMPLES, len(values)))].mean(axis=1)
        for values in (part, whole)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means[0] / means[1], [tail, 1 - tail])
    return Interval(float(part.mean() / whole.mean()), float(low), float(high), len(part))


def _words(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
