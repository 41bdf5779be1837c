"""What tuning of a subject gains over the encoder alone, by method.

Run `python -m benchmarks.tuning`, with `--photos DIR` for photographs in a folder a subject, and
with `--methods` and `--seconds` for others. Each row is written to `--out` when it is measured, and
the same command goes on after an interruption.

Seconds are those of the processor in this process, with one thread. *Subject* is the PSNR over the
subject, in scenes that tuning has not seen, to the subject's own picture, placed and lit as the
model places and lights it, with the model's own coarse shading: it needs no right answer, so it
serves photographs, too. *Truth* is the PSNR to the renderer's picture of held-out subjects, each
placed as in the truth. *Around* is the PSNR of all else to the picture of the encoder alone.
Pictures of other subjects do not change at all, which tests show.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import swiftpie
from swiftpie.engine.encoding import Picture
from swiftpie.engine.session import Session
from swiftpie.errors import SwiftPieError
from swiftpie.pipelines.drawing import denoise, prepare
from swiftpie.pipelines.drawing.request import PersonalizeRequest, Subject
from swiftpie.pipelines.identity_file import identity_bytes
from swiftpie.scenes import WORDS_ALONE
from swiftpie.tuning import METHODS, TuneSettings
from swiftpie.tuning.change import features_of
from swiftpie.tuning.examples import Example, clean_latents, draw_examples, subject_psnr
from swiftpie.tuning.fit import TuneEvent
from swiftpie.types import Identity
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.report import format_interval, interval

TEST_SEED, NUM_SCENES = 2**26, 3  # of the scenes that are judged
MOST_STEPS = 2000
ENCODER = "encoder alone"
MIB = 2**20


class Case(NamedTuple):
    """One subject."""

    name: str
    pictures: list[Picture]
    masks: list[Picture | None] | None
    world: WorldCase | None = None


class Judge(NamedTuple):
    """What a subject is measured against."""

    session: Session
    scenes: list[Example]
    benchmark: WorldBenchmark

    @torch.no_grad()
    def figures(self, case: Case, identity: Identity) -> dict[str, float]:
        """Return the figures of one identity."""
        components, subject, around = self.session.components, [], []
        features = features_of(identity)
        for scene in self.scenes:
            latents = clean_latents(components, scene, features)
            pixels = components.autoencoder.decode(latents).clamp(-1, 1)
            subject.append(subject_psnr(pixels, scene))
            before = components.autoencoder.decode(scene.untuned).clamp(-1, 1)
            around.append(_psnr(pixels, before, 1 - scene.mask))
        found = {"subject": fmean(subject), "around": fmean(around)}
        if case.world is not None:
            found["truth"] = self._truth(case.world, identity)
        return found

    def _truth(self, case: WorldCase, identity: Identity) -> float:
        rendering = self.benchmark.answer(case).rendering
        request = PersonalizeRequest(
            subjects=(Subject(identity),), prompt=case.prompt, seeds=(case.seed,), scene=WORDS_ALONE
        )
        drawing = prepare.prepare(self.session.components, request, denoise.Clock())
        latents = denoise.denoise(drawing).latents
        pixels = denoise.decode(self.session.components, latents)
        return _psnr(pixels, rendering.pixels, rendering.mask)


def _psnr(pixels: Tensor, wanted: Tensor, mask: Tensor) -> float:
    error = ((pixels - wanted).square() * mask).sum() / (3 * mask.sum()).clamp_min(1) / 4
    return min(60.0, float(-10 * error.clamp_min(1e-12).log10()))


def held_out(benchmark: WorldBenchmark, count: int) -> Iterator[Case]:
    """Yield held-out subjects in trained settings."""
    for case in benchmark.deal(WorldKind.PLAIN, count):
        known = benchmark.known(case)
        yield Case(case.subject, [known["reference"]], [known["reference-mask"]], case)


def photographed(folder: Path, names: list[str], pictures: int) -> Iterator[Case]:
    """Yield the subjects of a folder with a folder of photographs for each."""
    for name in names or sorted(path.name for path in folder.iterdir() if path.is_dir()):
        yield Case(name, list(sorted((folder / name).iterdir())[:pictures]), None)


def tuned(
    session: Session, identity: Identity, method: str, seconds: float
) -> tuple[Identity, int]:
    """Return the identity after so many seconds of the processor, and how many steps they were."""
    began, steps = time.process_time(), [0]

    def is_late(event: TuneEvent) -> bool:
        steps[0] = event.step
        return time.process_time() - began > seconds

    settings = TuneSettings(method=method, steps=MOST_STEPS)
    return session.tune(identity, settings, on_event=is_late), steps[0]


def measure(
    session: Session, benchmark: WorldBenchmark, case: Case, method: str, seconds: float
) -> dict[str, float | str]:
    """Return one row."""
    plain = session.encode_identity(case.pictures, masks=case.masks)
    scenes = draw_examples(session.components, plain, [0], count=NUM_SCENES, seed=TEST_SEED)
    judge = Judge(session, scenes, benchmark)
    identity, steps = plain, 0
    if method != ENCODER:
        identity, steps = tuned(session, plain, method, seconds)
    row: dict[str, float | str] = {"case": case.name, "method": method, "seconds": seconds}
    row |= {"pictures": len(case.pictures), "steps": steps}
    return row | judge.figures(case, identity) | {"mib": len(identity_bytes(identity)) / MIB}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the mean of each figure by method and seconds, and of the gain over the encoder."""
    before = {(row["case"], row["pictures"]): row for row in rows if row["method"] == ENCODER}
    titles = ("method", "s", "subjects", "steps", "subject, dB", "gain, dB", "truth, dB")
    table = Table(*titles, "around, dB", "file, MiB")
    for method, seconds in dict.fromkeys((row["method"], row["seconds"]) for row in rows):
        own = [row for row in rows if (row["method"], row["seconds"]) == (method, seconds)]
        gains = [
            row["subject"] - before[row["case"], row["pictures"]]["subject"]
            for row in own
            if (row["case"], row["pictures"]) in before
        ]
        truths = [row["truth"] for row in own if "truth" in row]
        table.add_row(
            *(method, f"{seconds:g}", str(len(own)), f"{fmean(row['steps'] for row in own):.0f}"),
            format_interval(interval([row["subject"] for row in own]), unit="dB"),
            format_interval(interval(gains), unit="dB") if gains else "",
            format_interval(interval(truths), unit="dB") if truths else "",
            f"{fmean(row['around'] for row in own):.1f}",
            f"{fmean(row['mib'] for row in own):.1f}",
        )
    Console().print(table)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=2, help="held-out ones of the world")
    parser.add_argument("--photos", type=Path, help="a folder with a folder for each subject")
    parser.add_argument("--names", default="", help="folders among those, with commas between")
    parser.add_argument("--pictures", type=int, default=1, help="of each photographed subject")
    parser.add_argument("--methods", default="tokens,lora", help="with commas between, or all")
    parser.add_argument("--seconds", default="30", help="of the processor, with commas between")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures: 128 or 256")
    parser.add_argument("--data", type=Path, help="the pack of subjects, if it is elsewhere")
    parser.add_argument("--out", type=Path, default=Path("tuning.jsonl"), help="the rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = METHODS.names() if options.methods == "all" else options.methods.split(",")
    runs = [(one, float(s)) for one in methods for s in options.seconds.split(",")]
    lines = options.out.read_text().splitlines() if options.out.is_file() else []
    rows = [json.loads(line) for line in lines]
    known = {(row["case"], row["method"], row["seconds"], row["pictures"]) for row in rows}
    try:
        session = swiftpie.load("mini", size_px=options.size)
        subjects = load_subjects(options.data or default_pack())
        benchmark = WorldBenchmark(subjects, size_px=options.size)
        cases = list(held_out(benchmark, options.subjects))
        if options.photos is not None:
            names = [name for name in options.names.split(",") if name]
            cases += photographed(options.photos, names, options.pictures)
        wanted = [(case, *run) for case in cases for run in [(ENCODER, 0.0), *runs]]
        for case, method, seconds in track(wanted, "measuring"):
            if (case.name, method, seconds, len(case.pictures)) in known:
                continue
            rows.append(measure(session, benchmark, case, method, seconds))
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    except SwiftPieError as error:
        sys.exit(str(error))
    show(rows)


if __name__ == "__main__":
    main()
