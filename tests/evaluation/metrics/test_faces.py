import dataclasses

import pytest

from swiftpie.evaluation.case import METRICS


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


@pytest.mark.parametrize(
    ("name", "value"), [("identity", None), ("face-ratio", None), ("face-shown", 0)]
)
def test_pictures_without_a_face_are_counted_and_not_averaged(name, value, evidence):
    assert score(name, evidence) == value


def test_every_metric_has_a_title_and_a_name_of_its_own():
    metrics = METRICS.all()
    assert len(metrics) == len({*metrics}) >= 40
    assert all(metric.title for metric in metrics.values())
