"""Tells how quick the embedded model is by each engine, and what engines change about pictures.

Run `python -m benchmarks.mini_speed` in the folder of the repository, on a machine that does
nothing else. Engines take turns in one process, so ratios hold where times do not. In its turn each
is called twice and the second call counts, as in a process that has one engine: its weights are in
the processor's cache, and no thread of another engine is still awake. Graphs are compiled and
exported anew, into a temporary folder.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from benchmarks._machine import (
    DIGITS,
    EAGER,
    TOGETHER,
    Action,
    Ratio,
    Round,
    Row,
    Spread,
    interleaved,
    machine,
    ratio,
    row,
    spread,
    tell,
    timed,
    usable_cores,
    with_engine,
    write_report,
)
from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie.types import Identity
from swiftpie_lab.data.subjects import load_subjects, sample_subjects
from swiftpie_lab.evaluation.benchmarks.world import (
    WorldBenchmark,
    WorldCase,
    WorldKind,
    expected_of,
    read_by,
)
from swiftpie_lab.evaluation.case import METRICS, Evidence
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.pixels import psnr

ENGINES = "compile,openvino,openvino-int8"
WARM_UPS = 3  # rounds before those that count; allocators and caches settle
NUM_SPEED_CASES = 7  # subjects and prompts that timed calls take in turns
EDITS = {"edit": "at night", "second_edit": "in the rain"}  # of one picture, in daylight
JUDGED = ("setting-accuracy", "subject-recognition")


@dataclass(frozen=True, eq=False)
class Material:
    """Subjects, prompts and pictures."""

    benchmark: WorldBenchmark
    cases: Sequence[WorldCase]

    def picture(self, case: WorldCase) -> tuple[Image.Image, Image.Image]:
        """Return a reference and its mask, as a user would give them."""
        answer = self.benchmark.answer(case)
        return to_pil(answer.reference)[0], mask_to_pil(answer.reference_mask)[0]

    @cached_property
    def shown(self) -> list[Image.Image]:
        """A picture of each case that is timed, to be edited."""
        return [self.benchmark.known(case)["truth"] for case in self.cases[:NUM_SPEED_CASES]]


@dataclass(frozen=True, eq=False)
class Contender:
    """One engine, with the identities that it is given from the cache."""

    components: Components
    material: Material
    identities: Sequence[Identity]  # of the first cases

    @classmethod
    def of(cls, components: Components, material: Material) -> "Contender":
        """Encode the subjects that calls take in turns."""
        session = Session(components)
        pictures = [material.picture(case) for case in material.cases[:NUM_SPEED_CASES]]
        identities = [session.encode_identity(picture, masks=mask) for picture, mask in pictures]
        return cls(components, material, identities)

    def personalize(self, number: int) -> Round:
        """Draw one picture of a known subject, with a prompt that was not encoded before."""
        session = Session(self.components)  # a fresh one has encoded no prompt yet
        case = self.material.cases[number % NUM_SPEED_CASES]
        side = self.components.preset.image_size_px
        sample, _ = timed(
            lambda: session.personalize(
                self.identities[number % len(self.identities)],
                case.prompt,
                seed=case.seed + number,
                size=(side, side),
            ),
            self.components.device,
        )
        return {"personalize": sample}

    def edit(self, number: int) -> Round:
        """Edit a picture that was never seen, and the same once more with another prompt."""
        picture = self.material.shown[number % len(self.material.shown)]
        session, found = Session(self.components), {}
        for operation, prompt in EDITS.items():
            change = partial(session.edit, picture, prompt)
            found[operation], _ = timed(change, self.components.device)
        return found


@dataclass(frozen=True)
class Fidelity:
    """How pictures of one engine compare with those of plain PyTorch, case by case."""

    engine: str
    num_cases: int
    psnr_db: Spread | None  # against plain float32; None for that itself
    judged: Mapping[str, float]  # by metric, shares in [0, 1]
    changed_verdicts: Mapping[str, int]  # by metric, cases that plain float32 was judged other in


@dataclass(frozen=True, eq=False)
class _Judged:
    picture: Tensor  # (1, 3, H, W) in [-1, 1], through 8 bits
    verdicts: Mapping[str, float]


def compare_pictures(
    engines: Mapping[str, Components], material: Material, num_cases: int
) -> list[Fidelity]:
    """Draw the first cases of `material` by every engine; each encodes the subjects itself."""
    benchmark = material.benchmark
    networks = Networks(panel=benchmark.panel())
    judged = {}
    for engine, components in engines.items():
        tell(f"judging {num_cases} pictures of {engine}")
        session = Session(components)
        judged[engine] = [
            _judge(session, material, case, networks) for case in material.cases[:num_cases]
        ]
    return [_summary(engine, judged[engine], judged[EAGER]) for engine in engines]


@torch.no_grad()
def _judge(session: Session, material: Material, case: WorldCase, networks: Networks) -> _Judged:
    reference, cover = material.picture(case)
    identity = session.encode_identity(reference, masks=cover)
    answer = material.benchmark.answer(case)
    size = (session.components.preset.image_size_px,) * 2
    drawn = session.personalize(identity, case.prompt, seed=case.seed, size=size)
    picture = to_tensor(drawn.images[0])
    truth, cut_out = answer.rendering, (answer.reference + 1) / 2 * answer.reference_mask
    shown = torch.cat([cut_out, answer.reference_mask], dim=1)
    expected = expected_of(case, truth.mask, case.code)
    evidence = Evidence(
        picture=picture,
        truth=truth.pixels,
        mask=truth.mask,
        expected=expected,
        reading=read_by(networks.panel, picture, expected, reference=shown),
        networks=networks,
    )
    verdicts = {name: METRICS.get(name).score(evidence) or 0.0 for name in JUDGED}
    return _Judged(picture, verdicts)


def _summary(engine: str, judged: Sequence[_Judged], plain: Sequence[_Judged]) -> Fidelity:
    pairs = list(zip(judged, plain, strict=True))
    distances = [psnr(drawing.picture, other.picture) for drawing, other in pairs]
    return Fidelity(
        engine,
        num_cases=len(judged),
        psnr_db=None if engine == EAGER else spread(distances),
        judged={
            name: round(sum(drawing.verdicts[name] for drawing in judged) / len(judged), DIGITS)
            for name in JUDGED
        },
        changed_verdicts={
            name: sum(drawing.verdicts[name] != other.verdicts[name] for drawing, other in pairs)
            for name in JUDGED
        },
    )


class Measured(NamedTuple):
    """Rows of several contenders, and ratios of each to the plain one."""

    rows: list[Row]
    ratios: list[Ratio]


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:  # where graphs are kept; children see it too
        os.environ |= {
            "SWIFTPIE_HOME": str(Path(folder) / "swiftpie"),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "inductor"),
        }
        write_report(measure(options))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of PyTorch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15, help="calls of each kind that count")
    parser.add_argument("--engines", help=f"joined by commas, {TOGETHER} combines; or none")
    parser.add_argument("--cases", type=int, default=96, help="pictures that judges see; 0: none")
    parser.add_argument("--data", type=Path, help="pack of subjects; else the package's samples")
    options = parser.parse_args()
    if options.engines is None:
        options.engines = "compile" if options.device.startswith("cuda") else ENGINES
    return options


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return everything that is reported."""
    components = load_components(PRESETS.get("mini"), device=options.device)
    material = material_of(options)
    facts: dict[str, object] = {"machine": machine(components.device), "settings": vars(options)}
    names = [EAGER, *filter(None, options.engines.split(","))]
    engines = {name: with_engine(components, name) for name in names}
    contenders = {name: Contender.of(engine, material) for name, engine in engines.items()}
    kinds = {
        "personalize": {name: contender.personalize for name, contender in contenders.items()},
        "edit": {name: contender.edit for name, contender in contenders.items()},
    }
    found = [take_turns(kinds[kind], kind, rounds=options.repeats) for kind in kinds]
    facts["rows"] = [each for measured in found for each in measured.rows]
    facts["ratios"] = [each for measured in found for each in measured.ratios]
    if options.cases:
        facts["pictures"] = compare_pictures(engines, material, options.cases)
    return facts


def material_of(options: argparse.Namespace) -> Material:
    """Return what is drawn: the first cases are timed, all of them judged."""
    subjects = sample_subjects() if options.data is None else load_subjects(options.data)
    benchmark = WorldBenchmark(subjects)
    dealt = benchmark.cases(max(options.cases, NUM_SPEED_CASES))
    return Material(benchmark, [case for case in dealt if case.kind is WorldKind.PLAIN])


def take_turns(actions: Mapping[str, Action], title: str, *, rounds: int) -> Measured:
    """Return rows and ratios of contenders that were called in turns."""
    firsts = {name: first_call(name, action, title) for name, action in actions.items()}
    warm = {name: warmed(action) for name, action in actions.items()}
    interleaved(warm, rounds=min(WARM_UPS, rounds))
    found = interleaved(warm, rounds=rounds, tell=lambda line: tell(f"{title}, {line}"))
    rows = [
        row(name, operation, found[name], first=firsts[name])
        for name in actions
        for operation in firsts[name]
    ]
    for measured in rows:
        tell(f"{title}, {measured.operation} by {measured.contender}: {measured.ms.median} ms")
    ratios = [
        ratio(found, slower=(EAGER, operation), quicker=(name, operation))
        for name in actions
        if name != EAGER
        for operation in firsts[name]
    ]
    return Measured(rows, ratios)


def warmed(action: Action) -> Action:
    """Return `action` after a call of it that does not count."""

    def second(number: int) -> Round:
        action(number)
        return action(number)

    return second


def first_call(name: str, action: Action, title: str) -> Round:
    """Return the times of a first call."""
    tell(f"{title}, first call of {name}")
    return action(0)


if __name__ == "__main__":
    main()
