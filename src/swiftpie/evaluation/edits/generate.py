"""From edit cases to pictures on disk; what is there already is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from swiftpie import __version__
from swiftpie.evaluation.edits.benchmark import EditBenchmark
from swiftpie.evaluation.edits.case import EditCase
from swiftpie.evaluation.edits.editor import Edited, Editor, Task
from swiftpie.evaluation.edits.folder import AGAIN, EditFolder, Named
from swiftpie.evaluation.folder import Run


def generate(
    editor: Editor,
    benchmark: EditBenchmark,
    cases: Sequence[EditCase],
    *,
    folder: EditFolder,
    baseline: Editor | None = None,
    force: bool = False,
) -> Iterator[EditCase]:
    """Draw every case that is not complete in `folder`; yield each when it is.

    Args:
        editor: What is under test.
        benchmark: Draws pictures before and after.
        cases: What to edit.
        folder: Where the pictures go, with a manifest at the end.
        baseline: Drawn beside it, as a bound.
        force: Forget what was drawn before.

    Raises:
        InputError: The folder holds pictures of another run.
    """
    run = run_of(editor, benchmark.name, data=benchmark.stickers.fingerprint, seed=benchmark.seed)
    folder.start(run, force=force)
    for case in cases:
        is_complete = folder.read_facts(case) is not None
        needs_baseline = baseline is not None and not folder.has(case, "naive")
        if not is_complete or needs_baseline:
            task = benchmark.task(case)
            if baseline is not None and needs_baseline:
                folder.write(case, "naive", baseline(task).image)
            if not is_complete:
                _write_known(folder, benchmark, case, task)
                write_edit(folder, case, editor(task))
        yield case
    folder.base.write_rows("manifest.jsonl", (asdict(case) for case in cases))


def run_of(editor: Editor, benchmark: str, *, data: str, seed: int) -> Run:
    """Return what all pictures of one evaluation have in common."""
    return Run(
        benchmark=benchmark,
        version=__version__,
        preset=editor.name,
        weights=editor.fingerprint,
        data=data,
        seed=seed,
        num_steps=editor.num_steps,
    )


def write_edit(folder: EditFolder, case: Named, edited: Edited) -> None:
    """Write what an editor returned; the facts come last, so that a case is whole or not there."""
    folder.write(case, "edit", edited.image)
    if edited.mask is not None:
        folder.write_mask(case, "edit-mask", edited.mask)
    again = (edited.reconstruction, edited.from_noise, edited.uncomposed)
    for kind, image in zip(AGAIN, again, strict=True):
        if image is not None:
            folder.write(case, kind, image)
    folder.write_facts(case, edited.timings_ms)


def _write_known(folder: EditFolder, benchmark: EditBenchmark, case: EditCase, task: Task) -> None:
    answer = benchmark.answer(case)
    assert task.target is not None, "rendered edits have an answer"
    folder.write(case, "source", task.source)
    folder.write(case, "target", task.target)
    folder.write_mask(case, "mask", answer.mask)
    folder.write_mask(case, "before-mask", answer.before)
    folder.write_mask(case, "kept-mask", answer.kept)
    folder.write_mask(case, "asked-mask", answer.asked)
    if task.reference is not None:
        folder.write(case, "reference", task.reference)
