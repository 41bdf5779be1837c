"""The same pictures by diffusers' own pipeline of a recipe's files and by SwiftPie."""

import gc
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from importlib.resources import as_file, files
from typing import Any, Unpack, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import Components, download_plan, load_components
from swiftpie.backbones.diffusers_reference import (
    NUM_FRAMES,
    ComparedSubject,
    DiffusersReference,
    beside,
)
from swiftpie.backbones.hub import PUBLISHED, files_unlike
from swiftpie.backbones.presets import Capability, Recipe
from swiftpie.engine.load import LoadSpec, plan_load
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import contact_sheet, to_pil, to_tensor
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD, ClipIdentityEncoder, FaceIdentityEncoder
from swiftpie.noise import Schedule
from swiftpie.pipelines.identity import FACE_CROP_PX, face_identity, middle_square
from swiftpie.pipelines.settings import USUAL, Scales
from swiftpie.types import Identity

PROMPT = "a dog on a beach at sunset"
SEED = 7
CELL_PX = 384  # side of a cell of the sheet
MAX_LEVELS = 1.0  # greatest difference of equal pictures, in levels of 255
MAX_READ_LEVELS = 4.0  # of what CLIP reads: its own processor rounds pixels after resizing
# Of what a reference changes in the mean: a strength that is 1 % off is seen, rounding is not.
MAX_SHARE, LEAST_LEVELS = 0.002, 0.01
# In 16 bits, times what diffusers' picture changes where its attention rounds in another way: two
# programs differ in each operation, and attention is about half of them.
ROUNDING = 4.0
ALIKE = 1e-4  # of its spread: sums over a weight differ by less if a LoRA was rounded otherwise
SUBJECT, TEXT, SILENT, EDIT = "the subject", "text alone", "strengths of 0", "an edit"
ROUNDED = "rounded in another way"  # strengths of 0 by diffusers
READING = "the picture as CLIP reads it"
PACKAGES = ("swiftpie", "diffusers", "transformers", "torch", "safetensors")

OnPicture = Callable[[str], None]
Digests = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class ComparedPicture:
    """One picture by both, (3, H, W) in [0, 1]; of an animation all frames beside each other."""

    what: str
    ours: Tensor
    theirs: Tensor
    max_levels: float | None = MAX_LEVELS  # limit of equal pictures; None: fresh noise differs
    max_mean: float = MAX_LEVELS  # limit of the mean difference

    @property
    def differences(self) -> tuple[float, float]:
        """The greatest and the mean difference, in levels of 255."""
        apart = 255 * (self.ours - self.theirs).abs()
        return apart.max().item(), apart.mean().item()

    @property
    def is_equal(self) -> bool | None:
        """Whether both pictures are the same; None where the noise is not."""
        greatest, mean = self.differences
        if self.max_levels is None:
            return None
        return greatest <= self.max_levels and mean <= self.max_mean


@dataclass(frozen=True)
class Verification:
    """All pictures of one preset by both, what drew them, and what of that differs."""

    rows: tuple[ComparedPicture, ...]
    differences: tuple[str, ...]  # of weights and schedules: a sentence each
    notes: tuple[str, ...]  # about files, of which no picture needs to change
    origin: Mapping[str, Any]  # versions, weights, device: no path and no name

    @property
    def is_equal(self) -> bool | None:
        """Whether nothing differs; None where only fresh noise leaves it open."""
        verdicts = [row.is_equal for row in self.rows]
        if self.differences or False in verdicts:
            return False
        return None if None in verdicts else True

    def report(self) -> dict[str, Any]:
        """Return what a bug report needs, in values that JSON holds."""
        names = ("picture", "max_levels", "mean_levels", "is_equal")
        rows = [(row.what, *row.differences, row.is_equal) for row in self.rows]
        return {
            **self.origin,
            "is_equal": self.is_equal,
            "rows": [dict(zip(names, row, strict=True)) for row in rows],
            "differences": list(self.differences),
            "notes": list(self.notes),
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return a line for each picture, and one for each fact that differs."""
        verdicts = {True: "equal", False: "DIFFERENT", None: "other fresh noise"}
        lines = [
            (row.what, *(f"{levels:.4f}" for levels in row.differences), verdicts[row.is_equal])
            for row in self.rows
        ]
        return [*lines, *((text, "", "", "DIFFERENT") for text in self.differences)]

    def sheet(self) -> Image.Image:
        """Return all pictures in one, those of diffusers above."""
        drawn = [row for row in self.rows if row.what != READING]
        sides = zip(*((row.theirs, row.ours) for row in drawn), strict=True)
        pictures = [[to_pil(picture[None] * 2 - 1)[0] for picture in side] for side in sides]
        captions = [row.what for row in drawn]
        return contact_sheet(pictures, cell_px=CELL_PX, captions=captions)


def verify(
    preset: str | None = None,
    *,
    recipe: str | Recipe | None = None,
    device: str = "auto",
    on_picture: OnPicture = lambda _what: None,
    **choices: Unpack[Choices],
) -> Verification:
    """Draw pictures through SwiftPie and through diffusers, and compare them.

    Diffusers loads the files itself, by its `from_pretrained`, `load_ip_adapter` and
    `load_lora_weights`, with the scheduler that the folder names. Both compute in the recipe's own
    precision, and one after the other, so that the weights are in memory once. The detail branch
    is off, which diffusers does not have.

    Args:
        preset: One of `swiftpie presets`.
        recipe: One of `swiftpie recipes`, instead of a preset.
        device: Where both compute.
        on_picture: Called with what is drawn next.
        **choices: As of `swiftpie.load`.

    Raises:
        CapabilityError: Diffusers has no pipeline for these networks.
        ConfigError: As of `swiftpie.load`.
        WeightsError: Weights are missing, damaged or of another model.
    """
    plan = plan_load(preset, recipe=recipe, device=device, engine=(), choices=choices)
    return verify_plan(plan, on_picture=on_picture)


@torch.no_grad()
def verify_plan(plan: LoadSpec, *, on_picture: OnPicture = lambda _what: None) -> Verification:
    """Return what `verify` does of a preset with its choices."""
    known, chosen = plan.preset, plan.choices
    chosen["offloads"] = False
    make = plan.family.diffusers_reference(known)
    if make is None:
        raise CapabilityError(
            f"Diffusers has no pipeline that draws as preset {known.name!r} does, so there is "
            "nothing to compare with. Choose another one: `swiftpie recipes` lists them."
        )
    if plan.family.takes_adapters and (chosen.get("adapter") or known.detail):
        chosen["detail"] = "none"
    needs = download_plan(known, device=plan.device, **chosen)
    needs.fetch()
    dtype = dtype_of(chosen, plan.device)
    on_picture("SwiftPie draws")
    components = load_components(known, device=plan.device, **chosen)
    known, device, fingerprint = components.preset, components.device, components.fingerprint
    cells = (known.image_size_px // known.latent_cell_px,) * 2
    schedule = components.sized(cells).schedule
    tower = getattr(components.image_encoder, "tower", None)
    weights = digests_of({**components.family.to_modules(components), "image_encoder": tower})
    subject = read_subject(components)
    ours = draw_ours(components, subject)
    del components
    gc.collect()
    on_picture("diffusers draws")
    reference = make(known, needs, dtype)
    reference.pipeline.to(device)
    theirs = draw_theirs(reference, subject)
    is_same_noise = dtype is torch.float32 or not schedule.needs_noise
    origin = {
        "preset": known.name,
        "recipe": plan.origin.get("recipe"),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "memory_bytes": needs.memory_bytes,
        "size_px": known.image_size_px,
        "timesteps": list(known.timesteps),
        "prompt": PROMPT,
        "seed": SEED,
        "fingerprint": fingerprint,
        # Files of the user stay nameless; the fingerprint has them.
        "files": {part.name: str(part.reference) for part in needs.parts if part.reference},
    }
    notes = list[str]()
    for part in needs.parts:
        usual = {"base": known.base, "weights": known.repository}.get(part.option)
        place = part.reference.repository if part.reference else usual
        notes += files_unlike(part.root, part.names, PUBLISHED.get(place or "", {}))
    return Verification(
        tuple(compare(ours, theirs, is_same_noise=is_same_noise)),
        (
            *weights_unlike(weights, digests_of(reference.pipeline.components)),
            *schedule_unlike(schedule, reference.pipeline.scheduler),
        ),
        tuple(notes),
        origin,
    )


def digests_of(modules: Mapping[str, Any]) -> Digests:
    """Return mean, spread and mean along a ramp of each weight, by network and name.

    Attention processors, which are ours, do not count. A language model has the same names with a
    head that predicts words as without.
    """
    return {
        network: {
            name.removeprefix("model."): _digest(tensor)
            for name, tensor in module.state_dict().items()
            if ".processor." not in name
        }
        for network, module in modules.items()
        if isinstance(module, nn.Module)
    }


def _digest(tensor: Tensor) -> Tensor:
    numbers = tensor.detach().flatten().float()
    ramp = torch.linspace(0, 1, len(numbers), device=numbers.device)
    mean, along = (values.mean(dtype=torch.float64) for values in (numbers, numbers * ramp))
    return torch.stack([mean, numbers.std(correction=0).double(), along]).cpu()


def read_subject(components: Components) -> ComparedSubject:
    """Return the package's photograph of a dog, and a random vector where faces are read."""
    encoder, side = components.image_encoder, components.preset.image_size_px
    with as_file(files("swiftpie") / "assets" / "photos" / "dog.jpg") as path:
        square = middle_square(load_image(path).convert("RGB"))
    photo = square.resize((side, side), Image.Resampling.BICUBIC)
    face, seen, shown = None, None, photo
    if isinstance(encoder, FaceIdentityEncoder):
        drawn = torch.randn((1, encoder.face_width), generator=torch.Generator().manual_seed(SEED))
        face = F.normalize(drawn)
        crop = photo.resize((FACE_CROP_PX, FACE_CROP_PX), Image.Resampling.BICUBIC)
        shown = to_pil(encoder.in_public_order(to_tensor(crop)))[0]
    if isinstance(encoder, ClipIdentityEncoder):
        pixels = to_tensor(shown).to(components.device)
        seen = encoder.resized(pixels, torch.ones_like(pixels[:, :1])).cpu()
    scale = components.preset.defaults["identity_scale"]
    return ComparedSubject(photo, shown, seen, face, scale)


@torch.no_grad()
def draw_ours(components: Components, subject: ComparedSubject) -> dict[str, Tensor]:
    """Return how we draw the text, the subject, the subject with strengths of 0, and an edit."""
    photo = subject.photo
    recorder = _PictureRecorder(components.autoencoder)
    own = Session(replace(components, autoencoder=cast("Any", recorder)))
    draw: Callable[..., Any] = own.personalize
    if Capability.ANIMATE in components.preset.capabilities:
        draw = partial(own.animate, num_frames=NUM_FRAMES)

    def drawn(shown: Identity | None, scales: Scales) -> Tensor:
        draw([] if shown is None else shown, PROMPT, seed=SEED, scales=scales)
        return recorder.picture

    pictures = {TEXT: drawn(None, USUAL)}
    if components.family.edits_by_reference:
        own.edit(photo, PROMPT, seed=SEED)
        pictures[EDIT] = recorder.picture
    if not components.knows_subjects:
        return pictures
    if subject.face is None:
        identity = own.encode_identity(photo, cutout="none")
    else:
        crop = photo.resize((FACE_CROP_PX, FACE_CROP_PX), Image.Resampling.BICUBIC)
        identity = face_identity(components, subject.face, crop=crop)
    if subject.seen is not None:
        pictures[READING] = _as_seen(subject.seen)
    alone, silent = Scales(subject.scale), Scales(0.0)
    if components.image_encoder is None:
        alone, silent = Scales(0.0, 1.0), Scales(0.0, 0.0)
    return pictures | {SUBJECT: drawn(identity, alone), SILENT: drawn(identity, silent)}


@torch.no_grad()
def draw_theirs(reference: DiffusersReference, subject: ComparedSubject) -> dict[str, Tensor]:
    """Return what diffusers draws of the same; strengths of 0 are its picture of the text.

    In 16 bits one picture is drawn again by another kernel of attention, to see what rounding does.
    """
    pipeline = reference.pipeline
    pictures = {TEXT: reference.draw(PROMPT, seed=SEED)}
    draw = partial(reference.draw_subject, PROMPT, subject, seed=SEED)
    if reference.reads_pictures:
        pictures[SUBJECT] = pictures[EDIT] = draw(scale=1.0)
        pictures[SILENT] = pictures[TEXT]
    elif reference.adapter is not None:
        has_lora = reference.load_adapter()
        pictures |= {SUBJECT: draw(scale=subject.scale), SILENT: draw(scale=0.0)}
        if has_lora:
            pictures[TEXT] = pictures[SILENT]
        seen = pipeline.feature_extractor(images=subject.shown, return_tensors="pt")
        pictures[READING] = _as_seen(seen.pixel_values)
    else:
        pictures[SILENT] = pictures[TEXT]
    if pipeline.dtype is not torch.float32:
        with sdpa_kernel(SDPBackend.MATH):
            alone = partial(reference.draw, PROMPT, seed=SEED)
            pictures[ROUNDED] = draw(scale=0.0) if READING in pictures else alone()
    return pictures


def compare(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], *, is_same_noise: bool = True
) -> list[ComparedPicture]:
    """Return a row for each picture that both have, with the limits of equal ones.

    Those of 16 bits, which `theirs` tells by a picture that rounded in another way, are equal up to
    rounding. Without the same fresh noise in all steps that is left open.
    """
    limits: dict[str, tuple[float | None, float]] = {}
    if SUBJECT in theirs:
        effect = 255 * (theirs[SUBJECT] - theirs[TEXT]).abs().mean().item()
        limits[SUBJECT] = MAX_LEVELS, max(LEAST_LEVELS, MAX_SHARE * effect)
    if ROUNDED in theirs:
        rounding = 255 * (theirs[ROUNDED] - theirs[SILENT]).abs().mean().item()
        limit = 255.0 if is_same_noise else None
        limits = dict.fromkeys(ours, (limit, max(MAX_LEVELS, ROUNDING * rounding)))
    limits[READING] = MAX_READ_LEVELS, MAX_LEVELS
    return [
        ComparedPicture(what, picture, theirs[what], *limits.get(what, (MAX_LEVELS, MAX_LEVELS)))
        for what, picture in ours.items()
        if what in theirs
    ]


def weights_unlike(ours: Digests, theirs: Digests) -> Iterator[str]:
    """Yield a sentence for each network whose weights diffusers has in other numbers."""
    for network, own in ours.items():
        shared = own.keys() & theirs.get(network, {}).keys()
        apart = {name: (own[name] - theirs[network][name]).abs().max() for name in shared}
        unlike = sorted(name for name in shared if apart[name] > ALIKE * own[name][1])
        if unlike:
            yield f"{network}: {len(unlike)} of {len(shared)} tensors differ, as {unlike[0]}"


def schedule_unlike(ours: Schedule, theirs: Any) -> Iterator[str]:  # noqa: ANN401 - of diffusers
    """Yield a sentence for each fact in which the schedule of diffusers is another one."""
    times = [round(step.timestep) for step in ours.steps]
    facts: dict[str, tuple[Any, Any]] = {
        "the timesteps": (times, [round(float(timestep)) for timestep in theirs.timesteps])
    }
    if (predicted := theirs.config.get("prediction_type")) is not None:
        facts["the prediction type"] = (ours.prediction_type, predicted)
    if (kept := getattr(theirs, "alphas_cumprod", None)) is not None:
        signal = [f"{step.alpha**2:.4g}" for step in ours.steps]
        facts["the signal at these steps"] = (signal, [f"{float(kept[t]):.4g}" for t in times])
    for fact, (own, other) in facts.items():
        if own != other:
            yield f"scheduler: {fact}: {own} here, {other} by {type(theirs).__name__}"


def _as_seen(seen: Tensor) -> Tensor:
    """Return what CLIP reads (1, 3, s, s) as a picture (3, s, s) in [0, 1]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (seen[0].float().cpu() * std + mean).clamp(0, 1)


class _PictureRecorder:
    """An autoencoder that keeps what it decoded last, before it becomes 8 bits."""

    def __init__(self, autoencoder: Any) -> None:  # noqa: ANN401 - engines have their own
        self._autoencoder = autoencoder
        self.picture = torch.empty(0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the autoencoder has it
        return getattr(self._autoencoder, name)

    def decode(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self._autoencoder.decode(latents)
        self.picture = (beside(pixels).float().cpu() / 2 + 0.5).clamp(0, 1)
        return pixels
