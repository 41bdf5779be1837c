"""What the options of commands under `swiftpie evaluate` name: packs, models, networks, editors."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.loading import open_session, resolved
from swiftpie.errors import ConfigError
from swiftpie.pipelines.drawing.settings import EditMethod, EditSettings, EditStart
from swiftpie_lab.cli.evaluate_options import NetworkFiles

if TYPE_CHECKING:
    from swiftpie.engine.session import Session
    from swiftpie_lab.evaluation.editors import Editor
    from swiftpie_lab.evaluation.judges import Networks
    from swiftpie_world.subjects import Subjects

BOUNDS = frozenset({"target", "source"})  # editors that draw nothing by themselves


def open_pack(data: Path | None) -> "Subjects":
    """Return the pack of subjects at `data`, by default the one that was prepared."""
    from swiftpie_lab.data.archive import default_pack
    from swiftpie_lab.data.subjects import load_subjects

    return load_subjects(data or default_pack())


def open_model(loading: LoadOptions) -> "Session":
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
) -> "Networks":
    """Read what users give to judge with."""
    from swiftpie_lab.evaluation import judges

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
    loading: LoadOptions,
    *,
    mask: str,
    settings: EditSettings,
    scales: Iterable[str] = (),
    by_name: bool = False,
) -> "Editor":
    """Return the editor of this name; where it draws with a preset, that is loaded.

    `scales` are those that users gave, by name.

    Raises:
        CapabilityError: The preset has no inversion network.
        ConfigError: Something was chosen that this editor does not heed.
    """
    from swiftpie_lab.evaluation import editors

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
        return editors.TargetEditor() if name == "target" else editors.SourceEditor()
    session = open_model(loading)
    if name == "naive":
        return editors.NaiveEditor(session)
    if name == "ddim":
        return editors.DdimEditor(session)
    choice = editors.MaskChoice(mask)
    if name == "chord":
        return editors.ChordEditor(session, choice, replace(settings, method=EditMethod.CHORD))
    return editors.SwiftEditor(session, mask=choice, settings=settings, uses_library=by_name)
