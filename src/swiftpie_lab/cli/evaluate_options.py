"""Options that commands under `swiftpie evaluate` share."""

from pathlib import Path
from typing import Annotated, Literal, TypedDict

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.options import FieldOptions
from swiftpie.config import Option
from swiftpie.pipelines.drawing.settings import EditSettings

PUBLISHED = (
    *("recipe", "preset", "weights", "base", "adapter", "image_encoder"),
    *("allow_pickle", "offline", "yes"),
)
STEPS, EDITS = (*PUBLISHED, "steps", "device"), (*PUBLISHED, "inversion", "device")
LoadedInSteps = Annotated[LoadOptions, FieldOptions(LoadOptions, STEPS)]
LoadedInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*STEPS, "size_px"))]
EditRules = Annotated[EditSettings, FieldOptions(EditSettings, ("mode", "start", "rule"))]
LoadedToEdit = Annotated[LoadOptions, FieldOptions(LoadOptions, EDITS)]
LoadedToEditInSizes = Annotated[LoadOptions, FieldOptions(LoadOptions, (*EDITS, "size_px"))]
FACES = (*PUBLISHED, "steps", "lora_scale", "face_version", "device")
LoadedForFaces = Annotated[LoadOptions, FieldOptions(LoadOptions, FACES)]

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
EditKinds = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="NAMES",
        help="Only edits of these kinds, such as pose,colour; by default of all.",
    ),
]
WorldJudges = Annotated[
    Path | None,
    typer.Option(
        "--judges",
        metavar="DIR",
        help="Other judges than the package's: an export of `swiftpie train world-judges`.",
    ),
]
FirstCases = Annotated[
    int | None, typer.Option("--cases", min=1, metavar="N", help="Only the first N.")
]
NumSubjects = Annotated[int, typer.Option(min=1, help="Rows.")]
AgainstWeights = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Other weights, such as those of an earlier training stage, as a row; repeat for "
        "more.",
    ),
]
AgainstInversions = Annotated[
    list[Path] | None,
    typer.Option(
        "--against",
        metavar="DIR",
        help="Another inversion network, such as that of the first stage, as a row; repeat for "
        "more.",
    ),
]
TeacherWeights = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="DIR",
        help="Weights of a multi-step model, for DDIM inversion as a row.",
    ),
]
SubjectPhotos = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="A folder for each photographed subject, as a slice of its own; by default none.",
    ),
]
CasesASlice = Annotated[
    int,
    typer.Option(
        "--cases", min=1, metavar="N", help="How many of each slice and number of subjects."
    ),
]
Backgrounds = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="Photographs to use, of which training leaves one in five alone; by default the one "
        "inside the package.",
    ),
]
FirstSubjects = Annotated[
    int | None, typer.Option("--subjects", min=1, metavar="N", help="Only the first N by name.")
]
Scenes = Annotated[
    Literal["library", "words", "rendering"],
    typer.Option(
        "--scenes",
        help="Where places come from: the library, as for users, the model's words alone, or "
        "pictures of the same places that neither library nor training holds.",
    ),
]
KindNames = Annotated[
    str | None,
    typer.Option(
        "--kinds",
        metavar="A,B",
        help="Only cases of these kinds, named as in the report, such as look,pose; by default "
        "all.",
    ),
]
EditorName = Annotated[
    Literal["swiftedit", "ddim", "naive", "target", "source"],
    typer.Option(
        "--editor",
        help="Who edits: one-step inversion, DDIM inversion with a multi-step model, or one of the "
        "bounds: the naive paste, the exact answer, or nobody.",
    ),
]
PieEditorName = Annotated[
    Literal["swiftedit", "chord", "source"],
    typer.Option(
        "--editor", help="Who edits: one-step inversion, ChordEdit, or nobody, as a bound."
    ),
]
PieTableName = Annotated[
    Literal["T1", "T2", "T3", "T4", "T5", "T6", "F9", "ChordEdit"] | None,
    typer.Option(
        "--table",
        help="Repeat a table of SwiftEdit's paper, the grids of its figure 9, or ChordEdit's "
        "parts, as far as weights are given; other rows are listed with what they lack.",
    ),
]
PieRows = Annotated[
    list[str] | None,
    typer.Option(
        "--row",
        metavar="TITLE=DIR",
        help="With --table, what a row is drawn with: an export of `swiftpie train inversion`, an "
        "inversion network, or pictures that another program has edited; repeat for more.",
    ),
]
MaskName = Annotated[
    Literal["found", "keyword", "true", "none"],
    typer.Option(
        "--mask",
        help="Where it may change: found between the prompts, found by the keyword, the true "
        "mask, or everywhere.",
    ),
]
ByName = Annotated[
    bool,
    typer.Option(
        "--by-name",
        help="Take subjects that a prompt names from the library, as edits of users do; by "
        "default words alone tell who comes. It holds the held-out subjects, too.",
    ),
]
Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="PIE-Bench's folder, with mapping_file.json and annotation_images."
    ),
]
DreamFolder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The dataset's folder; of DreamBench that with prompts_and_classes.txt and a folder "
        "of photographs for each subject. NAME.mask.png beside NAME.jpg is its mask.",
    ),
]
DreamSetName = Annotated[
    Literal["dreambench", "dreambench++", "multibanana"],
    typer.Option("--set", help="Which dataset the folder holds."),
]
SubjectBoxes = Annotated[
    Path | None,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Where subjects are in their first photographs, if there is no mask beside: a JSON "
        'object such as {"dog": [0.1, 0.1, 0.9, 0.9]}.',
    ),
]
NumPrompts = Annotated[
    int | None, typer.Option("--prompts", min=1, metavar="N", help="Only the first N of each.")
]
NumSeeds = Annotated[
    int, typer.Option("--seeds", min=1, max=64, metavar="N", help="Pictures of each prompt.")
]
UsesAll = Annotated[
    bool,
    typer.Option(
        "--all-references",
        help="Show the model every photograph of a subject; by default the first one.",
    ),
]
Identities = Annotated[Path, typer.Option(metavar="DIR", help="Photographs, one a person.")]
Prompts = Annotated[
    Path,
    typer.Option(metavar="FILE", help="One prompt a line; what stands before ';' is its style."),
]


class NetworkFiles(TypedDict, total=False):
    """Networks of the user's that judge; read by `open_networks`."""

    clip: Annotated[Path, Option("CLIP ViT-L/14, for the figures that need it.", "DIR")]
    clip_small: Annotated[Path, Option("CLIP ViT-B/32, likewise.", "DIR")]
    dino: Annotated[Path, Option("DINO ViT-B/8, for the structure distance.", "DIR")]
    dino_small: Annotated[Path, Option("DINO ViT-S/16, for the likeness of subjects.", "DIR")]
    dinov2: Annotated[Path, Option("DINOv2 ViT-S/14, likewise.", "DIR")]
    siglip2: Annotated[Path, Option("SigLIP2 SO400M NaFlex, for MaSC.", "DIR")]
    lpips: Annotated[Path, Option("Weights of LPIPS with SqueezeNet, as safetensors.", "FILE")]
    aesthetic: Annotated[Path, Option("LAION's aesthetic predictor.", "FILE")]
    image_reward: Annotated[
        Path, Option("ImageReward-v1.0 with its tokenizer, for the preference of people.", "DIR")
    ]


EditNetworks = Annotated[NetworkFiles, FieldOptions(NetworkFiles, ("lpips",))]
PieNetworks = Annotated[NetworkFiles, FieldOptions(NetworkFiles, ("clip", "dino", "lpips"))]
DreamNetworks = Annotated[
    NetworkFiles,
    FieldOptions(NetworkFiles, ("clip", "clip_small", "dino_small", "dinov2", "siglip2", "lpips")),
]
FaceNetworks = Annotated[
    NetworkFiles, FieldOptions(NetworkFiles, ("clip", "clip_small", "aesthetic", "image_reward"))
]


class RivalFiles(TypedDict, total=False):
    """Who draws in SwiftPie's place; read by `evaluate_rivals`."""

    results: Annotated[
        Path,
        Option(
            "Judge finished pictures of another program instead, a file a case. The documentation "
            "of evaluations says what they are called.",
            "DIR",
        ),
    ]
    pipeline: Annotated[
        Path,
        Option(
            "Draw with this pipeline as diffusers saved and runs it, instead of SwiftPie. Adapter "
            "and image encoder go through diffusers' own loader.",
            "DIR",
        ),
    ]
    pipeline_steps: Annotated[
        int, Option("Steps of its calls; by default the pipeline's own number.", "N", least=1)
    ]
    pipeline_guidance: Annotated[
        float, Option("Guidance scale of its calls; by default the pipeline's own.", least=0)
    ]
    pipeline_strength: Annotated[
        float,
        Option("How much it may change a picture; by default the pipeline's own.", least=0, most=1),
    ]
    pipeline_adapter_scale: Annotated[
        float, Option("Strength of its IP-Adapter; by default diffusers' own.", least=0)
    ]


Rivals = Annotated[RivalFiles, FieldOptions(RivalFiles)]
