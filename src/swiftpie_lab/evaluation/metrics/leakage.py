"""How much of one subject is found in the place of another, compared with unrelated subjects."""

from statistics import fmean

from torch import Tensor

from swiftpie_lab.evaluation.case import Expected, Metric, of
from swiftpie_lab.evaluation.judges import Panel


def shared_likeness(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return by how much other subjects of the picture are nearer than unrelated ones.

    That is the mean cosine of the place of one subject to the others of the picture, less that to
    subjects which the picture does not have.
    """
    if not expected.others or not expected.unrelated:
        return None
    near = panel.likeness(picture, expected.where)
    others = fmean(near[code] for code in expected.others)
    return others - fmean(near[code] for code in expected.unrelated)


def leakage(panel: Panel, picture: Tensor, alone: Tensor, expected: Expected) -> float | None:
    """Return by how much `shared_likeness` is above that where the subject is drawn alone.

    Two subjects may be alike by nature; this counts only what drawing them together adds.
    """
    together = shared_likeness(panel, picture, expected)
    apart = shared_likeness(panel, alone, expected)
    return None if together is None or apart is None else together - apart


def nearest(panel: Panel, picture: Tensor, expected: Expected) -> float | None:
    """Return 1 if the right subject is nearer than the others of the picture and unrelated ones."""
    if not expected.unrelated:
        return None
    near = panel.likeness(picture, expected.where)
    others = expected.others | expected.unrelated
    return float(all(near[expected.subject] > near[code] for code in others))


METRICS = {
    "leakage": Metric(
        "leakage: others nearer than when alone",
        of(leakage, "networks.panel", "picture", "alone", "expected"),
        "cosine",
        higher_is_better=False,
    ),
    "subject-nearest": Metric(
        "right subject nearest", of(nearest, "networks.panel", "picture", "expected"), "%"
    ),
}
