"""`swiftpie evaluate stickers`: one subject a picture, beside the exact answer."""

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
        help="How many pictures to judge; by default every held-out subject in two scenes.",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Judge every held-out subject in every scene.")]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate stickers",
        "swiftpie evaluate stickers --cases 40 --out out/quick",
        "swiftpie evaluate stickers --steps 4 --out out/four-steps --json",
        "swiftpie evaluate stickers --weights runs/mini_one_step/export --out out/mine",
    )
)
def stickers(
    *,
    preset: PresetName = "mini",
    weights: Weights = None,
    steps: Steps = None,
    data: DataPath = None,
    cases: Cases = None,
    full: Full = False,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/evaluate-stickers"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Judge a preset on sticker scenes with subjects that it was not trained on.

    Each picture has an exact answer, drawn from the same noise. True renderings, pictures without
    the subject and naive pastes are judged beside the model's. As many cases more, up to 120, ask
    for one attribute each. An interrupted run goes on where it stopped.
    """
    benchmark = open_benchmark(data, seed=seed)
    wanted = _count(cases, full=full, all_pairs=benchmark.num_pairs())
    dealt = benchmark.cases(wanted) + benchmark.attributed_cases(wanted)
    session = open_session(preset, device=device, weights=weights, steps=steps).session
    run_benchmark(session, benchmark, dealt, out=out, as_json=as_json, force=force)


def _count(cases: int | None, *, full: bool, all_pairs: int) -> int | None:
    """Return how many cases to deal; None leaves it to the benchmark.

    Raises:
        ConfigError: Two numbers were asked for.
    """
    from swiftpie.errors import ConfigError

    if full and cases is not None:
        raise ConfigError("Both --full and --cases were given; only one can hold. Leave one out.")
    return all_pairs if full else cases
