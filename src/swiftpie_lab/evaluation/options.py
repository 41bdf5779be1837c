"""Options that benchmarks share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.options import FieldOptions
from swiftpie.pipelines.settings import EditSettings, Scales

PUBLISHED = (
    *("recipe", "preset", "weights", "base", "adapter", "image_encoder"),
    *("detail", "reference", "allow_pickle", "offline", "yes"),
)
STEPS, EDITS = (*PUBLISHED, "steps", "device"), (*PUBLISHED, "inversion", "device")
LoadedInSteps = Annotated[LoadOptions, FieldOptions(LoadOptions, STEPS)]
LoadedInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*STEPS, "size_px"))]
EditRules = Annotated[
    EditSettings, FieldOptions(EditSettings, ("method", "mode", "start", "self_mask"))
]
EditScales = Annotated[
    dict[str, float], FieldOptions(Scales, ("identity_scale", "background_scale", "text_scale"))
]
LoadedToEdit = Annotated[LoadOptions, FieldOptions(LoadOptions, EDITS)]
LoadedToEditInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*EDITS, "size_px"))]

Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Decides cases, noise and references.")
]
FirstSeed = Annotated[
    int, typer.Option("--seed", min=0, max=2**31, help="Of the first case; others count up.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where pictures and report go.")]
Anew = Annotated[
    bool, typer.Option("--force", help="Draw all anew; otherwise pictures in DIR are kept.")
]
NumCases = Annotated[int, typer.Option("--cases", min=1, metavar="N", help="How many to judge.")]
CasesAKind = Annotated[
    int, typer.Option("--cases", min=1, metavar="N", help="How many of each kind to judge.")
]
WorldJudges = Annotated[
    Path | None,
    typer.Option(
        "--judges",
        metavar="DIR",
        help="Other judges than the package's: an export of `swiftpie train world-judges`.",
    ),
]
Backgrounds = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="Photographs to use, of which training leaves one in five alone; by default the "
        "library's places, whose light was measured.",
    ),
]
Finished = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Judge finished pictures of another program instead, a file a case. The documentation "
        "of evaluations says what they are called.",
    ),
]
MaskName = Annotated[
    Literal["found", "true", "none"],
    typer.Option(
        "--mask",
        help="Where it may change: found between the prompts, the true mask, or everywhere.",
    ),
]
