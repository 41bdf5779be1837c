"""Interleaved rounds of several contenders, and what is said about the times that they took."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

T = TypeVar("T")

DIGITS = 3  # of milliseconds and ratios; clocks tell no more


@dataclass(frozen=True)
class Sample:
    """One call."""

    ms: float  # of the whole call, by the clock on the wall
    stages_ms: Mapping[str, float] = field(default_factory=dict)  # as the call itself tells


@dataclass(frozen=True)
class Spread:
    """The middle of several figures, and how far they lie apart."""

    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Row:
    """What one contender takes for one operation."""

    contender: str
    operation: str
    ms: Spread
    stages_ms: Mapping[str, float]  # medians
    first_call_ms: float  # with compiling, exporting or whatever else happens once


@dataclass(frozen=True)
class Ratio:
    """How many times quicker one contender is than another."""

    operation: str
    quicker: str
    slower: str
    slower_operation: str
    times: Spread  # of one round each


Round = Mapping[str, Sample]  # by operation
Action = Callable[[int], Round]  # takes the number of the round
Tell = Callable[[str], None]


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], T], device: torch.device) -> tuple[Sample, T]:
    """Return how long `work` took on `device`, with its own `timings_ms` if it has any."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    spent = (time.perf_counter() - started) * 1000
    return Sample(spent, getattr(result, "timings_ms", {})), result


def interleaved(
    contenders: Mapping[str, Action], *, rounds: int, tell: Tell = lambda _: None
) -> dict[str, list[Round]]:
    """Return the rounds of each contender; every round starts with another one of them.

    Whatever slows the machine down for a while so slows all of them down.
    """
    names = list(contenders)
    found: dict[str, list[Round]] = {name: [] for name in names}
    gc.collect()
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for name in rotated(names, number):
            found[name].append(contenders[name](number))
    return found


def rotated(names: Sequence[T], steps: int) -> list[T]:
    """Return `names` beginning with that at `steps`, in the same order around."""
    start = steps % len(names) if names else 0
    return [*names[start:], *names[:start]]


def spread(values: Sequence[float]) -> Spread:
    """Return median, quartiles and range of `values`, of which there is at least one."""
    ordered = sorted(values)
    lower, _, upper = (
        statistics.quantiles(ordered, n=4, method="inclusive")
        if len(ordered) > 1
        else [ordered[0]] * 3
    )
    return Spread(
        median=round(statistics.median(ordered), DIGITS),
        lower_quartile=round(lower, DIGITS),
        upper_quartile=round(upper, DIGITS),
        least=round(ordered[0], DIGITS),
        most=round(ordered[-1], DIGITS),
        count=len(ordered),
    )


def row(contender: str, operation: str, rounds: Sequence[Round], *, first: Round) -> Row:
    """Return what `rounds` say about one operation."""
    samples = [each[operation] for each in rounds]
    # Not every round needs every stage: one that it leaves out took no time.
    stages = dict.fromkeys(name for sample in samples for name in sample.stages_ms)
    return Row(
        contender,
        operation,
        ms=spread([sample.ms for sample in samples]),
        stages_ms={
            name: round(
                statistics.median(sample.stages_ms.get(name, 0.0) for sample in samples), DIGITS
            )
            for name in stages
        },
        first_call_ms=round(first[operation].ms, DIGITS),
    )


def ratio(
    found: Mapping[str, Sequence[Round]], *, slower: tuple[str, str], quicker: tuple[str, str]
) -> Ratio:
    """Compare two contenders of the same rounds, each given with its operation."""
    of_slower, of_quicker = (
        [each[operation].ms for each in found[name]] for name, operation in (slower, quicker)
    )
    return Ratio(
        operation=quicker[1],
        quicker=quicker[0],
        slower=slower[0],
        slower_operation=slower[1],
        times=spread([mine / other for mine, other in zip(of_slower, of_quicker, strict=True)]),
    )
