"""`swiftpie personalize`: pictures of a subject and a sentence to new pictures."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.options import (
    Adapter,
    AllowPickle,
    AsJson,
    Base,
    Device,
    Dtype,
    Force,
    ImageEncoder,
    Offline,
    Out,
    PresetName,
    SubjectPictures,
    Subjects,
    Weights,
    choices_of,
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

    from swiftpie.backbones.preset import Preset
    from swiftpie.engine.session import Session
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
SizeText = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Width and height in pixels; else the preset's."),
]
SaveMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write where the subject was drawn.")
]

app = typer.Typer()


class Region(NamedTuple):
    """Where to draw."""

    mask: str
    box: "Box | None"
    size_px: tuple[int, int] | None  # height and width of the picture


class Job(NamedTuple):
    """What to draw, checked as far as it can be before anything is loaded."""

    pictures: list[SubjectPictures]
    prompt: str
    first_seed: int
    scales: dict[str, float | None]  # None: the loaded preset's own
    region: Region
    outputs: list[Output]
    force: bool


@app.command(
    epilog=examples(
        'swiftpie personalize dog.jpg "a dog on a beach" -o out.png',
        'swiftpie personalize dog.jpg:mask.png dog2.jpg "a dog in space" -o out.png --seed 7',
        'swiftpie personalize me.spid "a robot at night" --box 0.2,0.4,0.6,0.95 -o out.webp -n 4',
        'swiftpie personalize dog.jpg "a dog at sea" -o out.png --preset sdxl-turbo '
        "--adapter ip-adapter_sdxl_vit-h.safetensors --image-encoder models/image_encoder",
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
    size: SizeText = None,
    save_mask: SaveMask = None,
    preset: PresetName = "mini",
    weights: Weights = None,
    base: Base = None,
    adapter: Adapter = None,
    image_encoder: ImageEncoder = None,
    dtype: Dtype = None,
    allow_pickle: AllowPickle = False,
    offline: Offline = False,
    device: Device = "cpu",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw the subject into the scene that PROMPT describes.

    The subject is found by transparency or against a plain background; else give PICTURE:MASK.
    """
    outputs = plan_outputs(out, save_mask, count=num_images, as_json=as_json)
    check_outputs(outputs, force=force)
    scales = {"identity": identity_scale, "detail": detail_scale, "leak": leak, "text": text_scale}
    _check_scales(preset, scales)
    first = secrets.randbelow(RANDOM_SEEDS) if seed is None else seed
    region = Region(mask, _parse_box(box, mask), _parse_size(size))
    job = Job(read_subjects(subjects), prompt, first, scales, region, outputs, force)
    choices = choices_of(
        base=base,
        adapter=adapter,
        image_encoder=image_encoder,
        dtype=dtype,
        allow_pickle=allow_pickle,
        offline=offline,
    )
    opened = open_session(preset, device=device, weights=weights, choices=choices)
    result = carry_out(opened.session, job)
    _tell(result, outputs, as_json=as_json, load_ms=opened.load_ms)


def carry_out(session: "Session", job: Job) -> "GenerationResult":
    """Draw the pictures of `job` and write every file of it."""
    preset = session.components.preset
    strength = _strength(preset, job.scales)
    side = preset.image_size_px
    result = session.personalize(
        encode_subjects(session, job.pictures),
        job.prompt,
        seed=job.first_seed,
        num_images=len(job.outputs),
        strength=strength,
        mask=_mask(job.region.mask, job.region.size_px or (side, side)),
        box=job.region.box,
        size_px=job.region.size_px,
    )
    facts = _metadata(job.prompt, preset.name, strength)
    write_outputs(result, job.outputs, metadata=facts, force=job.force)
    return result


def _check_scales(preset: str, scales: dict[str, float | None]) -> None:
    from swiftpie.backbones.preset import PRESETS

    _strength(PRESETS.get(preset), scales)


def _strength(preset: "Preset", scales: dict[str, float | None]) -> "Strength":
    """Return the scales, the preset's own where none is given."""
    from dataclasses import replace

    from swiftpie.pipelines.condition import Strength

    given = {name: value for name, value in scales.items() if value is not None}
    return replace(Strength.of(preset), **given)


def _parse_size(text: str | None) -> tuple[int, int] | None:
    """Read --size as height and width.

    Raises:
        ConfigError: It is no size.
    """
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(
            f"--size is {text!r}. Width and height in pixels are needed. Write it as in 512x768."
        )
    return int(height), int(width)


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


def _mask(mask: str, size_px: tuple[int, int]) -> "Tensor | MaskSource":
    """Return what --mask names: a way to find the region, or a picture file of it."""
    from swiftpie.masks import load_mask
    from swiftpie.pipelines.personalize import MaskSource

    names = [source.value for source in MaskSource]
    height, width = size_px
    return MaskSource(mask) if mask in names else load_mask(mask, (width, height))


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
