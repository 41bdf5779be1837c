"""From pictures on disk to rows: every metric of the edit and of its bounds."""

from collections.abc import Iterator, Mapping, Sequence

from swiftpie.evaluation.edits.case import EditCase
from swiftpie.evaluation.edits.folder import AGAIN, EditFolder
from swiftpie.evaluation.edits.metric import (
    CANDIDATES,
    EDIT_METRICS,
    EditEvidence,
    EditMetric,
)
from swiftpie.evaluation.edits.pie.lpips import HOW, Lpips
from swiftpie.evaluation.edits.report import EditRow
from swiftpie.evaluation.judges import Panel
from swiftpie.images import to_tensor


def score(
    folder: EditFolder, cases: Sequence[EditCase], panel: Panel, *, lpips: Lpips | None = None
) -> Iterator[EditRow]:
    """Judge every case."""
    metrics = EDIT_METRICS.all()
    for case in cases:
        yield EditRow(
            name=case.name,
            type_id=case.type_id,
            source_prompt=case.source_prompt,
            target_prompt=case.target_prompt,
            scores=score_case(folder, case, panel=panel, metrics=metrics, lpips=lpips),
        )


def score_case(
    folder: EditFolder,
    case: EditCase,
    *,
    panel: Panel,
    metrics: Mapping[str, EditMetric],
    lpips: Lpips | None,
) -> dict[str, dict[str, float]]:
    """Return the scores of one case by metric and candidate."""
    scores: dict[str, dict[str, float]] = {name: {} for name in metrics}
    for kind in CANDIDATES:
        if not folder.has(case, kind):
            continue
        evidence = _evidence(folder, case, kind, panel=panel, lpips=lpips)
        for name, metric in metrics.items():
            value = metric.score(evidence) if kind in metric.candidates else None
            if value is not None:
                scores[name][kind] = value
    return {name: by_kind for name, by_kind in scores.items() if by_kind}


def not_computed(lpips: Lpips | None) -> dict[str, str]:
    """Return why metrics are missing, by metric."""
    return {} if lpips is not None else {"outside-lpips": f"needs weights: {HOW}"}


def _evidence(
    folder: EditFolder, case: EditCase, kind: str, *, panel: Panel, lpips: Lpips | None
) -> EditEvidence:
    is_edit = kind == "edit"
    has_mask = is_edit and folder.has(case, "edit-mask")
    again = {
        kind: to_tensor(folder.read(case, kind)) if is_edit and folder.has(case, kind) else None
        for kind in AGAIN
    }
    facts = folder.read_facts(case) if is_edit else None
    return EditEvidence(
        case=case,
        picture=to_tensor(folder.read(case, kind)),
        source=to_tensor(folder.read(case, "source")),
        target=to_tensor(folder.read(case, "target")),
        mask=folder.read_mask(case, "mask"),
        before=folder.read_mask(case, "before-mask"),
        kept=folder.read_mask(case, "kept-mask"),
        asked=folder.read_mask(case, "asked-mask"),
        used=folder.read_mask(case, "edit-mask") if has_mask else None,
        reconstruction=again["reconstruction"],
        from_noise=again["from-noise"],
        uncomposed=again["uncomposed"],
        time_ms=(facts or {}).get("total"),
        panel=panel,
        lpips=lpips,
    )
