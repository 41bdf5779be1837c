"""What draws a place best: `python -m benchmarks.one_network DATA [--weights DIR] [--cases N]`.

Held-out subjects in settings that training leaves out, at 256 px and from noise that nothing has
seen. Four ways: the denoiser by words alone, with a picture of the place in plain daylight that
follows from the same noise or from other noise, and what is shipped: the scene network draws that
picture in the setting, and formulas what falls before it. Background in dB and as sharp as the
truth, subject in dB, by weather. DATA is the pack of subjects; weights are the packaged ones, or an
export of `swiftpie train world-one-network`.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean, median, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.mini.scene_network import SceneCondition, scene_relighter
from swiftpie_lab.evaluation.judges import shipped_reader
from swiftpie_lab.judges import JUDGE_PX, WHOLE_PX, PictureReader, shrink
from swiftpie_lab.training.context import PACKAGED, Context
from swiftpie_lab.training.losses import masked_psnr_db
from swiftpie_lab.training.recipes.mini import world_one_network
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks
from swiftpie_lab.training.stages.one_step.stage import OneStepStage
from swiftpie_lab.training.stages.one_step.tasks import Drops
from swiftpie_lab.training.stages.scene import contrast
from swiftpie_lab.training.stages.sharpening import SharpeningConfig
from swiftpie_world.air import WEATHERS, Setting, veil
from swiftpie_world.captions import WHOLE_QUESTIONS, SceneSpec, right_answers
from swiftpie_world.fields import read_fields
from swiftpie_world.places import PLACES, is_held_out, settings
from swiftpie_world.sampler import SceneShares, WorldBatch

WAYS = ("words", "same noise", "other noise", "shipped")
AT_ONCE, SIZE_PX, SEED, ROUNDS = 6, 256, 7, 9


class Drawn(NamedTuple):
    """How well one picture was drawn."""

    kind: str  # the weather, or "indoors"
    way: str
    background_db: float
    sharpness: float
    subject_db: float | None  # None where the way draws no subject
    place_right: bool
    setting_right: bool  # time, weather and season, as far as the place has them


def drawings(
    stage: OneStepStage,
    network: OneStepNetworks,
    reader: PictureReader,
    chosen: list[Setting],
    *,
    seed: int,
) -> Iterator[Drawn]:
    """Yield pictures of all ways, of a batch of settings."""
    specs = [SceneSpec(setting) for setting in chosen]
    for way in WAYS:
        shares = SceneShares(other=float(way == "other noise"), unnamed=0.0)
        batch = stage.held_out.batch(
            len(specs), 1, seed=seed, augment=False, scenes=shares, specs=specs
        )
        pixels = _shipped(batch) if way == "shipped" else _drawn(stage, network, batch, way)
        truth = batch.background if way == "shipped" else batch.pixels
        mask = torch.zeros_like(batch.mask) if way == "shipped" else batch.mask
        background = masked_psnr_db(pixels, truth, 1 - mask)
        subject = masked_psnr_db(pixels, truth, mask)
        sharp = contrast(pixels * (1 - mask)) / contrast(truth * (1 - mask))
        said = _said(reader, pixels)
        for row, setting in enumerate(chosen):
            right = {name: said[row][name] == one for name, one in _asked(specs[row]).items()}
            is_outdoors = PLACES[setting.place].outdoors
            yield Drawn(
                WEATHERS[setting.weather] if is_outdoors else "indoors",
                way,
                float(background[row]),
                float(sharp[row]),
                None if way == "shipped" else float(subject[row]),
                right.pop("place"),
                all(right.values()),
            )


def _drawn(stage: OneStepStage, network: OneStepNetworks, batch: WorldBatch, way: str) -> Tensor:
    if way == "words":
        batch = replace(batch, scene=None)
    generator = torch.Generator().manual_seed(SEED)
    found = stage.forward(network, batch, generator, drops=Drops(0, 0, 0, 0))
    return stage.autoencoder.decode(found.prediction.sample.float()).clamp(-1, 1)


def _shipped(batch: WorldBatch) -> Tensor:
    """Return places without subjects (B, 3, H, W) by the scene network."""
    assert batch.scene is not None, "the batch was drawn with scenes"
    relighter, chosen = scene_relighter(), [spec.setting for spec in batch.specs]
    numbers = torch.tensor([list(setting) for setting in chosen])
    place = relighter.network(
        batch.noise,
        batch.scene,
        relighter.autoencoder.encode(batch.scene),
        SceneCondition(*numbers.T),
    )
    fields = read_fields(batch.noise, size_px=batch.scene.shape[-1])
    return (2 * veil((place.float() + 1) / 2, fields, chosen) - 1).clamp(-1, 1)


def milliseconds(stage: OneStepStage, network: OneStepNetworks, setting: Setting) -> list[float]:
    """Return how long a picture takes by each way, the median of calls in turns.

    What is shipped draws the subject by words alone besides.
    """
    shares = SceneShares(other=0.0, unnamed=0.0)
    batch = stage.held_out.batch(
        1, 1, seed=SEED, augment=False, scenes=shares, specs=[SceneSpec(setting)]
    )
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for way in WAYS:
            start = time.perf_counter()
            _drawn(stage, network, batch, "words" if way == "shipped" else way)
            if way == "shipped":
                _shipped(batch)
            taken[way].append(1000 * (time.perf_counter() - start))
    return [median(taken[way]) for way in WAYS]


def _said(reader: PictureReader, pixels: Tensor) -> list[dict[str, str]]:
    """Return what the judge answers about the surroundings in each picture."""
    unseen = pixels.new_zeros(len(pixels), 9, JUDGE_PX, JUDGE_PX)  # the subject is not asked for
    logits = reader(shrink(pixels, WHOLE_PX), unseen[:, :6], unseen[:, 6:])
    return [
        {name: WHOLE_QUESTIONS[name][int(logits[name][row].argmax())] for name in WHOLE_QUESTIONS}
        for row in range(len(pixels))
    ]


def _asked(spec: SceneSpec) -> dict[str, str]:
    kept = {"place", "time", "weather", "season"}
    return {name: one for name, one in right_answers(spec).items() if name in kept}


def table(rows: list[Drawn]) -> str:
    """Return means with their standard errors, a line a kind of weather."""
    cells: dict[tuple[str, str], list[Drawn]] = defaultdict(list)
    for row in rows:
        cells[row.kind, row.way].append(row)
        cells["all", row.way].append(row)
    kinds = ["all", *WEATHERS, "indoors"]
    lines = ["background, dB" + "".join(f"{way:>16}" for way in WAYS)]
    for kind in kinds:
        if (kind, WAYS[0]) not in cells:
            continue
        found = [[row.background_db for row in cells[kind, way]] for way in WAYS]
        shown = [f"{mean(one):.1f} ± {_error(one):.1f}" for one in found]
        count = f"{kind} ({len(found[0])})"
        lines.append(f"{count:14}" + "".join(f"{one:>16}" for one in shown))
    sharp = [median(row.sharpness for row in cells["all", way]) for way in WAYS]
    lines.append(f"{'sharpness':14}" + "".join(f"{one:>16.2f}" for one in sharp))
    subjects = [[row.subject_db for row in cells["all", way] if row.subject_db] for way in WAYS]
    told = [f"{mean(one):.1f} ± {_error(one):.1f}" if one else "-" for one in subjects]
    lines.append(f"{'subject, dB':14}" + "".join(f"{one:>16}" for one in told))
    for title, name in (("place right", "place_right"), ("setting right", "setting_right")):
        shares = [mean(getattr(row, name) for row in cells["all", way]) for way in WAYS]
        lines.append(f"{title:14}" + "".join(f"{one:>16.0%}" for one in shares))
    return "\n".join(lines)


def _error(values: list[float]) -> float:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="pack of subjects, as `swiftpie data` writes it")
    parser.add_argument("--weights", default=PACKAGED, help="folder of an export")
    parser.add_argument("--cases", type=int, default=72)
    given = parser.parse_args()
    recipe = world_one_network().stage
    assert isinstance(recipe, SharpeningConfig), "the recipe has a critic"
    config = replace(recipe.model, start=given.weights, size_px=SIZE_PX, grown_share=0.0, views=1)
    stage = config.build(Context(given.data, Path(), "cpu"))
    network, random = stage.network().eval(), Random(SEED)
    reader = shipped_reader()
    unseen = [setting for setting in settings() if is_held_out(setting)]
    indoors = [setting for setting in settings() if not PLACES[setting.place].outdoors]
    dealt = random.sample(unseen, given.cases - given.cases // 6)
    dealt += random.choices(indoors, k=given.cases // 6)
    rows: list[Drawn] = []
    for first in range(0, len(dealt), AT_ONCE):
        chosen = dealt[first : first + AT_ONCE]
        rows += drawings(stage, network, reader, chosen, seed=SEED + first)
        sys.stderr.write(f"{min(first + AT_ONCE, len(dealt))} of {len(dealt)}\n")
    taken = milliseconds(stage, network, dealt[0])
    line = f"{'a picture, ms':14}" + "".join(f"{one:>16.0f}" for one in taken)
    sys.stdout.write(f"{table(rows)}\n{line}\n")


if __name__ == "__main__":
    main()
