"""`swiftpie evaluate pairs`: two subjects a picture, beside the exact answer."""

from pathlib import Path
from typing import Annotated

import typer

from swiftpie.cli.console import examples
from swiftpie.cli.evaluate.running import Anew, Out, Seed, open_benchmark, run_benchmark
from swiftpie.cli.options import AsJson, DataPath, Device, PresetName, Steps, Weights, open_session

Cases = Annotated[
    int | None,
    typer.Option(
        "--cases",
        min=1,
        metavar="N",
        show_default=False,
        help="How many pictures to judge; by default every held-out subject on either side.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate pairs",
        "swiftpie evaluate pairs --cases 40 --out out/quick-pairs --json",
    )
)
def pairs(
    *,
    preset: PresetName = "mini",
    weights: Weights = None,
    steps: Steps = None,
    data: DataPath = None,
    cases: Cases = None,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/evaluate-pairs"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Judge a preset on two held-out subjects in one scene, each told its box.

    Besides what `stickers` measures, it counts how often one subject is taken for the other. An
    interrupted run goes on where it stopped.
    """
    from swiftpie.evaluation.benchmarks.pairs import PairBenchmark

    benchmark = PairBenchmark(open_benchmark(data, seed=seed).subjects, seed=seed)
    dealt = benchmark.cases(cases)
    session = open_session(preset, device=device, weights=weights, steps=steps).session
    run_benchmark(session, benchmark, dealt, out=out, as_json=as_json, force=force)
