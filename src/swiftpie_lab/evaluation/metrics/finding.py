"""Whether a search for a subject says that the picture shows it."""

from torch import Tensor

from swiftpie_lab.evaluation.case import Metric, of


def _is_claimed(claimed: Tensor) -> float:
    return float((claimed > 0).any())


METRICS = {
    "says-present": Metric(
        "says that it is there", of(_is_claimed, "claimed"), "%", higher_is_better=None
    )
}
