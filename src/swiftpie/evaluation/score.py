"""From pictures on disk to rows: every metric of every candidate of a case."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean

from swiftpie.evaluation.case import Case
from swiftpie.evaluation.folder import Folder
from swiftpie.evaluation.judges import Panel
from swiftpie.evaluation.metric import METRICS, Evidence, Metric
from swiftpie.images import to_tensor
from swiftpie.masks import load_mask

SUBJECT_MASKS = ("truth-mask", "other-truth-mask")  # of a case's subjects, from left to right


@dataclass(frozen=True)
class Row:
    """All numbers of one case; a metric that does not apply to it is absent."""

    case: Case
    scores: Mapping[str, Mapping[str, float]]  # by metric, then by kind of picture


def score(folder: Folder, panel: Panel) -> Iterator[Row]:
    """Judge every case in the manifest of `folder`, and write the rows down at the end."""
    metrics = METRICS.all()
    rows = []
    for case in folder.read_cases():
        row = Row(case, score_case(folder, case, panel=panel, metrics=metrics))
        rows.append(row)
        yield row
    folder.write_rows("rows.jsonl", (asdict(row) for row in rows))


def score_case(
    folder: Folder, case: Case, *, panel: Panel, metrics: Mapping[str, Metric]
) -> dict[str, dict[str, float]]:
    """Return the scores of one case by metric and kind of picture, means over its subjects."""
    metrics = {name: metric for name, metric in metrics.items() if case.kind in metric.applies_to}
    scores: dict[str, dict[str, float]] = {name: {} for name in metrics}
    for kind in sorted({kind for metric in metrics.values() for kind in metric.candidates}):
        evidence = list(_evidence(folder, case, kind, panel=panel))
        for name, metric in metrics.items():
            found = map(metric.score, evidence) if kind in metric.candidates else ()
            values = [value for value in found if value is not None]
            if values:
                scores[name][kind] = fmean(values)
    return {name: by_kind for name, by_kind in scores.items() if by_kind}


def _evidence(folder: Folder, case: Case, kind: str, *, panel: Panel) -> Iterator[Evidence]:
    """Return what there is to judge of a candidate picture, once for each subject."""
    truth = folder.read(case, "truth")
    picture = to_tensor(folder.read(case, kind))
    for code, mask_kind in zip(case.codes, SUBJECT_MASKS, strict=False):
        mask = load_mask(folder.read(case, mask_kind), truth.size)
        found = mask if kind == "truth" else None
        if kind == "model":
            found = load_mask(folder.read(case, "model-mask"), truth.size)
        yield Evidence(case, code, picture, to_tensor(truth), mask=mask, found=found, panel=panel)
