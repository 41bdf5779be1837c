"""The groups in which help pages show options, in one place for all commands."""

from collections.abc import Mapping
from typing import Any

import typer

PANELS: Mapping[str, tuple[str, ...]] = {
    "Picture": (
        *("seed", "num_images", "size", "side", "size_px", "style", "also", "subject"),
        *("keyword", "source_prompt", "prompt", "mode", "rule", "variation", "by_name"),
    ),
    "Place": ("cutout", "cutouts", "mask", "detail_mask", "box", "boxes", "views"),
    "Strength": ("identity_scale", "detail_scale", "background_scale", "text_scale", "balance"),
    "Face": ("number", "encoder", "face_models", "judge", "judge_models"),
    "Model": (
        *("recipe", "preset", "steps", "weights", "base", "adapter", "detail", "image_encoder"),
        *("autoencoder", "inversion", "lora_scale", "face_version", "dtype", "allow_pickle"),
        *("offline", "yes", "dry_run"),
    ),
    "Computing": ("device", "engine", "threads"),
    "Output": (
        *("out", "to", "file_format", "as_json", "force", "save_subject_mask", "save_region"),
        *("strip", "sheet"),
    ),
    "Publishing": ("private", "licence", "with_pictures"),
    "Cases": (
        *("cases", "full", "places", "limit", "noun", "data", "data_path", "num_subjects"),
        *("editor", "identities", "prompts", "results", "against", "teacher"),
    ),
    "Judges": ("clip", "clip_small", "dino", "lpips", "aesthetic", "judges"),
    "Run": (
        *("overrides", "time_limit", "resume", "processes", "batch_size", "strict", "update"),
        *("only_checks", "uses_ray"),
    ),
    "Jobs": ("subject_folder", "prompt_file", "seeds"),
}
"""Names of options, as commands call them, by the title of their group."""


def arrange(command: Any) -> None:  # noqa: ANN401 - Typer's own copy of Click has no public types
    """Put the options of a command, and of those below it, into groups.

    A flag has no value, so none is shown for it.
    """
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    for one in command.get_params(typer.Context(command)):  # --help among them
        if one.param_type_name == "option":
            one.rich_help_panel = panel_of.get(one.name)
            one.metavar = "" if one.is_flag else one.metavar
    for below in getattr(command, "commands", {}).values():
        arrange(below)
