"""Options for networks of the user's that judge; importing them loads a tensor library."""

from pathlib import Path
from typing import Annotated

from swiftpie.cli.options import FieldOptions
from swiftpie.config import Option, OptionField
from swiftpie_lab.evaluation.judges import JUDGES


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
