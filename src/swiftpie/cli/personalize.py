"""`swiftpie personalize`: pictures of a subject and a sentence to new pictures."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.options import (
    AsJson,
    Device,
    Force,
    Out,
    PresetName,
    Subjects,
    Weights,
    encode_subjects,
    open_session,
    read_subjects,
)
from swiftpie.cli.outputs import (
    MAX_STORED_PROMPT,
    Output,
    check_outputs,
    plan_outputs,
    write_outputs,
)
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from swiftpie.masks import Box
    from swiftpie.pipelines.condition import Strength
    from swiftpie.pipelines.personalize import MaskSource
    from swiftpie.types import GenerationResult

RANDOM_SEEDS = 2**31  # short enough to type again

Prompt = Annotated[str, typer.Argument(help="What the picture shows.", show_default=False)]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Decides everything; drawn and told if not given.")
]
NumImages = Annotated[
    int, typer.Option("-n", "--num-images", min=1, help="Pictures, with seeds that count up.")
]
IdentityScale = Annotated[
    float | None,
    typer.Option(help="Strength of what the subject is; 0 is off. By default the preset's."),
]
DetailScale = Annotated[
    float | None,
    typer.Option(help="Strength of how it looks in detail; 0 is off. By default the preset's."),
]
TextScale = Annotated[float, typer.Option(help="Strength of the prompt on the subject.")]
Leak = Annotated[float, typer.Option(help="Strength of the subject outside of the mask.")]
MaskName = Annotated[
    str, typer.Option(metavar="none|inline|box|FILE", help="Region that the subject may change.")
]
BoxText = Annotated[
    str | None,
    typer.Option(metavar="L,T,R,B", help="Where the subject goes, as fractions from 0 to 1."),
]
SaveMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write where the subject was drawn.")
]

app = typer.Typer()


@app.command(
    epilog=examples(
        'swiftpie personalize dog.jpg "a dog on a beach" -o out.png',
        'swiftpie personalize dog.jpg:mask.png dog2.jpg "a dog in space" -o out.png --seed 7',
        'swiftpie personalize me.spid "a robot at night" --box 0.2,0.4,0.6,0.95 -o out.webp -n 4',
    )
)
def personalize(
    *,
    subjects: Subjects,
    prompt: Prompt,
    out: Out,
    seed: Seed = None,
    num_images: NumImages = 1,
    identity_scale: IdentityScale = None,
    detail_scale: DetailScale = None,
    text_scale: TextScale = 1.0,
    leak: Leak = 0.0,
    mask: MaskName = "none",
    box: BoxText = None,
    save_mask: SaveMask = None,
    preset: PresetName = "mini",
    weights: Weights = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw the subject into the scene that PROMPT describes.

    The subject is found by the picture's transparency or against a plain background; give
    PICTURE:MASK where that fails.
    """
    outputs = plan_outputs(out, save_mask, count=num_images, as_json=as_json)
    check_outputs(outputs, force=force)
    strength = _strength(
        preset, identity=identity_scale, detail=detail_scale, leak=leak, text=text_scale
    )
    place = _parse_box(box, mask)
    pictures = read_subjects(subjects)
    opened = open_session(preset, device=device, weights=weights)
    session = opened.session
    first = secrets.randbelow(RANDOM_SEEDS) if seed is None else seed
    result = session.personalize(
        encode_subjects(session, pictures),
        prompt,
        seed=first,
        num_images=num_images,
        strength=strength,
        mask=_region(mask, session.components.preset.image_size_px),
        box=place,
    )
    facts = _metadata(prompt, preset, strength)
    write_outputs(result, outputs, metadata=facts, force=force)
    _tell(result, outputs, as_json=as_json, load_ms=opened.load_ms)


def _strength(
    preset: str, *, identity: float | None, detail: float | None, leak: float, text: float
) -> "Strength":
    """Return the scales, the preset's own where none is given."""
    from swiftpie.backbones.preset import PRESETS
    from swiftpie.pipelines.condition import Strength

    defaults = PRESETS.get(preset).defaults
    return Strength(
        identity=defaults["identity_scale"] if identity is None else identity,
        detail=defaults["detail_scale"] if detail is None else detail,
        leak=leak,
        text=text,
    )


def _parse_box(box: str | None, mask: str) -> "Box | None":
    """Read --box.

    Raises:
        ConfigError: --mask box came without a box.
    """
    from swiftpie.masks import parse_box

    if box is None and mask == "box":
        raise ConfigError(
            "--mask box came without --box. The box is needed as the region. "
            "Add one, as in --box 0.2,0.4,0.8,0.9."
        )
    return None if box is None else parse_box(box)


def _region(mask: str, size_px: int) -> "Tensor | MaskSource":
    """Return what --mask names: a way to find the region, or a picture file of it."""
    from swiftpie.masks import load_mask
    from swiftpie.pipelines.personalize import MaskSource

    names = [source.value for source in MaskSource]
    return MaskSource(mask) if mask in names else load_mask(mask, (size_px, size_px))


def _metadata(prompt: str, preset: str, strength: "Strength") -> dict[str, str]:
    scales = {f"{name}_scale": str(value) for name, value in vars(strength).items()}
    return {
        "prompt": prompt[:MAX_STORED_PROMPT],
        "preset": preset,
        "swiftpie": __version__,
        **scales,
    }


def _tell(
    result: "GenerationResult", outputs: list[Output], *, as_json: bool, load_ms: float
) -> None:
    for output, seed in zip(outputs, result.seeds, strict=True):
        say(f"wrote {output.picture or 'the picture to standard output'} (seed {seed})")
    if as_json:
        pictures = [
            {"path": str(output.picture), "seed": seed, "mask": output.mask and str(output.mask)}
            for output, seed in zip(outputs, result.seeds, strict=True)
        ]
        timings_ms = {stage: round(ms, 2) for stage, ms in result.timings_ms.items()}
        print_json({"pictures": pictures, "load_ms": round(load_ms, 1), "timings_ms": timings_ms})
