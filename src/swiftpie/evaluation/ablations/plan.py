"""Puts a study together: every row with the networks that draw it."""

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

from swiftpie import __version__
from swiftpie.backbones.components import Components
from swiftpie.backbones.weights import fingerprint_of
from swiftpie.data.stickers import NOISE_SHAPE
from swiftpie.errors import CapabilityError
from swiftpie.evaluation.ablations.measure import Row, Study
from swiftpie.evaluation.ablations.settings import all_settings
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
from swiftpie.evaluation.judges import load_panel
from swiftpie.pipelines.request import Scales


def plan_study(
    components: Components,
    benchmark: StickerBenchmark,
    *,
    num_cases: int,
    root: Path,
    against: Mapping[str, Components],
) -> Study:
    """Return the study of one set of weights.

    Args:
        components: The networks under test.
        benchmark: Deals the cases.
        num_cases: How many.
        root: The folder for scores and pictures.
        against: Other networks, by the name of their row.

    Raises:
        CapabilityError: The preset starts from other noise than the renderer.
    """
    shape = (components.preset.latent_channels, *components.cells_of(None))
    if shape != NOISE_SHAPE:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws from noise of shape {shape}; sticker scenes "
            f"need {NOISE_SHAPE}, so that the right answer is known. Use the preset 'mini'."
        )
    settings = all_settings(
        Scales.of(components.preset),
        step_counts=components.preset.step_counts,
        against=list(against),
    )
    with importlib.resources.as_file(importlib.resources.files("swiftpie")) as package:
        judges = fingerprint_of(package / "assets" / "judges")
    return Study(
        rows=[Row.of(one, against.get(one.weights, components)) for one in settings],
        cases=benchmark.cases(num_cases),
        benchmark=benchmark,
        panel=load_panel(benchmark.codes, *benchmark.gallery()),
        facts={"swiftpie": __version__, "judges": judges},
        root=root,
    )
