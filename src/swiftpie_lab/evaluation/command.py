"""What a benchmark is as a command, and what its options open: packs, models, networks, drawers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.cli.options import FieldOptions
from swiftpie.config import Option, OptionField, options_of
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError
from swiftpie.pipelines.settings import EditSettings
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation import judges
from swiftpie_lab.evaluation.judges import JUDGES
from swiftpie_lab.evaluation.run import Benchmark, C, CaseDrawer, FinishedPictures, OpenBenchmark
from swiftpie_world.subjects import Subjects

ABOUT_JUDGES = frozenset({"size_px", "device", "allow_pickle", "offline", "yes"})


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

    open: Callable[..., Trial[Any]]  # its parameters are the command's options
    examples: tuple[str, ...]


def open_pack(data: Path | None) -> Subjects:
    """Return the pack of subjects at `data`, by default the one that was prepared."""
    return load_subjects(data or default_pack())


def open_model(loading: LoadOptions) -> Session:
    return open_session(**loading).session


def side_of(loading: LoadOptions, *, own_px: int | None = None) -> int:
    """Return the side of the pictures that will be drawn; `own_px` if no preset draws them."""
    if own_px is not None:
        return loading.get("size_px") or own_px
    preset = preset_for(loading)
    return preset.sized(loading.get("size_px")).image_size_px


def open_networks(files: Mapping[str, Path], loading: LoadOptions) -> judges.Networks:
    """Read what users give to judge with."""
    own = {name: place for name, place in files.items() if name in judges.PUBLISHED}
    loaded: dict[str, Any] = {name: judges.load_judge(name, own[name]) for name in own}
    pickles, others = loading.get("allow_pickle", False), {}
    for name in files.keys() - own.keys():
        judge = judges.JUDGES.get(name.replace("_", "-"))
        others[name] = judge.read(files[name], loaded, allow_pickle=pickles)
    digests = {
        f"{name}/{path.name}": _sha256(path)
        for name, place in files.items()
        for path in _weights_at(place)
    }
    return judges.Networks(**loaded, others=others, digests=digests)


def _weights_at(place: Path) -> list[Path]:
    ends = ("*.safetensors", "*.pt", "*.pth")
    return sorted(path for end in ends for path in place.glob(end)) if place.is_dir() else [place]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drawer_of(
    benchmark: OpenBenchmark[C],
    cases: Sequence[C],
    results: Path | None,
    loading: LoadOptions,
    own: Callable[[], CaseDrawer[C]],
    **choices: object,
) -> CaseDrawer[C]:
    """Return what draws `cases`: SwiftPie's `own`, or a folder `results` of another program's.

    Of options about SwiftPie's own drawing, `loading` and `choices`, those that were chosen are
    truthy.

    Raises:
        ConfigError: Something was chosen that finished pictures do not heed.
    """
    if results is None:
        return own()
    given = [name for name in loading if name not in ABOUT_JUDGES]
    given += [name for name, choice in choices.items() if choice]
    if given:
        raise ConfigError(
            f"--{given[0].replace('_', '-')} cannot be combined with --results: it has no effect "
            "on finished pictures. Leave one of them out."
        )
    return FinishedPictures(benchmark, results, cases)


def changed(rules: EditSettings) -> dict[str, bool]:
    """Return by name which settings of an edit are not the default."""
    usual = EditSettings()
    names = ("scales", *options_of(EditSettings))
    return {name: getattr(rules, name) != getattr(usual, name) for name in names}


class NetworkFiles:
    """Networks of the user's that judge, those of `JUDGES` among them; read by `open_networks`."""

    clip: Annotated[Path, Option("CLIP ViT-L/14, for the figures that need it.", "DIR")]
    clip_small: Annotated[Path, Option("CLIP ViT-B/32, likewise.", "DIR")]
    dino: Annotated[Path, Option("DINO ViT-B/8, for the structure distance.", "DIR")]
    dino_small: Annotated[Path, Option("DINO ViT-S/16, for the likeness of subjects.", "DIR")]
    siglip2: Annotated[Path, Option("SigLIP2 SO400M NaFlex, for MaSC.", "DIR")]

    @staticmethod
    def more_options() -> dict[str, OptionField]:
        """Return those that a file of metrics reads."""
        judges = {name.replace("-", "_"): judge for name, judge in JUDGES.all().items()}
        return {name: OptionField(name, Path, None, each.option) for name, each in judges.items()}


PieNetworks = Annotated[dict[str, Path], FieldOptions(NetworkFiles, ("clip", "dino", "lpips"))]
DreamNetworks = Annotated[
    dict[str, Path], FieldOptions(NetworkFiles, ("clip", "clip_small", "dino_small", "siglip2"))
]
FaceNetworks = Annotated[
    dict[str, Path], FieldOptions(NetworkFiles, ("clip", "clip_small", "aesthetic", "image_reward"))
]
