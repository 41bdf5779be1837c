"""The same pictures by a pipeline of diffusers and by SwiftPie, from the weights that are here."""

import gc
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple, Unpack, cast

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.choices import Choices, dtype_of, resolve
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.peers import NUM_FRAMES, Peer, Reference, beside
from swiftpie.backbones.presets import RECIPES, Capability, Preset, Recipe, Use
from swiftpie.engine.plan import load_session, plan_downloads
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import contact_sheet, to_pil, to_tensor
from swiftpie.models.vision import ClipIdentityEncoder, FaceIdentityEncoder
from swiftpie.pipelines.identity import FACE_CROP_PX, face_identity, middle_square
from swiftpie.pipelines.settings import USUAL, Scales
from swiftpie.types import GenerationResult, Identity

PROMPT, SOURCE_PROMPT = "a dog on a beach at sunset", "a dog"
EDIT_PROMPT = "a cat"
SEED = 7
CELL_PX = 384  # of the sheet
MAX_LEVELS = 1.0  # of 255, the greatest difference of two pictures that count as equal
# Of what a reference changes in the mean: a strength that is 1 % off is seen, rounding is not.
MAX_SHARE, LEAST_LEVELS = 0.002, 0.01
PACKAGES = ("swiftpie", "diffusers", "transformers", "torch", "safetensors")

OnPicture = Callable[[str], None]


class Drawing(NamedTuple):
    """One picture and what it took."""

    picture: Tensor  # (3, H, W) in [0, 1], of an animation all frames beside each other
    seconds: float
    peak_mib: float | None  # of the device, or of the process; None: the system does not say


@dataclass(frozen=True)
class Row:
    """One picture by both."""

    name: str
    what: str
    ours: Drawing
    theirs: Drawing | None  # None where diffusers has no such picture
    bound_levels: float | None = None  # of the mean difference; None: of the greatest alone
    is_exact: bool = True  # whether numbers are long enough to compare

    @property
    def differences(self) -> tuple[float, float] | None:
        """The greatest and the mean difference, in levels of 255."""
        if self.theirs is None:
            return None
        apart = 255 * (self.ours.picture - self.theirs.picture).abs()
        return apart.max().item(), apart.mean().item()

    @property
    def is_equal(self) -> bool | None:
        """Whether both pictures are the same; None where that cannot be said."""
        if self.differences is None or not self.is_exact:
            return None
        greatest, mean = self.differences
        return greatest <= MAX_LEVELS and mean <= (self.bound_levels or MAX_LEVELS)

    def facts(self) -> dict[str, Any]:
        """Return the row in values that JSON holds."""
        greatest, mean = self.differences or (None, None)
        facts: dict[str, Any] = {"picture": self.name, "what": self.what}
        facts |= {"max_levels": greatest, "mean_levels": mean, "is_equal": self.is_equal}
        for side, drawing in (("diffusers", self.theirs), ("swiftpie", self.ours)):
            facts[f"{side}_s"] = None if drawing is None else round(drawing.seconds, 3)
            facts[f"{side}_peak_mib"] = None if drawing is None else drawing.peak_mib
        return facts


@dataclass(frozen=True)
class Verification:
    """All pictures of one preset by both, and what drew them."""

    rows: tuple[Row, ...]
    origin: Mapping[str, Any]  # versions, weights, device: no path and no name

    @property
    def is_equal(self) -> bool | None:
        """Whether all rows are equal; None where numbers of 16 bits leave it open."""
        found = [row.is_equal for row in self.rows if row.theirs is not None]
        return None if None in found else all(found)

    def report(self) -> dict[str, Any]:
        """Return what a bug report needs, in values that JSON holds."""
        return {
            **self.origin,
            "is_equal": self.is_equal,
            "rows": [row.facts() for row in self.rows],
        }

    def sheet(self) -> Image.Image:
        """Return all pictures in one, those of diffusers above."""
        blank = Image.new("RGBA", (CELL_PX, CELL_PX))
        theirs = [blank if row.theirs is None else _image(row.theirs) for row in self.rows]
        captions = [f"{row.name}: {row.what}" for row in self.rows]
        ours = [_image(row.ours) for row in self.rows]
        return contact_sheet([theirs, ours], cell_px=CELL_PX, captions=captions)


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
    known, _ = resolve(preset, recipe, choices)
    needs = plan_downloads(preset, recipe=recipe, device=device, **choices)
    if FAMILIES.get(known.family).peer(known, needs) is None:
        raise CapabilityError(
            f"Diffusers has no pipeline that draws as preset {known.name!r} does, so there is "
            "nothing to compare with. Choose another one: `swiftpie recipes` lists them."
        )
    needs.fetch()
    on_picture("loading the model")
    session = load_session(preset, recipe=recipe, device=device, **choices)
    known, place = session.components.preset, session.components.device
    reference = read_reference(session)
    own = draw_ours(session, reference, use=_use_of(recipe, known), on_picture=on_picture)
    dtype = dtype_of({"dtype": choices["dtype"]}, place.type)
    origin = _origin(session, recipe, needs, dtype)
    del session
    gc.collect()
    on_picture("loading the pipeline of diffusers")
    peer = open_peer(known, needs, device=place, dtype=dtype)
    theirs = draw_theirs(peer, reference, on_picture=on_picture)
    rows = compare(own, theirs, is_exact=dtype is torch.float32)
    return Verification(tuple(rows), origin)


def open_peer(
    preset: Preset, needs: DownloadPlan, *, device: torch.device, dtype: torch.dtype
) -> Peer:
    """Return the pipeline of diffusers for `preset`, which has one, from its files."""
    opener = FAMILIES.get(preset.family).peer(preset, needs)
    assert opener is not None, "presets without one are refused before"
    with _numpy_warnings_off():
        peer = opener(dtype)
    peer.pipeline.set_progress_bar_config(disable=True)
    peer.pipeline.to(device)
    return peer


class Subject(NamedTuple):
    """The package's photograph of a dog, as each network reads it."""

    photo: Image.Image  # square, as large as a picture of the preset
    reference: Reference
    scale: float  # of the adapter, as the recipe has it


def read_reference(session: Session) -> Subject:
    """Return the photograph resized once for both, and a random vector where faces are read."""
    components = session.components
    encoder, photo = components.image_encoder, _photograph(components.preset.image_size_px)
    face, seen = None, None
    if isinstance(encoder, FaceIdentityEncoder):
        drawn = torch.randn((1, encoder.face_width), generator=torch.Generator().manual_seed(SEED))
        face = F.normalize(drawn)
    if isinstance(encoder, ClipIdentityEncoder):
        pixels = to_tensor(photo if face is None else _crop(photo)).to(components.device)
        seen = encoder.resized(pixels, torch.ones_like(pixels[:, :1]))
    scale = components.preset.defaults["identity_scale"]
    return Subject(photo, Reference(to_tensor(photo), seen, face), scale)


def draw_ours(
    session: Session, subject: Subject, *, use: Use, on_picture: OnPicture = lambda _what: None
) -> dict[str, tuple[str, Drawing]]:
    """Return what each picture is and how `session` draws it, by name.

    Args:
        session: Any preset with a pipeline in diffusers.
        subject: As `read_reference` returns it.
        use: What the weights are for, which the last picture shows.
        on_picture: Called with what is drawn next.
    """
    components, photo = session.components, subject.photo
    recorder = _Recorder(components.autoencoder)
    own = Session(replace(components, autoencoder=cast("Any", recorder)))
    found: dict[str, tuple[str, Drawing]] = {}

    def add(name: str, what: str, draw: Callable[[], Tensor]) -> None:
        on_picture(f"SwiftPie: {what}")
        found[name] = what, _measured(draw, components.device)

    def drawn(shown: Identity | None, scales: Scales) -> Tensor:
        draw = _drawing_of(own, use)
        draw([] if shown is None else shown, PROMPT, seed=SEED, scales=scales)
        return recorder.picture

    drawn(None, USUAL)  # the first picture takes longer
    add("a", "text alone", lambda: drawn(None, USUAL))
    identity = None
    if components.knows_subjects:
        if subject.reference.face is None:
            identity = session.encode_identity(photo, cutout="none")
        else:
            identity = face_identity(components, subject.reference.face, crop=_crop(photo))
        if components.image_encoder is not None:
            alone, what = Scales(subject.scale, 0.0), f"IP-Adapter alone at {subject.scale:g}"
        else:
            alone, what = Scales(0.0, 1.0), "the reference alone"
        add("b", what, lambda: drawn(identity, alone))
        add("c", "strengths of 0", lambda: drawn(identity, Scales(0.0, 0.0)))
    if components.knows_subjects or use is Use.EDIT:
        add("d", "what the recipe draws", lambda: _as_recipe(session, photo, identity, use))
    return found


@torch.no_grad()
def draw_theirs(
    peer: Peer, subject: Subject, *, on_picture: OnPicture = lambda _what: None
) -> dict[str, Drawing]:
    """Return what diffusers draws from text, and of the reference, by the names of `draw_ours`."""
    device, reference = peer.pipeline.device, subject.reference

    def shown(strength: float) -> Tensor:
        return peer.draw_subject(PROMPT, reference, seed=SEED, scale=strength)

    def plain() -> Tensor:
        return shown(0.0) if peer.changes_text else peer.draw(PROMPT, seed=SEED)

    with _numpy_warnings_off():
        plain()
        on_picture("diffusers: text alone")
        found = {"a": _measured(plain, device)}
        if peer.knows_references:
            on_picture("diffusers: the subject")
            found["b"] = _measured(lambda: shown(subject.scale), device)
    return found


def compare(
    ours: Mapping[str, tuple[str, Drawing]], theirs: Mapping[str, Drawing], *, is_exact: bool
) -> list[Row]:
    """Return a row for each picture of ours; without strengths it is that of the text."""
    beside = {**theirs, "c": theirs["a"]}
    rows = []
    for name, (what, drawing) in ours.items():
        bound = None
        if name == "b" and "b" in theirs:
            effect = 255 * (theirs["b"].picture - theirs["a"].picture).abs().mean().item()
            bound = max(LEAST_LEVELS, MAX_SHARE * effect)
        rows.append(Row(name, what, drawing, beside.get(name), bound, is_exact))
    return rows


def _as_recipe(session: Session, photo: Image.Image, identity: Identity | None, use: Use) -> Tensor:
    if use is Use.EDIT:
        edited = session.edit(photo, EDIT_PROMPT, source_prompt=SOURCE_PROMPT, seed=SEED)
        images: Sequence[Image.Image] = [edited.image]
    else:
        assert identity is not None, "presets that personalize know subjects"
        subject = identity if use is Use.FACE else session.encode_identity(photo)
        images = _drawing_of(session, use)(subject, PROMPT, seed=SEED).images
    return beside(torch.cat([*map(to_tensor, images)])).float() / 2 + 0.5


def _drawing_of(session: Session, use: Use) -> Callable[..., GenerationResult]:
    """Return what draws a subject: one picture, or an animation as short as one can be."""
    if use is Use.ANIMATE:
        return partial(session.animate, num_frames=NUM_FRAMES)
    return session.personalize


def _photograph(side_px: int) -> Image.Image:
    """Return the package's photograph of a dog as a square."""
    with as_file(files("swiftpie") / "assets" / "photos" / "dog.jpg") as path:
        square = middle_square(load_image(path).convert("RGB"))
    return square.resize((side_px, side_px), Image.Resampling.BICUBIC)


def _crop(photo: Image.Image) -> Image.Image:
    return photo.resize((FACE_CROP_PX, FACE_CROP_PX), Image.Resampling.BICUBIC)


def _use_of(recipe: str | Recipe | None, preset: Preset) -> Use:
    if recipe is not None:
        return (RECIPES.get(recipe) if isinstance(recipe, str) else recipe).use
    return Use.ANIMATE if Capability.ANIMATE in preset.capabilities else Use.PERSONALIZE


@contextmanager
def _numpy_warnings_off() -> Iterator[None]:
    """Let schedulers of diffusers hand tensors to NumPy in the old way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


class _Recorder:
    """An autoencoder that keeps what it decoded last, before it becomes 8 bits."""

    def __init__(self, autoencoder: Any) -> None:  # noqa: ANN401 - engines have their own
        self._autoencoder = autoencoder
        self.picture = torch.empty(0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the autoencoder has it
        return getattr(self._autoencoder, name)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode `latents` (B, C, h, w), and keep the pictures."""
        pixels: Tensor = self._autoencoder.decode(latents)
        self.picture = (beside(pixels).float().cpu() / 2 + 0.5).clamp(0, 1)
        return pixels


def _measured(draw: Callable[[], Tensor], device: torch.device) -> Drawing:
    with _peak_of(device) as peak:
        started = time.perf_counter()
        picture = draw()
        seconds = time.perf_counter() - started
    return Drawing(picture, seconds, peak())


@contextmanager
def _peak_of(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Measure the most memory that is in use inside the block, in MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: round(torch.cuda.max_memory_allocated(device) / 2**20)
        return
    with suppress(OSError):  # Linux alone lets a process start its count anew
        Path("/proc/self/clear_refs").write_text("5")
    yield _peak_of_process


def _peak_of_process() -> float | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024)
    return None


def _origin(
    session: Session, recipe: str | Recipe | None, needs: DownloadPlan, dtype: torch.dtype
) -> dict[str, Any]:
    components = session.components
    device = components.device
    is_cuda = device.type == "cuda"
    return {
        "preset": components.preset.name,
        "recipe": getattr(recipe, "name", recipe),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "size_px": components.preset.image_size_px,
        "timesteps": list(components.preset.timesteps),
        "prompt": PROMPT,
        "seed": SEED,
        "fingerprint": components.fingerprint,
        "files": list(_files(needs)),
    }


def _files(needs: DownloadPlan) -> Iterator[dict[str, Any]]:
    """Yield the published files; those of the user stay nameless, and the fingerprint has them."""
    for part in needs.parts:
        if part.reference is not None:
            for name in part.names:
                blob = (part.root / name).resolve().name  # the cache calls large files by sha256
                yield {
                    "part": part.name,
                    "repository": part.reference.repository,
                    "revision": part.reference.revision,
                    "file": name,
                    "blob": blob if blob != Path(name).name else None,
                }


def _image(drawing: Drawing) -> Image.Image:
    return to_pil(drawing.picture[None] * 2 - 1)[0]
