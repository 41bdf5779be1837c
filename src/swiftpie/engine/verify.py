"""The same pictures by a pipeline of diffusers and by SwiftPie, from the weights that are here."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from importlib.resources import as_file, files
from typing import Any, NamedTuple, Unpack, cast

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import download_plan, load_components
from swiftpie.backbones.peers import NUM_FRAMES, Peer, Reference, beside
from swiftpie.backbones.presets import Capability, Recipe
from swiftpie.engine.load import plan_load
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import contact_sheet, to_pil, to_tensor
from swiftpie.models.vision import ClipIdentityEncoder, FaceIdentityEncoder
from swiftpie.pipelines.identity import FACE_CROP_PX, face_identity, middle_square
from swiftpie.pipelines.settings import USUAL, Scales
from swiftpie.types import Identity

PROMPT = "a dog on a beach at sunset"
SEED = 7
CELL_PX = 384  # side of a cell of the sheet
MAX_LEVELS = 1.0  # greatest difference of equal pictures, in levels of 255
# Of what a reference changes in the mean: a strength that is 1 % off is seen, rounding is not.
MAX_SHARE, LEAST_LEVELS = 0.002, 0.01
PACKAGES = ("swiftpie", "diffusers", "transformers", "torch", "safetensors")

OnPicture = Callable[[str], None]


@dataclass(frozen=True)
class ComparedPicture:
    """One picture by both, (3, H, W) in [0, 1]; of an animation all frames beside each other."""

    what: str
    ours: Tensor
    theirs: Tensor
    max_mean: float = MAX_LEVELS  # limit of the mean difference of equal pictures
    is_exact: bool = True  # whether numbers are long enough to compare

    @property
    def differences(self) -> tuple[float, float]:
        """The greatest and the mean difference, in levels of 255."""
        apart = 255 * (self.ours - self.theirs).abs()
        return apart.max().item(), apart.mean().item()

    @property
    def is_equal(self) -> bool | None:
        """Whether both pictures are the same; None where numbers of 16 bits leave it open."""
        greatest, mean = self.differences
        return greatest <= MAX_LEVELS and mean <= self.max_mean if self.is_exact else None


@dataclass(frozen=True)
class Verification:
    """All pictures of one preset by both, and what drew them."""

    rows: tuple[ComparedPicture, ...]
    origin: Mapping[str, Any]  # versions, weights, device: no path and no name

    @property
    def is_equal(self) -> bool | None:
        """Whether all rows are equal; None where numbers of 16 bits leave it open."""
        found = [row.is_equal for row in self.rows]
        return None if None in found else all(found)

    def report(self) -> dict[str, Any]:
        """Return what a bug report needs, in values that JSON holds."""
        rows = [
            {
                "picture": row.what,
                **dict(zip(("max_levels", "mean_levels"), row.differences, strict=True)),
                "is_equal": row.is_equal,
            }
            for row in self.rows
        ]
        return {**self.origin, "is_equal": self.is_equal, "rows": rows}

    def sheet(self) -> Image.Image:
        """Return all pictures in one, those of diffusers above."""
        sides = zip(*((row.theirs, row.ours) for row in self.rows), strict=True)
        pictures = [[to_pil(picture[None] * 2 - 1)[0] for picture in side] for side in sides]
        captions = [row.what for row in self.rows]
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

    Networks are in float32 unless `dtype` says otherwise: in 16 bits two ways of the same
    arithmetic round differently, and fresh noise of diffusers is other noise.

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
    choices["dtype"] = choices.get("dtype") or "float32"
    plan = plan_load(preset, recipe=recipe, device=device, engine=(), choices=choices)
    known, chosen = plan.preset, plan.choices
    chosen["offloads"] = False
    make = plan.family.peer(known)
    if make is None:
        raise CapabilityError(
            f"Diffusers has no pipeline that draws as preset {known.name!r} does, so there is "
            "nothing to compare with. Choose another one: `swiftpie recipes` lists them."
        )
    needs = download_plan(known, device=plan.device, **chosen)
    needs.fetch()
    session = Session(load_components(known, device=plan.device, **chosen))
    known, place = session.components.preset, session.components.device
    subject = read_subject(session)
    on_picture("SwiftPie draws")
    ours = draw_ours(session, subject)
    on_picture("diffusers draws")
    theirs = draw_theirs(make(session.components, needs.path("adapter")), subject)
    dtype = dtype_of({"dtype": choices["dtype"]}, place.type)
    origin = {
        "preset": known.name,
        "recipe": getattr(recipe, "name", recipe),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else place.type,
        "dtype": str(dtype).removeprefix("torch."),
        "size_px": known.image_size_px,
        "timesteps": list(known.timesteps),
        "prompt": PROMPT,
        "seed": SEED,
        "fingerprint": session.components.fingerprint,
        # Files of the user stay nameless; the fingerprint has them.
        "files": {part.name: str(part.reference) for part in needs.parts if part.reference},
    }
    return Verification(tuple(compare(ours, theirs, is_exact=dtype is torch.float32)), origin)


class ComparedSubject(NamedTuple):
    """The package's photograph of a dog, as each network reads it."""

    photo: Image.Image  # square, as large as a picture of the preset
    reference: Reference
    scale: float  # strength of the adapter in the preset's recipe


def read_subject(session: Session) -> ComparedSubject:
    """Return the photograph resized once for both, and a random vector where faces are read."""
    components = session.components
    encoder, side = components.image_encoder, components.preset.image_size_px
    with as_file(files("swiftpie") / "assets" / "photos" / "dog.jpg") as path:
        square = middle_square(load_image(path).convert("RGB"))
    photo = square.resize((side, side), Image.Resampling.BICUBIC)
    face, seen = None, None
    if isinstance(encoder, FaceIdentityEncoder):
        drawn = torch.randn((1, encoder.face_width), generator=torch.Generator().manual_seed(SEED))
        face = F.normalize(drawn)
    if isinstance(encoder, ClipIdentityEncoder):
        pixels = to_tensor(photo if face is None else _crop(photo)).to(components.device)
        seen = encoder.resized(pixels, torch.ones_like(pixels[:, :1]))
    scale = components.preset.defaults["identity_scale"]
    return ComparedSubject(photo, Reference(to_tensor(photo), seen, face), scale)


def draw_ours(session: Session, subject: ComparedSubject) -> dict[str, Tensor]:
    """Return how `session` draws the text, the subject, and the subject with strengths of 0."""
    components, photo = session.components, subject.photo
    recorder = _PictureRecorder(components.autoencoder)
    own = Session(replace(components, autoencoder=cast("Any", recorder)))
    draw: Callable[..., Any] = own.personalize
    if Capability.ANIMATE in components.preset.capabilities:
        draw = partial(own.animate, num_frames=NUM_FRAMES)

    def drawn(shown: Identity | None, scales: Scales) -> Tensor:
        draw([] if shown is None else shown, PROMPT, seed=SEED, scales=scales)
        return recorder.picture

    found = {"text alone": drawn(None, USUAL)}
    if not components.knows_subjects:
        return found
    if subject.reference.face is None:
        identity = session.encode_identity(photo, cutout="none")
    else:
        identity = face_identity(components, subject.reference.face, crop=_crop(photo))
    has_adapter = components.image_encoder is not None
    alone = Scales(subject.scale, 0.0) if has_adapter else Scales(0.0, 1.0)
    return found | {
        "the subject": drawn(identity, alone),
        "strengths of 0": drawn(identity, Scales(0.0, 0.0)),
    }


@torch.no_grad()
def draw_theirs(peer: Peer, subject: ComparedSubject) -> dict[str, Tensor]:
    """Return what diffusers draws of the same; strengths of 0 are its picture of the text."""
    peer.pipeline.set_progress_bar_config(disable=True)
    found = {"text alone": peer.draw(PROMPT, seed=SEED)}
    if peer.reads_pictures or peer.adapter is not None:
        found["the subject"] = peer.draw_subject(
            PROMPT, subject.reference, seed=SEED, scale=subject.scale
        )
    return {**found, "strengths of 0": found["text alone"]}


def compare(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], *, is_exact: bool
) -> list[ComparedPicture]:
    """Return a row for each picture that both have."""
    bounds = {}
    if "the subject" in theirs:
        effect = 255 * (theirs["the subject"] - theirs["text alone"]).abs().mean().item()
        bounds["the subject"] = max(LEAST_LEVELS, MAX_SHARE * effect)
    return [
        ComparedPicture(what, picture, theirs[what], bounds.get(what, MAX_LEVELS), is_exact)
        for what, picture in ours.items()
        if what in theirs
    ]


def _crop(photo: Image.Image) -> Image.Image:
    return photo.resize((FACE_CROP_PX, FACE_CROP_PX), Image.Resampling.BICUBIC)


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
