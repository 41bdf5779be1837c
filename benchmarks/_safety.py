"""What an engine changes about pictures: their distance from plain ones, and what judges see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks._mini import EAGER, Material
from benchmarks._timing import DIGITS, Spread, Tell, spread
from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.evaluation.case import Case
from swiftpie.evaluation.judges import Panel, load_panel
from swiftpie.evaluation.metric import METRICS, Evidence
from swiftpie.evaluation.regions import psnr
from swiftpie.images import to_tensor

JUDGED = ("scene-accuracy", "subject-retrieval")


@dataclass(frozen=True)
class Safety:
    """How pictures of one engine do beside those of plain PyTorch, case by case."""

    engine: str
    num_cases: int
    psnr_db: Spread | None  # against plain float32; None for that itself
    judged: Mapping[str, float]  # by metric, shares in [0, 1]
    changed_verdicts: Mapping[str, int]  # by metric, cases that plain float32 was judged other in


@dataclass(frozen=True, eq=False)
class _Seen:
    picture: Tensor  # (1, 3, H, W) in [-1, 1], through 8 bits
    verdicts: Mapping[str, float]


def compare(
    engines: Mapping[str, Components],
    material: Material,
    num_cases: int,
    *,
    tell: Tell = lambda _: None,
) -> list[Safety]:
    """Draw the first cases of `material` by every engine; each encodes the subjects itself."""
    benchmark = material.benchmark
    panel = load_panel(benchmark.codes, *benchmark.gallery())
    seen = {}
    for engine, components in engines.items():
        tell(f"judging {num_cases} pictures of {engine}")
        session = Session(components)
        seen[engine] = [_see(session, material, case, panel) for case in material.cases[:num_cases]]
    return [_summary(engine, seen[engine], seen[EAGER]) for engine in engines]


@torch.no_grad()
def _see(session: Session, material: Material, case: Case, panel: Panel) -> _Seen:
    reference, cover = material.picture(case)
    identity = session.encode_identity(reference, masks=cover)
    picture = to_tensor(session.personalize(identity, case.prompt, seed=case.seed).images[0])
    truth = material.benchmark.truth(case)
    evidence = Evidence(
        case,
        case.code,
        picture,
        truth.pixels,
        mask=truth.mask,
        found=None,
        panel=panel,
    )
    verdicts = {name: METRICS.get(name).score(evidence) or 0.0 for name in JUDGED}
    return _Seen(picture, verdicts)


def _summary(engine: str, seen: Sequence[_Seen], plain: Sequence[_Seen]) -> Safety:
    pairs = list(zip(seen, plain, strict=True))
    everywhere = torch.ones_like(seen[0].picture[:, :1])
    distances = [psnr(one.picture, other.picture, everywhere) for one, other in pairs]
    return Safety(
        engine,
        num_cases=len(seen),
        psnr_db=None if engine == EAGER else spread(distances),
        judged={
            name: round(sum(one.verdicts[name] for one in seen) / len(seen), DIGITS)
            for name in JUDGED
        },
        changed_verdicts={
            name: sum(one.verdicts[name] != other.verdicts[name] for one, other in pairs)
            for name in JUDGED
        },
    )
