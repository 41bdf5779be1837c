"""EchoDistill of one subject for `mini`, in the seconds that a benchmark gives it."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from swiftpie.backbones.components import Components
from swiftpie.pipelines.identity_file import load_identity
from swiftpie.tuning.fit import CHECK_EVERY
from swiftpie.types import Identity
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.recipes.mini import mini_echo_distill
from swiftpie_lab.training.stages.subject.placed import (
    IDENTITY_FILE,
    PlacedSubjectConfig,
    placed_stage,
)
from swiftpie_lab.training.stages.subject.scenes import placed_base


class Mark(NamedTuple):
    """What there is of a tuning after some time."""

    mark: float  # seconds that were asked for
    seconds: float  # that it took
    steps: int
    identity: Identity


def echoed_at(
    student: Components,
    teacher: Components,
    identity: Identity,
    marks: Sequence[float],
    at: Path,
    *,
    seed: int,
) -> Iterator[Mark]:
    """Yield what there is at the first look after each of the `marks`, or at the end."""
    recipe, folder = mini_echo_distill(), at / "echo"
    assert isinstance(recipe.stage, PlacedSubjectConfig)
    loop = replace(recipe.loop, log_every=CHECK_EVERY, sample_every=CHECK_EVERY)
    began, spent, left = time.process_time(), 0.0, list(marks)
    settings = replace(recipe.stage, seed=seed)
    stage = placed_stage(placed_base(student, teacher, identity, settings))
    shutil.rmtree(folder, ignore_errors=True)
    for event in fit(stage, loop, folder):
        spent += time.process_time() - began
        while left and (spent >= left[0] or event.stopped):
            made = load_identity(folder / "export" / IDENTITY_FILE, student)
            yield Mark(left.pop(0), spent, event.step, made)
        began = time.process_time()
    shutil.rmtree(folder)
