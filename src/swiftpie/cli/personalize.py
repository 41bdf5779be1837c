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
    Engine,
    Force,
    ImageEncoder,
    Offline,
    Out,
    PresetName,
    Steps,
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
    from swiftpie.pipelines.request import MaskSource, Scales
    from swiftpie.types import GenerationResult

SCALES = ("identity_scale", "detail_scale", "background_scale", "text_scale", "balance")
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
Balance = Annotated[
    float, typer.Option(help="One slider for all scales: 1 favours the subject, -1 the prompt.")
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SUBJECT[:MASK]",
        help="Another subject in the same picture; repeat for more. Each takes the next --box.",
        show_default=False,
    ),
]
BackgroundScale = Annotated[float, typer.Option(help="Strength of the subject elsewhere.")]
MaskName = Annotated[
    str,
    typer.Option(
        metavar="none|inline|two-pass|box|FILE", help="Region that the subject may change."
    ),
]
BoxTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="L,T,R,B",
        help="Where the subject goes, as fractions from 0 to 1; once for each subject.",
        show_default=False,
    ),
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
    boxes: "list[Box | None]"  # one a subject
    size_px: tuple[int, int] | None  # height and width of the picture


class Job(NamedTuple):
    """What to draw, checked as far as it can be before anything is loaded."""

    subjects: list[list[SubjectPictures]]  # pictures of each
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
        'swiftpie personalize dog.jpg --also cat.jpg "a dog and a cat on a beach" -o out.png '
        "--box 0.05,0.4,0.45,0.9 --box 0.55,0.4,0.95,0.9",
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
    background_scale: BackgroundScale = 0.0,
    balance: Balance = 0.0,
    also: Also = None,
    mask: MaskName = "none",
    boxes: BoxTexts = None,
    size: SizeText = None,
    save_mask: SaveMask = None,
    preset: PresetName = "mini",
    steps: Steps = None,
    weights: Weights = None,
    base: Base = None,
    adapter: Adapter = None,
    image_encoder: ImageEncoder = None,
    dtype: Dtype = None,
    allow_pickle: AllowPickle = False,
    offline: Offline = False,
    device: Device = "cpu",
    engine: Engine = "",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw the subject into the scene that PROMPT describes.

    The subject is found by transparency or against a plain background; else give PICTURE:MASK.
    """
    outputs = _outputs(out, save_mask, num_images, as_json=as_json, force=force)
    scales = _check_scales(
        preset, identity_scale, detail_scale, background_scale, text_scale, balance
    )
    everyone = [read_subjects(subjects), *(read_subjects([one]) for one in also or [])]
    region = Region(mask, _parse_boxes(boxes or [], len(everyone), mask), _parse_size(size))
    job = Job(everyone, prompt, _seed_or_random(seed), scales, region, outputs, force)
    choices = choices_of(
        base=base,
        adapter=adapter,
        image_encoder=image_encoder,
        dtype=dtype,
        allow_pickle=allow_pickle,
        offline=offline,
    )
    made = open_session(preset, choices, device=device, weights=weights, steps=steps, engine=engine)
    _tell(carry_out(made.session, job), outputs, as_json=as_json, load_ms=made.load_ms)


def carry_out(session: "Session", job: Job) -> "GenerationResult":
    """Draw the pictures of `job` and write every file of it."""
    from swiftpie.pipelines.request import Subject

    preset = session.components.preset
    scales = _strength(preset, job.scales)
    source, region = _mask(job.region, preset.image_size_px, count=len(job.subjects))
    result = session.personalize(
        [
            Subject(encode_subjects(session, pictures), box=box, mask=region)
            for pictures, box in zip(job.subjects, job.region.boxes, strict=True)
        ],
        job.prompt,
        seed=job.first_seed,
        num_images=len(job.outputs),
        scales=scales,
        mask=source,
        size_px=job.region.size_px,
    )
    facts = _metadata(job.prompt, preset.name, scales)
    write_outputs(result, job.outputs, metadata=facts, force=job.force)
    return result


def _outputs(
    out: str, save_mask: Path | None, count: int, *, as_json: bool, force: bool
) -> list[Output]:
    outputs = plan_outputs(out, save_mask, count=count, as_json=as_json)
    check_outputs(outputs, force=force)
    return outputs


def _seed_or_random(seed: int | None) -> int:
    return secrets.randbelow(RANDOM_SEEDS) if seed is None else seed


def _check_scales(preset: str, *values: float | None) -> dict[str, float | None]:
    """Return the scales by name, if all are in range."""
    from swiftpie.backbones.preset import PRESETS

    scales = dict(zip(SCALES, values, strict=True))
    _strength(PRESETS.get(preset), scales)
    return scales


def _strength(preset: "Preset", scales: dict[str, float | None]) -> "Scales":
    """Return the scales, the preset's own where none is given."""
    from dataclasses import replace

    from swiftpie.pipelines.request import Scales

    given = {name: value for name, value in scales.items() if value is not None}
    return replace(Scales.of(preset), **given)


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


def _parse_boxes(boxes: list[str], count: int, mask: str) -> "list[Box | None]":
    """Read every --box, one for each of `count` subjects.

    Raises:
        ConfigError: There are more boxes than subjects, or too few for --mask box.
    """
    from swiftpie.masks import parse_box

    if mask == "box" and not boxes:
        raise ConfigError(
            "--mask box came without --box. The box is needed as the region. "
            "Add one, as in --box 0.2,0.4,0.8,0.9."
        )
    if len(boxes) > count or (mask == "box" and len(boxes) < count):
        raise ConfigError(
            f"{len(boxes)} boxes came with {count} subjects. Each subject takes one --box at most, "
            "and --mask box needs one for each. Write them as in --box 0.2,0.4,0.8,0.9."
        )
    return [parse_box(box) for box in boxes] + [None] * (count - len(boxes))


def _mask(region: Region, side_px: int, *, count: int) -> "tuple[MaskSource, Tensor | None]":
    """Return what --mask names: a way to find the regions, or a picture file of one.

    Raises:
        ConfigError: One file came with several subjects.
    """
    from swiftpie.masks import load_mask
    from swiftpie.pipelines.request import MaskSource

    if region.mask in {source.value for source in MaskSource}:
        return MaskSource(region.mask), None
    if count > 1:
        raise ConfigError(
            f"--mask {region.mask} came with {count} subjects, and one file cannot tell them "
            "apart. Give each a --box, and --mask box or inline."
        )
    height, width = region.size_px or (side_px, side_px)
    return MaskSource.NONE, load_mask(region.mask, (width, height))


def _metadata(prompt: str, preset: str, scales: "Scales") -> dict[str, str]:
    return {
        "prompt": prompt[:MAX_STORED_PROMPT],
        "preset": preset,
        "swiftpie": __version__,
        **{name: str(value) for name, value in vars(scales).items()},
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
