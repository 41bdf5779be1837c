"""The same batches on Ray Data: its actors draw, and this process keeps the report."""

import json
from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

import torch

from swiftpie.batch.draw import Drawer, Work
from swiftpie.errors import SwiftPieError, require

if TYPE_CHECKING:
    from swiftpie.batch.folder import Outcome
    from swiftpie.batch.jobs import Batch
    from swiftpie.batch.run import Run

NUMBER, OUTCOMES, FAILURE = "number", "outcomes", "failure"  # columns of the data sets
MOST_BLOCKS = 1000  # which Ray hands out one by one; more cost it more than they balance


class Actor:
    """A process of Ray's that draws; the run's folders have to be where it is, too."""

    def __init__(self, work: Work, batches: "Sequence[Batch]", num_threads: int) -> None:
        """Get ready; nothing is loaded before the first batch."""
        torch.set_num_threads(num_threads)
        self._drawer, self._batches = Drawer(work), batches

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Draw the batch of a number; return its outcomes, or why the run cannot go on."""
        try:
            drawn = self._drawer.draw(self._batches[row[NUMBER]])
        except SwiftPieError as error:
            return {OUTCOMES: "[]", FAILURE: str(error)}
        return {OUTCOMES: json.dumps(drawn), FAILURE: ""}


def draw_by_actors(run: "Run", work: Work, stop: Event) -> "Iterator[Outcome]":
    """Draw what is left by so many actors; `swiftpie.batch.run.draw` reports what they yield."""
    require("ray.data", extra="ray", use="--ray")
    import ray.data

    if not run.batches:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{NUMBER: number} for number in range(len(run.batches))]
    drawn = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
        Actor,
        fn_constructor_args=(work, run.batches, run.num_threads),
        compute=ray.data.ActorPoolStrategy(size=min(run.processes, len(rows))),
    )
    for row in drawn.iter_rows():
        if row[FAILURE]:
            raise SwiftPieError(row[FAILURE])
        yield from json.loads(row[OUTCOMES])
        if stop.is_set():
            return
