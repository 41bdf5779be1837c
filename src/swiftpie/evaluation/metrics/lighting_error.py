"""Lighting error: how far the subject's mean colour is from what the scene's light makes of it."""

from swiftpie.data.scenes import SCENES
from swiftpie.evaluation.metric import Evidence, Metric
from swiftpie.evaluation.regions import inner, mean_colour

LEAST_TINT = 0.05  # scenes that change no colour by more count as neutrally lit


def lit_scenes() -> frozenset[str]:
    """Return the scenes whose light changes colours visibly."""
    return frozenset(
        scene.name
        for scene in SCENES
        if max(abs(factor - 1) for factor in scene.light.tint) > LEAST_TINT
    )


def score(evidence: Evidence) -> float | None:
    """Return the mean absolute error of red, green and blue, in levels of 255."""
    region = inner(evidence.mask)
    if evidence.case.scene not in lit_scenes() or not bool(region.any()):
        return None
    error = mean_colour(evidence.picture, region) - mean_colour(evidence.truth, region)
    return float(error.abs().mean()) * 127.5  # pixels span two units


METRIC = Metric(
    title="lighting error",
    unit="levels",
    higher_is_better=False,
    candidates=("model", "truth", "paste"),
    score=score,
)
