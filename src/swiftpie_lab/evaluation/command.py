"""What a benchmark is as a command, and what its options open: packs, models, networks, drawers."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic

from swiftpie.backbones.choices import LoadOptions, device_of
from swiftpie.backbones.machine import AUTO
from swiftpie.cli.loading import open_session, resolved
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError
from swiftpie.pipelines.settings import EditMethod, EditSettings, EditStart, IdentityGuidance
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation import editors, judges
from swiftpie_lab.evaluation.options import NetworkFiles, ProgramFiles
from swiftpie_lab.evaluation.programs import (
    Ability,
    FinishedPictures,
    OpenBenchmark,
    ProgramDrawer,
    load_pipeline,
)
from swiftpie_lab.evaluation.run import Benchmark, C, CaseDrawer
from swiftpie_lab.evaluation.study import Study
from swiftpie_world.subjects import Subjects

BOUNDS = frozenset({"target", "source"})  # editors that draw nothing by themselves
RESULTS_HEED = frozenset({"size_px", "device", "allow_pickle", "offline", "yes"})
PIPELINES_HEED = RESULTS_HEED | {"adapter", "image_encoder"}


@dataclass(frozen=True, eq=False)
class Trial(Generic[C]):
    """Cases of a benchmark, what draws them and what judges."""

    benchmark: Benchmark[C]
    cases: Sequence[C]
    drawer: CaseDrawer[C]
    networks: judges.Networks


@dataclass(frozen=True)
class BenchmarkCommand:
    """A benchmark under `swiftpie evaluate`, which its module is named after."""

    open: Callable[..., Trial[Any] | Study[Any]]  # its parameters are the command's options
    examples: tuple[str, ...]
    help: str = ""  # by default the docstring of `open`


def open_pack(data: Path | None) -> Subjects:
    """Return the pack of subjects at `data`, by default the one that was prepared."""
    return load_subjects(data or default_pack())


def open_model(loading: LoadOptions) -> Session:
    """Load a model that a command judges."""
    return open_session(**resolved(loading)[0]).session


def side_of(loading: LoadOptions, *, own_px: int | None = None) -> int:
    """Return the side of the pictures that will be drawn; `own_px` if no preset draws them."""
    if own_px is not None:
        return loading.get("size_px") or own_px
    _, preset = resolved(loading)
    return preset.sized(loading.get("size_px")).image_size_px


def open_networks(
    files: NetworkFiles, *, has_to_be_large: bool = False, allow_pickle: bool = False
) -> judges.Networks:
    """Read what users give to judge with."""
    clip = aesthetic = None
    if "clip" in files:
        clip = judges.load_clip(files["clip"], has_to_be_large=has_to_be_large)
        if "aesthetic" in files:
            path = files["aesthetic"]
            aesthetic = judges.load_aesthetic(path, width=clip.width, allow_pickle=allow_pickle)
    return judges.Networks(
        clip=clip,
        clip_small=judges.load_clip(files["clip_small"]) if "clip_small" in files else None,
        dino=judges.load_dino(files["dino"]) if "dino" in files else None,
        dino_small=(
            judges.load_dino(files["dino_small"], is_small=True) if "dino_small" in files else None
        ),
        dinov2=judges.load_dinov2(files["dinov2"]) if "dinov2" in files else None,
        siglip2=judges.load_siglip2(files["siglip2"]) if "siglip2" in files else None,
        lpips=judges.load_lpips(files["lpips"]) if "lpips" in files else None,
        aesthetic=aesthetic,
        image_reward=(
            judges.load_image_reward(files["image_reward"], allow_pickle=allow_pickle)
            if "image_reward" in files
            else None
        ),
        digests={
            f"{name}/{path.name}": _sha256(path)
            for name, place in files.items()
            for path in _weights_at(Path(str(place)))
        },
    )


def _weights_at(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return sorted([*place.glob("*.safetensors"), *place.glob("*.pt")])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_unused(
    editor: str, *, mask: str, settings: EditSettings, scales: Iterable[str] = ()
) -> None:
    """Refuse choices about edits where `editor` makes none of its own.

    Raises:
        ConfigError: One of them was made.
    """
    chosen = {
        "--mask": mask != "found",
        "--mode": settings.mode is not None,
        "--start": settings.start is not EditStart.MIXTURE,
        "--rule": settings.rule is not None,
        **{f"--{name.replace('_', '-')}": True for name in scales},
    }
    refuse_beside(editor, chosen)


def check_own_edits(
    programs: ProgramFiles,
    rules: EditSettings,
    *,
    editor: str,
    mask: str,
    scales: Mapping[str, float] = MappingProxyType({}),
    by_name: bool = False,
) -> None:
    """Refuse choices about SwiftPie's own edits where another program draws.

    Raises:
        ConfigError: One of them was made; a pipeline may get the true mask.
    """
    if others_draw(programs):
        is_masked = mask == "true" and "pipeline" in programs
        check_drawn_by_others(
            programs, editor=editor != "swiftedit", mask=mask != "found" and not is_masked
        )
        more = [*scales, *(["by_name"] if by_name else [])]
        check_unused(named(programs), mask="found", settings=rules, scales=more)


def needs_of(mask: str) -> tuple[Ability, ...]:
    """Return what pipelines have to do: with the true mask, to fill that."""
    return (Ability.FILL,) if mask == "true" else (Ability.CHANGE,)


def refuse_beside(option: str, chosen: Mapping[str, bool]) -> None:
    """Refuse what was chosen beside an option that does not heed it.

    Raises:
        ConfigError: One of `chosen`, whether it was by its name, is true.
    """
    if given := [name for name, is_chosen in chosen.items() if is_chosen]:
        raise ConfigError(
            f"{given[0]} came with {option}, which does not heed it. Leave one of them out."
        )


def choose_editor(
    name: str,
    benchmark: editors.TaskBenchmark[C],
    loading: LoadOptions,
    *,
    mask: str,
    settings: EditSettings,
    scales: Iterable[str] = (),
    by_name: bool = False,
    beside_naive: bool = False,
) -> editors.EditDrawer[C]:
    """Return the editor of this name; where it draws with a preset, that is loaded.

    `scales` are those that users gave, by name. An editor in one step is `beside_naive`, the paste
    by the same weights, on request.

    Raises:
        CapabilityError: The preset has no inversion network.
        ConfigError: Something was chosen that this editor does not heed.
    """
    if name == "chord":  # it has a mask, and no scales
        rules = replace(settings, rule=None)
        check_unused("--editor chord", mask="found", settings=rules)
    elif name != "swiftedit":
        given = [*scales, *(["by_name"] if by_name else [])]
        check_unused(f"--editor {name}", mask=mask, settings=settings, scales=given)
    if mask in {"true", "none"} and settings.rule is not None:
        raise ConfigError(
            f"--rule came with --mask {mask}, where no region is looked for. Leave one of them out."
        )
    if name in BOUNDS:
        bound = editors.TargetEditor if name == "target" else editors.SourceEditor
        return bound(benchmark)
    session = open_model(loading)
    if name == "naive":
        return editors.NaiveEditor(benchmark, session)
    if name == "ddim":
        return editors.DdimEditor(benchmark, session)
    choice = editors.MaskChoice(mask)
    if name == "chord":
        rules = replace(settings, method=EditMethod.CHORD)
        return editors.ChordEditor(benchmark, session, choice, rules)
    return editors.SwiftEditor(
        benchmark,
        session,
        mask=choice,
        settings=settings,
        uses_library=by_name,
        baseline=editors.NaiveEditor(benchmark, session) if beside_naive else None,
    )


def drawer_of(
    benchmark: OpenBenchmark[C],
    cases: Sequence[C],
    programs: ProgramFiles,
    loading: LoadOptions,
    own: Callable[[], CaseDrawer[C]],
    *,
    needs: Collection[Ability] | None = None,
) -> CaseDrawer[C]:
    """Return what draws `cases`: another program if the user names one, or else SwiftPie.

    Args:
        benchmark: What the cases are from.
        cases: All of them.
        programs: What the user said of other programs.
        loading: What the user said about loading.
        own: Loads SwiftPie's own drawer.
        needs: What a pipeline has to do; by default what the benchmark says.

    Raises:
        CapabilityError: A pipeline does something else.
        ConfigError: Something was chosen that the other program does not heed.
    """
    if not others_draw(programs):
        return own()
    if "results" in programs:
        given = {f"--{_spelled(name)}": name != "results" for name in programs}
        given |= {f"--{_spelled(name)}": name not in RESULTS_HEED for name in loading}
        refuse_beside("--results", given)
        return FinishedPictures(benchmark, programs["results"], cases)
    refuse_beside(
        "--pipeline", {f"--{_spelled(name)}": name not in PIPELINES_HEED for name in loading}
    )
    if "adapter" in loading and not benchmark.shows_subject:
        raise ConfigError(
            "--adapter came with a benchmark that shows other programs no picture of the subject. "
            "Leave it out."
        )
    return _open_pipeline(benchmark, programs, loading, needs)


def _open_pipeline(
    benchmark: OpenBenchmark[C],
    programs: ProgramFiles,
    loading: LoadOptions,
    needs: Collection[Ability] | None,
) -> ProgramDrawer[C]:
    adapter, encoder = loading.get("adapter"), loading.get("image_encoder")
    return load_pipeline(
        benchmark,
        programs["pipeline"],
        adapter=None if adapter is None else Path(adapter),
        image_encoder=None if encoder is None else Path(encoder),
        adapter_scale=programs.get("pipeline_adapter_scale"),
        keywords={
            "num_inference_steps": programs.get("pipeline_steps"),
            "guidance_scale": programs.get("pipeline_guidance"),
            "strength": programs.get("pipeline_strength"),
        },
        needs=needs,
        device=device_of(loading.get("device", AUTO)),
        allow_pickle=loading.get("allow_pickle", False),
    )


def others_draw(programs: ProgramFiles) -> bool:
    """Whether the user names another program.

    Raises:
        ConfigError: Something was chosen of a pipeline that is not named.
    """
    if programs and "pipeline" not in programs and "results" not in programs:
        raise ConfigError(f"--{_spelled(next(iter(programs)))} came without --pipeline. Give that.")
    return bool(programs)


def named(programs: ProgramFiles) -> str:
    """Return the option that names the other program."""
    return "--results" if "results" in programs else "--pipeline"


def check_drawn_by_others(programs: ProgramFiles, **choices: object) -> None:
    """Refuse choices about SwiftPie's own drawing where another program draws.

    Raises:
        ConfigError: One of them was made.
    """
    if others_draw(programs):
        chosen = {
            f"--{_spelled(name)}": choice not in {None, False, IdentityGuidance.PLAIN}
            for name, choice in choices.items()
        }
        refuse_beside(named(programs), chosen)


def _spelled(name: str) -> str:
    return {"size_px": "size"}.get(name, name).replace("_", "-")
