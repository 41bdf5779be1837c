"""What each part of an edit is worth: the same cases, with one choice changed at a time."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from swiftpie.engine.session import Session
from swiftpie.evaluation.edits.benchmark import EditBenchmark
from swiftpie.evaluation.edits.case import EditCase
from swiftpie.evaluation.edits.ddim import DdimEditor
from swiftpie.evaluation.edits.editor import Editor
from swiftpie.evaluation.edits.editors import MaskChoice, SwiftEditor
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.generate import generate
from swiftpie.evaluation.edits.metric import EDIT_METRICS
from swiftpie.evaluation.edits.report import JUDGED
from swiftpie.evaluation.edits.score import score
from swiftpie.evaluation.judges import Panel
from swiftpie.evaluation.report import Interval, interval
from swiftpie.masks import MaskRule
from swiftpie.pipelines.request import EditMode, EditSettings, Scales

COLUMNS = {  # metric, and its title with unit
    "scene-attribute-success": ("succeeded", "%"),
    "identity-kept": ("subject kept", "%"),
    "mask-iou": ("mask IoU", ""),
    "inside-psnr": ("PSNR inside", "dB"),
    "outside-psnr-drawn": ("outside, as drawn", "dB"),
    "reconstruction-psnr": ("reconstruction", "dB"),
    "noise-psnr": ("from noise alone", "dB"),
    "time": ("time", "ms"),
}
SCALES: Mapping[str, tuple[float, ...]] = {
    "identity_scale": (0.5, 1.0),
    "background_scale": (0.0, 0.5),
    "text_scale": (0.5, 1.5, 2.0),
    "text_background_scale": (0.0,),
}


@dataclass(frozen=True, eq=False)
class Variant:
    """One row."""

    group: str
    title: str
    editor: Editor


@dataclass(frozen=True)
class Line:
    """One row of the table: means over cases with their intervals."""

    group: str
    title: str
    editor: str
    figures: Mapping[str, Interval]


def variants(
    session: Session, *, inversions: Mapping[str, Session], teacher: Session | None
) -> list[Variant]:
    """Return every row.

    Args:
        session: The model under test.
        inversions: The same model with other inversion networks, by title.
        teacher: A multi-step model, for DDIM inversion.
    """
    whole = SwiftEditor(session)
    rows = [Variant("everything", "as shipped", whole)]
    rows += [Variant("inversion", title, SwiftEditor(other)) for title, other in inversions.items()]
    rows += [
        Variant("mask", title, SwiftEditor(session, mask=choice))
        for title, choice in (
            ("found by keyword", MaskChoice.KEYWORD),
            ("given", MaskChoice.TRUE),
            ("none", MaskChoice.NONE),
        )
    ]
    rows += [
        Variant("mask", f"{rule} rule", replace(whole, settings=EditSettings(rule=rule)))
        for rule in MaskRule
    ]
    shipped = Scales.for_edit(session.components.preset, mode=EditMode.PAPER)
    rows += [
        Variant(
            "scales",
            f"{name.replace('_', ' ')} {scale:g}",
            replace(whole, settings=EditSettings(scales=replace(shipped, **{name: scale}))),
        )
        for name, scales in SCALES.items()
        for scale in scales
        if scale != getattr(shipped, name)
    ]
    if teacher is not None:
        steps = len(teacher.components.schedule.steps)
        rows.append(Variant("baseline", f"DDIM, {steps} steps", DdimEditor(teacher)))
    return rows


def measure(
    rows: Sequence[Variant],
    benchmark: EditBenchmark,
    cases: Sequence[EditCase],
    *,
    panel: Panel,
    root: Path,
) -> Iterator[Line]:
    """Draw and judge the cases of each row; pictures that are there already are kept.

    Raises:
        InputError: A folder holds pictures of another run.
    """
    for row in rows:
        folder = EditFolder(root / _key(row))
        for _ in generate(row.editor, benchmark, cases, folder=folder):
            pass
        scores = [one.scores for one in score(folder, cases, panel)]
        found = {
            name: [one[name][JUDGED] for one in scores if JUDGED in one.get(name, {})]
            for name in COLUMNS
        }
        figures = {name: interval(values) for name, values in found.items() if values}
        yield Line(row.group, row.title, row.editor.name, figures)


def to_json(lines: Sequence[Line], *, num_cases: int) -> str:
    """Return one JSON object."""
    assert set(COLUMNS) <= set(EDIT_METRICS.names())
    found = {"num_cases": num_cases, "lines": [asdict(line) for line in lines]}
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


def cells(line: Line) -> list[str]:
    """Return the figures of a row as texts, "" where there are none."""
    texts = []
    for name, (_, unit) in COLUMNS.items():
        found = line.figures.get(name)
        if found is None:
            texts.append("")
        elif unit == "%":
            texts.append(f"{100 * found.mean:.1f}")
        else:
            texts.append(f"{found.mean:.{0 if unit == 'ms' else 2}f}")
    return texts


def headings() -> list[str]:
    """Return the titles over `cells`."""
    return [f"{title}, {unit}" if unit else title for title, unit in COLUMNS.values()]


def _key(row: Variant) -> str:
    """Return a folder's name that no other row shares."""
    told = f"{row.editor.name}:{row.editor.fingerprint}:{row.group}:{row.title}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]
