"""From pictures on disk to rows: every metric of every candidate of a case."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from swiftpie.evaluation.case import Case
from swiftpie.evaluation.folder import Folder
from swiftpie.evaluation.judges import Panel
from swiftpie.evaluation.metric import METRICS, Evidence, Metric
from swiftpie.images import to_tensor
from swiftpie.masks import load_mask


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
    """Return the scores of one case by metric and kind of picture."""
    truth = folder.read(case, "truth")
    size = truth.size
    mask = load_mask(folder.read(case, "truth-mask"), size)
    found = load_mask(folder.read(case, "model-mask"), size)
    scores: dict[str, dict[str, float]] = {name: {} for name in metrics}
    for kind in sorted({kind for metric in metrics.values() for kind in metric.candidates}):
        evidence = Evidence(
            case=case,
            picture=to_tensor(folder.read(case, kind)),
            truth=to_tensor(truth),
            mask=mask,
            found=found if kind == "model" else None,
            panel=panel,
        )
        for name, metric in metrics.items():
            value = metric.score(evidence) if kind in metric.candidates else None
            if value is not None:
                scores[name][kind] = value
    return {name: by_kind for name, by_kind in scores.items() if by_kind}
