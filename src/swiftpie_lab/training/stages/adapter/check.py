"""Whether each branch learns: its identity loss against that with the references swapped.

`python -m swiftpie_lab.training.stages.adapter.check RUN` judges the latest samples of a run. Its
exit code is 1 if a branch does not learn.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor

from swiftpie.backbones.load.ip_adapter import REFERENCE_TIMESTEP
from swiftpie.models.vision import Feature
from swiftpie_lab.training.stages.adapter.networks import AdapterBase, AdapterNetworks
from swiftpie_lab.training.stages.adapter.student import (
    Examples,
    identity_cosine,
    no_drops,
    run_student,
)
from swiftpie_lab.training.state import LOG_FILE

NUM_ERRORS = 2  # standard errors that the difference has to exceed: chance does so in 2 of 100
LEAST_GAIN = 1e-3  # share of a loss; what differs less differs by rounding


class TrainedBranch(StrEnum):
    """A part of the adapter that reads references."""

    SEMANTIC = "semantic"
    DETAIL = "detail"


@torch.no_grad()
def identity_losses(
    base: AdapterBase, networks: AdapterNetworks, examples: Examples
) -> dict[TrainedBranch, Tensor]:
    """Return what `losses_of` does with own and with swapped references, (2, B) by branch."""
    pair = (examples, swap_references(examples))
    return {
        branch: torch.stack([_losses_of(branch, base, networks, shown) for shown in pair])
        for branch in TrainedBranch
    }


def _losses_of(
    branch: TrainedBranch, base: AdapterBase, networks: AdapterNetworks, examples: Examples
) -> Tensor:
    """Return one minus the cosine of drawn and true subjects (B,), drawn by one branch alone."""
    none = torch.zeros(len(examples.noise), 1)
    chances = no_drops(len(none), read_at=REFERENCE_TIMESTEP)
    if branch is TrainedBranch.SEMANTIC:
        chances = replace(chances, detail_scale=none)
    else:
        chances = replace(chances, identity_scale=none)
    clean = run_student(base, networks, examples, chances).clean
    drawn = base.autoencoder.decode(clean).float().clamp(-1, 1)
    judge = base.reader(Feature.EMBEDS)
    return 1 - identity_cosine(judge, drawn, examples.pixels, mask=examples.mask).float()


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


def figures_of(losses: Mapping[TrainedBranch, Tensor]) -> dict[str, float]:
    """Return the figures that `verdicts` reads, from losses (2, N) by branch."""
    found: dict[str, float] = {}
    for branch, (own, swapped) in losses.items():
        gain = swapped - own
        found[f"{branch}_own"] = float(own.mean())
        found[f"{branch}_swapped"] = float(swapped.mean())
        found[f"{branch}_error"] = float(gain.std() / len(gain) ** 0.5)
    return found


def verdicts(figures: Mapping[str, float]) -> dict[str, bool]:
    """Return a sentence on each branch, and whether its own references serve it better."""
    found = {}
    for branch in TrainedBranch:
        own, swapped, error = (figures[f"{branch}_{name}"] for name in ("own", "swapped", "error"))
        learns = swapped - own > max(NUM_ERRORS * error, LEAST_GAIN * own)
        does = "learns" if learns else "does not learn yet"
        sentence = (
            f"The {branch} branch {does}: its identity loss is {own:.4f} with its own references "
            f"and {swapped:.4f} with swapped ones, {swapped - own:.4f} ± {error:.4f} more."
        )
        found[sentence] = learns
    return found


def main() -> None:
    """Print a sentence for each branch of the latest samples; exit with 1 unless all learn."""
    log = Path(sys.argv[1]) / LOG_FILE
    rows: list[dict[str, float]] = []
    if log.is_file():
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    judged = [row for row in rows if f"{TrainedBranch.DETAIL}_error" in row]
    if not judged:
        sys.exit(
            f"There are no samples of an adapter in '{log}'. Train until it draws some: "
            "`swiftpie train adapter --time-limit 10m`."
        )
    found = verdicts(judged[-1])
    sys.stdout.write("".join(f"{sentence}\n" for sentence in found))
    sys.exit(not all(found.values()))


if __name__ == "__main__":
    main()
