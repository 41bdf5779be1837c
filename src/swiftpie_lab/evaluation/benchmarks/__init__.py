"""Benchmarks: a module each, which says what to draw and what the right answer looks like."""

from typing import TYPE_CHECKING

from swiftpie.registry import Registry

if TYPE_CHECKING:
    from swiftpie_lab.evaluation.command import BenchmarkCommand

BENCHMARKS: "Registry[BenchmarkCommand]" = Registry(
    package="swiftpie_lab.evaluation.benchmarks",
    attribute="BENCHMARK",
    entry_point_group="swiftpie.benchmarks",
)
