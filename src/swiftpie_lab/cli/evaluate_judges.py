"""Commands under `swiftpie evaluate` that tell how far its judges can be trusted."""

from pathlib import Path

import typer

from swiftpie.apps.cli.console import examples
from swiftpie.apps.cli.options import AsJson, DataPath
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate copies", "swiftpie evaluate copies --subjects 12 --out out/few --json"
    )
)
def copies(
    *,
    context: typer.Context,
    data: DataPath = None,
    subjects: given.NumSprites = 70,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-copies"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge the detector of copies: pastes that it finds, and new poses that it takes for one.

    Held-out sprites are pasted in other places, turns, sizes and light, and rendered exactly in
    views from everywhere. No model draws.
    """
    from swiftpie_lab.evaluation.benchmarks.copies import CopyBenchmark, CopyDrawer
    from swiftpie_lab.evaluation.judges import Networks

    benchmark = CopyBenchmark(parts.open_pack(data), seed=seed)
    dealt, drawer = benchmark.cases(subjects), CopyDrawer(benchmark)
    networks = Networks()
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


@app.command(
    epilog=examples(
        "swiftpie evaluate graded", "swiftpie evaluate graded --subjects 5 --out out/few --json"
    )
)
def graded(
    *,
    context: typer.Context,
    data: DataPath = None,
    subjects: given.NumSprites = 25,
    seed: given.Seed = 0,
    out: given.Out = Path("out/evaluate-graded"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Judge scores of likeness by renderings whose true order is known.

    Each held-out sprite is rendered as it is, recoloured, mixed with its sibling in growing shares,
    as the sibling, and as another subject, each in another scene. Kendall's tau says how well the
    masked and the unmasked score of the package's own judge put them in order. No model draws.
    """
    from swiftpie_lab.evaluation.benchmarks.graded import GradedBenchmark, GradedDrawer
    from swiftpie_lab.evaluation.judges import Networks, SubjectJudge, shipped_embedder

    benchmark = GradedBenchmark(parts.open_pack(data), seed=seed)
    dealt, drawer = benchmark.cases(subjects), GradedDrawer(benchmark)
    networks = Networks(subjects=SubjectJudge(shipped_embedder()))
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )
