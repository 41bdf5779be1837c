"""Whether each branch learns: its identity loss against that with the references swapped.

`python -m swiftpie_lab.training.stages.adapter.check RUN` judges the latest samples of a run. Its
exit code is 1 if a branch does not learn.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.adapters import REFERENCE_TIMESTEP
from swiftpie.models.vision import Feature
from swiftpie_lab.training.stages.adapter.networks import AdapterBase, AdapterNetworks
from swiftpie_lab.training.stages.adapter.student import (
    Chances,
    Examples,
    identity_cosine,
    no_drops,
    run_student,
)
from swiftpie_lab.training.state import LOG_FILE

NUM_ERRORS = 2  # standard errors that the difference has to exceed: chance does so in 2 of 100


class Branch(StrEnum):
    """A part of the adapter that reads references."""

    SEMANTIC = "semantic"
    DETAIL = "detail"


@torch.no_grad()
def identity_losses(
    base: AdapterBase, networks: AdapterNetworks, examples: Examples
) -> dict[Branch, Tensor]:
    """Return what `losses_of` does with own and with swapped references, (2, B) by branch."""
    pair = (examples, swap_references(examples))
    return {
        branch: torch.stack([_losses_of(branch, base, networks, shown) for shown in pair])
        for branch in Branch
    }


def _losses_of(
    branch: Branch, base: AdapterBase, networks: AdapterNetworks, examples: Examples
) -> Tensor:
    """Return one minus the cosine of drawn and true subjects (B,), drawn by one branch alone."""
    chances = _alone(branch, no_drops(len(examples.noise), read_at=REFERENCE_TIMESTEP))
    clean = run_student(base, networks, examples, chances).clean
    drawn = base.autoencoder.decode(clean).float().clamp(-1, 1)
    judge = base.reader(Feature.EMBEDS)
    return 1 - identity_cosine(judge, drawn, examples.pixels, mask=examples.mask).float()


def _alone(branch: Branch, chances: Chances) -> Chances:
    none = torch.zeros_like(chances.identity_scale)
    if branch is Branch.SEMANTIC:
        return replace(chances, detail_scale=none)
    return replace(chances, identity_scale=none)


def swap_references(examples: Examples) -> Examples:
    """Return `examples` with the references of others, of other names where the batch has any."""
    names = examples.names
    order = torch.tensor([_other(row, names) for row in range(len(names))])
    order = order.to(examples.reference.device)
    return examples._replace(
        reference=examples.reference[order], reference_mask=examples.reference_mask[order]
    )


def _other(row: int, names: list[str]) -> int:
    others = [(row + shift) % len(names) for shift in range(1, len(names))]
    return next((other for other in others if names[other] != names[row]), others[0])


def figures_of(losses: Mapping[Branch, Tensor]) -> dict[str, float]:
    """Return the figures that `verdicts` reads, from losses (2, N) by branch."""
    found: dict[str, float] = {}
    for branch, (own, swapped) in losses.items():
        gain = swapped - own
        found[f"{branch}_own"] = float(own.mean())
        found[f"{branch}_swapped"] = float(swapped.mean())
        found[f"{branch}_error"] = float(gain.std() / len(gain) ** 0.5)
    return found


class Verdict(NamedTuple):
    """What the figures say of one branch."""

    learns: bool
    sentence: str


def verdicts(figures: Mapping[str, float]) -> Iterator[Verdict]:
    """Say of each branch whether its own references serve it better than swapped ones."""
    for branch in Branch:
        own, swapped, error = (figures[f"{branch}_{name}"] for name in ("own", "swapped", "error"))
        learns = swapped - own > NUM_ERRORS * error
        does = "learns" if learns else "does not learn yet"
        yield Verdict(
            learns,
            f"The {branch} branch {does}: its identity loss is {own:.4f} with its own references "
            f"and {swapped:.4f} with swapped ones, {swapped - own:.4f} ± {error:.4f} more.",
        )


def latest_figures(run: Path) -> dict[str, float]:
    """Return the figures of the latest samples in the folder of a run.

    Raises:
        SystemExit: There are none yet.
    """
    log = run / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    rows: list[dict[str, float]] = [json.loads(line) for line in lines]
    judged = [row for row in rows if f"{Branch.DETAIL}_error" in row]
    if not judged:
        raise SystemExit(
            f"There are no samples of an adapter in '{log}'. Train until it draws some: "
            "`swiftpie train adapter --time-limit 10m`."
        )
    return judged[-1]


def main() -> None:
    """Print a sentence for each branch; exit with 1 unless all learn."""
    found = list(verdicts(latest_figures(Path(sys.argv[1]))))
    sys.stdout.write("".join(f"{verdict.sentence}\n" for verdict in found))
    sys.exit(not all(verdict.learns for verdict in found))


if __name__ == "__main__":
    main()
