"""Other programs in SwiftPie's place, under `swiftpie evaluate`: who draws, and what is refused."""

from pathlib import Path
from typing import TYPE_CHECKING

from swiftpie.backbones.choices import LoadOptions, device_of
from swiftpie.backbones.machine import AUTO
from swiftpie.errors import ConfigError
from swiftpie.pipelines.drawing.settings import IdentityGuidance
from swiftpie_lab.cli.evaluate_options import RivalFiles
from swiftpie_lab.cli.evaluate_parts import refuse_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from swiftpie_lab.evaluation.contest import Ability, OpenBenchmark, Painter, RivalDrawer
    from swiftpie_lab.evaluation.run import C, CaseDrawer

RESULTS_HEED = frozenset({"size_px", "device", "allow_pickle", "offline", "yes"})
PIPELINES_HEED = RESULTS_HEED | {"adapter", "image_encoder"}


def drawer_of(
    benchmark: "OpenBenchmark[C]",
    cases: "Sequence[C]",
    rivals: RivalFiles,
    loading: LoadOptions,
    own: "Callable[[], CaseDrawer[C]]",
    *,
    needs: "Collection[Ability] | None" = None,
) -> "CaseDrawer[C]":
    """Return who draws `cases`: another program if the user names one, or else SwiftPie.

    Args:
        benchmark: What the cases are from.
        cases: All of them.
        rivals: What the user said of other programs.
        loading: What the user said about loading.
        own: Loads SwiftPie's own drawer.
        needs: What a pipeline has to do; by default what the benchmark says.

    Raises:
        CapabilityError: A pipeline does something else.
        ConfigError: Something was chosen that the other program does not heed.
    """
    if others_draw(rivals):
        return rival_drawer(benchmark, cases, rivals, loading, needs=needs)
    return own()


def rival_drawer(
    benchmark: "OpenBenchmark[C]",
    cases: "Sequence[C]",
    rivals: RivalFiles,
    loading: LoadOptions,
    *,
    needs: "Collection[Ability] | None" = None,
) -> "RivalDrawer[C]":
    """Return the other program that draws `cases`; see `drawer_of`."""
    from swiftpie_lab.evaluation.contest import RivalDrawer

    painter = open_painter(
        rivals,
        loading,
        names=tuple(map(benchmark.finished_name, cases)),
        needs=needs or (benchmark.needs,),
        shows_subject=benchmark.shows_subject,
    )
    return RivalDrawer(benchmark, painter)


def open_painter(
    rivals: RivalFiles,
    loading: LoadOptions,
    *,
    names: tuple[str, ...],
    needs: "Collection[Ability]",
    shows_subject: bool = True,
) -> "Painter":
    """Return the program that draws in SwiftPie's place, which the user names.

    `names` are those of finished pictures; see `drawer_of` for the others.

    Raises:
        CapabilityError: A pipeline does something else.
        ConfigError: Something was chosen that the other program does not heed.
    """
    from swiftpie_lab.evaluation.contest import FinishedPictures

    if "results" in rivals:
        given = {f"--{_spelled(name)}": name != "results" for name in rivals}
        given |= {f"--{_spelled(name)}": name not in RESULTS_HEED for name in loading}
        refuse_beside("--results", given)
        return FinishedPictures(rivals["results"], names)
    refuse_beside(
        "--pipeline", {f"--{_spelled(name)}": name not in PIPELINES_HEED for name in loading}
    )
    if "adapter" in loading and not shows_subject:
        raise ConfigError(
            "--adapter came with a benchmark that shows other programs no picture of the subject. "
            "Leave it out."
        )
    return _open_pipeline(rivals, loading, needs)


def _open_pipeline(
    rivals: RivalFiles, loading: LoadOptions, needs: "Collection[Ability]"
) -> "Painter":
    from swiftpie_lab.evaluation.rivals import load_rival

    adapter, encoder = loading.get("adapter"), loading.get("image_encoder")
    return load_rival(
        rivals["pipeline"],
        adapter=None if adapter is None else Path(adapter),
        image_encoder=None if encoder is None else Path(encoder),
        adapter_scale=rivals.get("pipeline_adapter_scale"),
        keywords={
            "num_inference_steps": rivals.get("pipeline_steps"),
            "guidance_scale": rivals.get("pipeline_guidance"),
            "strength": rivals.get("pipeline_strength"),
        },
        needs=needs,
        device=device_of(loading.get("device", AUTO)),
        allow_pickle=loading.get("allow_pickle", False),
    )


def others_draw(rivals: RivalFiles) -> bool:
    """Whether the user names another program.

    Raises:
        ConfigError: Something was chosen of a pipeline that is not named.
    """
    if rivals and "pipeline" not in rivals and "results" not in rivals:
        raise ConfigError(f"--{_spelled(next(iter(rivals)))} came without --pipeline. Give that.")
    return bool(rivals)


def named(rivals: RivalFiles) -> str:
    """Return the option that names the other program."""
    return "--results" if "results" in rivals else "--pipeline"


def check_drawn_by_others(rivals: RivalFiles, **choices: object) -> None:
    """Refuse choices about SwiftPie's own drawing where another program draws.

    Raises:
        ConfigError: One of them was made.
    """
    if others_draw(rivals):
        chosen = {
            f"--{_spelled(name)}": choice not in {None, False, IdentityGuidance.PLAIN}
            for name, choice in choices.items()
        }
        refuse_beside(named(rivals), chosen)


def _spelled(name: str) -> str:
    return {"size_px": "size"}.get(name, name).replace("_", "-")
