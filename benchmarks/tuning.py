"""What tuning of a subject gains over the encoder alone, by seconds.

Run `python -m benchmarks.tuning`, with `--photos DIR` for photographs in a folder a subject. Each
row is written to the folder `--out` when it is measured, with the tuned identity, and the same
command goes on after an interruption. `--pairs N` then draws two of the tuned subjects in one
picture. `--looks N` alone tunes N photographed subjects and saves pictures without and with it.

Seconds are those of the processor in this process, with one thread. *Own* is the PSNR over the
subject, in scenes that tuning has not seen, to the subject's own picture, placed and lit as the
model places and lights it, with the model's own coarse shading: it needs no right answer, so it
serves photographs, too. *Truth* is the PSNR to the renderer's picture of a held-out subject, drawn
where the model places it. Of tuned subjects both are gains over the encoder alone. Pictures of
other subjects do not change at all, which tests show.
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from PIL import Image
from rich.progress import track

import swiftpie
from benchmarks._machine import peak_memory_mib
from benchmarks.best_of import NOUNS
from swiftpie.engine.session import Session
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.images import contact_sheet, plane, to_tensor
from swiftpie.masks import load_mask
from swiftpie.pipelines import denoise
from swiftpie.pipelines.choose import Clock
from swiftpie.pipelines.identity_file import load_identity, save_identity
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import MaskSource, TuneSettings
from swiftpie.pipelines.techniques.personalize import prepare_subjects
from swiftpie.pipelines.tuning import (
    CHECK_EVERY,
    Example,
    TuneEvent,
    clean_latents,
    draw_examples,
    subject_psnr,
)
from swiftpie.types import Identity
from swiftpie_lab.cli.evaluate import tell
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.photographs import photos_in
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind, draw_own
from swiftpie_lab.evaluation.bounds import SUBJECT_MASKS
from swiftpie_lab.evaluation.judges import Panel
from swiftpie_lab.evaluation.metrics.pixels import psnr
from swiftpie_lab.evaluation.report import Table as ReportTable
from swiftpie_lab.evaluation.report import format_interval, interval

TEST_SEED, NUM_SCENES = 2**26, 3  # of the scenes that show the subject's own picture
ANSWERS = 2  # rendered scenes in which each held-out subject is judged
NOUN = "toy"  # for its name, which may hold a colour, and a prompt's colours are obeyed

LOOK_SEED, LOOK_STEPS, DRAWN_SEED = 83, 80, 5
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "photographed": ("a {} on a beach", {}),
    "words": ("a {} on a beach", {"scene": WORDS_ALONE}),
    "drawn": ("a {} in a kitchen", {}),
    "turned": ("a {} on a beach", {"view": (35.0, 10.0)}),
    "painted": ("a watercolour of a {} on a beach", {}),
}

MOST_STEPS = 5000
ENCODER = "encoder alone"
TUNED = "tokens"  # as rows of earlier runs call it
Row = dict[str, Any]


class Kind(StrEnum):
    """Which subjects."""

    WORST = "worst"  # those that the encoder alone draws worst, by a scene that is not judged
    PHOTO = "photo"


class Case(NamedTuple):
    """One subject: its pictures, and the rendered scenes in which it is judged."""

    kind: Kind
    name: str
    pictures: list[Image.Image | Path]
    masks: list[Image.Image] | None
    answers: list[WorldCase]


def prompt_of(case: WorldCase) -> str:
    """Return the prompt of a case without the name of its subject."""
    return case.prompt.replace(case.subject, NOUN)


@dataclass(frozen=True, eq=False)
class Judge:
    """A model, and all that its pictures are compared with."""

    session: Session
    benchmark: WorldBenchmark
    panel: Panel

    def held_out(self) -> list[list[WorldCase]]:
        """Return a scene to choose subjects by and those to judge, of every held-out subject."""
        count = (1 + ANSWERS) * len(self.benchmark.world.pool)
        by_code: defaultdict[str, list[WorldCase]] = defaultdict(list)
        for case in self.benchmark.deal(WorldKind.PLAIN, count):
            by_code[case.code].append(case)
        return list(by_code.values())

    def encode(self, case: Case) -> Identity:
        """Return the subject without tuning."""
        return self.session.encode_identity(case.pictures, masks=case.masks)

    def subject_of(self, cases: Sequence[WorldCase]) -> Case:
        """Return a held-out subject with a picture of it."""
        known = self.benchmark.known(cases[0])
        masks = [known["reference-mask"]]
        return Case(Kind.WORST, cases[0].subject, [known["reference"]], masks, list(cases[1:]))

    def scenes(self, identity: Identity) -> list[Example]:
        """Return scenes that tuning does not see, with the subject's own first picture."""
        return draw_examples(
            self.session.components, identity, [0], count=NUM_SCENES, seed=TEST_SEED
        )

    @torch.no_grad()
    def measured(
        self, case: Case, identity: Identity, scenes: Sequence[Example]
    ) -> dict[str, float]:
        """Return what is measured of one identity, means over scenes."""
        components = self.session.components
        figures: defaultdict[str, list[float]] = defaultdict(list)
        for scene in scenes:
            latents = clean_latents(components, scene, identity)
            pixels = components.autoencoder.decode(latents).clamp(-1, 1)
            figures["own"].append(subject_psnr(pixels, scene))
        for answer in case.answers:
            truth = self.truth(answer, identity)
            figures["truth"] += [] if truth is None else [truth]
        return {name: fmean(values) for name, values in figures.items() if values}

    def truth(self, case: WorldCase, identity: Identity) -> float | None:
        """Return how near a picture is to the rendered answer, with the subject where it stands."""
        components = self.session.components
        request = PersonalizeRequest(
            subjects=(Subject(identity),),
            prompt=prompt_of(case),
            seeds=(case.seed,),
            scene=WORDS_ALONE,
        )
        drawing = prepare_subjects(components, request, Clock())
        pixels = denoise.decode(components, denoise.denoise(drawing).latents)
        (layout,) = drawing.layouts
        truth = self.benchmark.standing(case, layout)
        return psnr(pixels, truth.pixels, truth.mask) if bool(truth.mask.any()) else None

    def found_in_pair(self, case: WorldCase, pair: Sequence[Identity]) -> float:
        """Return the share of two subjects that are found where the picture has them."""
        subjects = [
            Subject(identity, box=box)
            for identity, box in zip(pair, self.benchmark.boxes(case), strict=True)
        ]
        options = {"scene": WORDS_ALONE, "mask": MaskSource.BOX}
        result = draw_own(self.session, subjects, case.prompt, seed=case.seed, **options)
        pixels, known = to_tensor(result.images[0]), self.benchmark.known(case)
        places = [load_mask(known[kind], result.images[0].size) for kind in SUBJECT_MASKS]
        seen = [self.panel.nearest(pixels, place) for place in places]
        return fmean(float(a == b) for a, b in zip(seen, case.codes, strict=True))


def photographed(folder: Path, number: int) -> Iterator[Case]:
    """Yield subjects of a folder that has a folder of photographs for each."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir())[:number]:
        shown: list[Image.Image | Path] = [*photos_in(path)[:1]]
        yield Case(Kind.PHOTO, path.name, shown, None, [])


class Mark(NamedTuple):
    """What there is of a tuning after some time."""

    mark: float  # requested seconds
    seconds: float  # that it took
    steps: int
    identity: Identity


class Rows:
    """What was measured, a line a row."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._path = folder, folder / "rows.jsonl"
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        self.all: list[Row] = [json.loads(line) for line in lines]

    def add(self, row: Row) -> None:
        """Keep a row at once."""
        self.all.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def has(self, **facts: object) -> bool:
        """Whether there is a row with these."""
        return any(all(row.get(name) == value for name, value in facts.items()) for row in self.all)


def tuned_at(
    session: Session, identity: Identity, settings: TuneSettings, marks: Sequence[float]
) -> Iterator[Mark]:
    """Yield what there is at the first look after each of the `marks`, each in a run of its own."""
    for mark in marks:
        began, steps = time.process_time(), 0

        def is_late(event: TuneEvent, mark: float = mark, began: float = began) -> bool:
            nonlocal steps
            steps = event.step
            is_look = not event.is_done and event.step and not event.step % CHECK_EVERY
            return bool(is_look) and time.process_time() - began >= mark

        tuned = session.tune(identity, settings, on_event=is_late)
        yield Mark(mark, time.process_time() - began, steps, tuned)


def measure(judge: Judge, rows: Rows, case: Case, marks: Sequence[float], *, seed: int) -> None:
    """Add all rows of one subject that are missing."""
    about: Row = {"kind": case.kind, "case": case.name}
    if case.answers:
        about["code"] = case.answers[0].code
    is_missing = bool(marks) and not rows.has(**about, method=TUNED, mark=max(marks))
    if not is_missing and rows.has(**about, method=ENCODER):
        return
    plain = judge.encode(case)
    scenes = judge.scenes(plain)

    def add(identity: Identity, method: str, **facts: float) -> None:
        path = rows.folder / f"{'-'.join(map(str, about.values()))}-{method}-{facts['mark']}.spid"
        save_identity(identity, path, force=True)
        row = about | {"method": method, "file": path.name}
        rows.add(row | facts | judge.measured(case, identity, scenes))

    if not rows.has(**about, method=ENCODER):
        add(plain, ENCODER, mark=0.0, seconds=0.0, steps=0)
    if is_missing:
        settings = TuneSettings(steps=MOST_STEPS, seed=seed)
        for mark, seconds, steps, found in tuned_at(judge.session, plain, settings, marks):
            memory = peak_memory_mib()
            if not rows.has(**about, method=TUNED, mark=mark):
                add(found, TUNED, mark=mark, seconds=seconds, steps=steps, memory=memory)


def worst_of(judge: Judge, rows: Rows, every: list[list[WorldCase]]) -> list[list[WorldCase]]:
    """Return all held-out subjects, those first that the encoder draws worst in their first scene.

    The ranking is kept with the rows.
    """
    path = rows.folder / "ranking.json"
    if not path.is_file():
        found = {}
        for cases in track(every, "ranking subjects"):
            plain = judge.encode(judge.subject_of(cases))
            truth = judge.truth(cases[0], plain)
            assert truth is not None, "a subject is seen in its own scene"
            found[cases[0].code] = truth
        path.write_text(json.dumps(found))
    truth = json.loads(path.read_text())
    return sorted(every, key=lambda cases: truth[cases[0].code])


def cases_of(options: argparse.Namespace, judge: Judge, rows: Rows) -> Iterator[Case]:
    """Yield all subjects."""
    for kind in [Kind(name) for name in options.kinds.split(",")]:
        if kind is Kind.PHOTO:
            yield from photographed(options.photos, options.cases)
        else:
            worst = worst_of(judge, rows, judge.held_out())
            yield from map(judge.subject_of, worst[: options.cases])


def draw_pairs(judge: Judge, rows: Rows, number: int) -> ReportTable:
    """Return how many of two tuned subjects in one picture are found in their places."""
    heads, lines = ["method", "s", "pairs", "found, %"], []
    tuned = [row for row in rows.all if "code" in row]
    for method, mark in dict.fromkeys((row["method"], row["mark"]) for row in tuned):
        own = [row for row in tuned if (row["method"], row["mark"]) == (method, mark)]
        files = {row["code"]: rows.folder / row["file"] for row in own}
        scores = [
            judge.found_in_pair(case, [read(judge.session, files[code]) for code in codes])
            for codes, case in pairs_of(judge.benchmark, list(files), number)
        ]
        if scores:
            found = format_interval(interval(scores), unit="%")
            lines.append([method, f"{mark:g}", str(len(scores)), found])
    return heads, lines


def read(session: Session, path: Path) -> Identity:
    """Return a tuned subject."""
    return load_identity(path, session.components)


def pairs_of(
    benchmark: WorldBenchmark, codes: Sequence[str], number: int
) -> Iterator[tuple[tuple[str, str], WorldCase]]:
    """Yield `number` pairs of subjects at most, each in a case of its own."""
    for pair, case in zip(
        combinations(codes, 2), benchmark.deal(WorldKind.PAIR, number), strict=False
    ):
        prompt = case.prompt.replace(case.subject, NOUN).replace(case.other_subject, NOUN)
        yield pair, replace(case, code=pair[0], other_code=pair[1], prompt=prompt)


def look(session: Session, photos: Path, number: int, out: Path) -> ReportTable:
    """Save pictures of subjects without and with tuning; return by how much pixels move, of 255."""
    names, lines = sorted(path.name for path in photos.iterdir() if path.is_dir()), []
    for name in random.Random(LOOK_SEED).sample(names, number):
        plain = session.encode_identity(photos_in(photos / name)[0])
        tuned = session.tune(plain, TuneSettings(steps=LOOK_STEPS))
        line, sheet = [name], []
        for prompt, options in LOOKS.values():
            said = prompt.format(NOUNS.get(name, name))
            drawn = [
                session.personalize(each, said, seed=DRAWN_SEED, **options)
                for each in (plain, tuned)
            ]
            before, after = (to_tensor(result.images[0]) for result in drawn)
            mask = plane(drawn[0].subject_masks[0])
            moved = ((after - before).abs().amax(1, keepdim=True) * mask).sum() / mask.sum()
            line.append(f"{float(moved) * 255 / 2:.1f}")
            sheet.append([result.images[0] for result in drawn])
        contact_sheet(sheet, cell_px=512).save(out / f"look-{name}.png")
        lines.append(line)
    return ["levels that move", *LOOKS], lines


COLUMNS = ("own", "truth")


def show(rows: Rows) -> ReportTable:
    """Return means by kind, method and seconds; of tuned subjects the gain over the encoder."""
    heads = ["subjects, method, seconds", "number", "steps", *(f"{name}, dB" for name in COLUMNS)]
    keys = ("kind", "method", "mark")
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in rows.all):
        own = [row for row in rows.all if tuple(row[name] for name in keys) == key]
        seconds = f"{fmean(row['seconds'] for row in own):.0f}"
        line = [", ".join([str(key[0]), str(key[1]), seconds]), str(len(own))]
        line.append(f"{fmean(row['steps'] for row in own):.0f}")
        for name in COLUMNS:
            values = _gains(rows, own, name)
            line.append(format_interval(interval(values), unit="dB") if values else "")
        lines.append([*line, f"{max(row.get('memory', 0) for row in own):.0f}"])
    return [*heads, "memory, MiB"], lines


def _gains(rows: Rows, own: Sequence[Row], name: str) -> list[float]:
    """Return what each subject has, and tuned ones how much more than without."""
    if own[0]["method"] == ENCODER:
        return [row[name] for row in own if name in row]
    keys = ("kind", "case")
    before = {tuple(row[key] for key in keys): row for row in rows.all if row["method"] == ENCODER}
    pairs = [(row, before[tuple(row[key] for key in keys)]) for row in own if name in row]
    return [row[name] - first[name] for row, first in pairs]


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2, help="subjects of each kind")
    parser.add_argument("--kinds", default="worst", help="worst, photo, with a comma between")
    parser.add_argument("--photos", type=Path, help="a folder with a folder for each subject")
    parser.add_argument("--seconds", default="10,30,60", help="of the processor; none to not tune")
    parser.add_argument("--pairs", type=int, default=0, help="pictures with two tuned subjects")
    parser.add_argument("--looks", type=int, default=0, help="subjects to look at, and no more")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures: 128 or 256")
    parser.add_argument("--out", type=Path, default=Path("out/tuning"), help="a folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    marks = [] if options.seconds == "none" else sorted(map(float, options.seconds.split(",")))
    try:
        session = swiftpie.load("mini", size_px=options.size)
        if options.looks:
            options.out.mkdir(parents=True, exist_ok=True)
            tell([], *look(session, options.photos, options.looks, options.out))
            return
        benchmark = WorldBenchmark(load_subjects(default_pack()), size_px=options.size)
        judge, rows = Judge(session, benchmark, benchmark.panel()), Rows(options.out)
        cases = list(cases_of(options, judge, rows))
        for number, case in enumerate(track(cases, "measuring")):
            measure(judge, rows, case, marks, seed=number)
        tell([], *show(rows))
        if options.pairs:
            tell([], *draw_pairs(judge, rows, options.pairs))
    except SwiftPieError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
