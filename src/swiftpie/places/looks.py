"""Colours and materials of subjects, by fixed rules on their frames."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.lexicon import LISTS
from swiftpie.places.fields import Colour, centres

Ramp = tuple[Colour, Colour, Colour]  # colours in shadow, of the body and in light

COLOURS: dict[str, Colour] = {name: (r, g, b) for name, (r, g, b) in LISTS["levels"].items()}

_LUMINANCE = (0.3, 0.59, 0.11)  # weights of red, green and blue, rounded from ITU-R BT.601
_SAMPLE = 4  # Every fourth pixel in x and y tells the statistics of a frame.
# Chosen by eye: the deviation of luminance that spans a ramp from the body to its end, the share of
# a subject that is black or white beyond which that is its body, and the share of the old colours
# that stays, so that parts of equal luminance stay apart. On neutral colours they would show.
_CONTRAST, _BODY_SHARE, _OLD_COLOURS, _NEUTRAL = 0.28, 0.45, 0.12, {"black", "white", "grey"}


def smoothstep(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls when `low` is above `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def recolour(frame: Tensor, colours: Sequence[str], *, features: bool = True) -> Tensor:
    """Return `frame` (B, 4, H, W), premultiplied, dyed; its shading and its features stay.

    Args:
        frame: Reference frames.
        colours: A name of `COLOURS` for each row, or "none", which changes nothing.
        features: Whether parts without a colour, as eyes, keep their own.
    """
    rows = [row for row, name in enumerate(colours) if name != "none"]
    dyed = frame.clone()
    if rows:
        dyed[rows] = _recolour(frame[rows], [colours[row] for row in rows], features=features)
    return dyed


def remake(
    frame: Tensor, normals: Tensor, materials: Sequence[str], table: "Mapping[str, Material]"
) -> Tensor:
    """Return `frame` (B, 4, H, W), premultiplied, as if it were made of something.

    The textures are fixed functions of frame coordinates, so they stay on a subject that moves.

    Args:
        frame: Reference frames.
        normals: Unit vectors (B, 3, h, w) of the relief: x right, y down, z to the viewer.
        materials: A name of the `table` for each row, or "none", which changes nothing.
        table: What draws each material.
    """
    result = frame.clone()
    for name in {*materials} - {"none"}:
        rows = [row for row, material in enumerate(materials) if material == name]
        result[rows] = table[name](Form(frame[rows], normals[rows]))
    return result


@dataclass(frozen=True)
class ToneCurve:
    """Luminance of frames, relative to the body of the subject."""

    frame: Tensor  # (B, 4, H, W) premultiplied

    @property
    def alpha(self) -> Tensor:
        """The opacity (B, 1, H, W)."""
        return self.frame[:, 3:]

    @cached_property
    def colour(self) -> Tensor:
        """The colours (B, 3, H, W), not premultiplied."""
        return self.frame[:, :3] / self.alpha.clamp_min(1 / 255)

    @cached_property
    def luminance(self) -> Tensor:
        """The luminance (B, 1, H, W) in [0, 1], not premultiplied."""
        weights = self.frame.new_tensor(_LUMINANCE).view(1, 1, 3)
        premultiplied = (weights @ self.frame[:, :3].flatten(2)).view_as(self.alpha)
        return premultiplied / self.alpha.clamp_min(1 / 255)

    @cached_property
    def body(self) -> Tensor:
        """Luminance (B, 1, 1, 1) of the subject's larger and lighter parts."""
        light = _sampled(self.luminance)
        # Light parts are what is dyed; black ones stay its features, as those of a panda.
        weight = _sampled(self.alpha) * (light + 0.1)
        return _mean(light, weight)

    @cached_property
    def tone(self) -> Tensor:
        """Luminance over the body's in [-1, 1], its contrast made alike in all subjects."""
        light, weight = _sampled(self.luminance), _sampled(self.alpha)
        spread = _mean((light - self.body).square(), weight).sqrt()
        gain = (_CONTRAST / spread.clamp_min(0.05)).clamp(1, 2) / (2 * _CONTRAST)
        return ((self.luminance - self.body) * gain).clamp(-1, 1)


def _sampled(plane: Tensor) -> Tensor:
    return plane[..., ::_SAMPLE, ::_SAMPLE]


def _mean(plane: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    return (plane * weight).sum(dim=(2, 3), keepdim=True) / total


def dye(alpha: Tensor, tone: Tensor, ramps: Tensor) -> Tensor:
    """Return premultiplied colours (B, 3, H, W) of `tone` in [-1, 1] on `ramps` (B or 1, 3, 3)."""
    dark, body, light = ramps.unbind(1)
    high = tone.clamp_min(0)
    planes = torch.cat([alpha, alpha * high, alpha * (tone - high)], dim=1)
    weights = torch.stack([body, light - body, body - dark], dim=2)
    return (weights @ planes.flatten(2)).view(-1, 3, *alpha.shape[2:])


def _recolour(frame: Tensor, names: list[str], *, features: bool) -> Tensor:
    tones = ToneCurve(frame)
    alpha, tone = tones.alpha, tones.tone
    ramps = frame.new_tensor([_ramp_of(name) for name in names]) / 255
    is_black = frame.new_tensor([name == "black" for name in names]).view(-1, 1, 1, 1)
    dyed_tone = tone
    if "black" in names:  # on it, what was darker could not be seen; there it turns lighter
        dyed_tone = torch.lerp(tone, tone.clamp_min(0) + 0.6 * (-tone).clamp_min(0), is_black)
    dyed = dye(alpha, dyed_tone, ramps)
    low, high = frame[:, :3].amin(dim=1, keepdim=True), frame[:, :3].amax(dim=1, keepdim=True)
    plain = smoothstep(0.25, 0.1, (high - low) / alpha.clamp_min(1 / 255))
    feature = plain * smoothstep(0.35, 0.7, tone.abs())
    share = _mean(_sampled(feature), _sampled(alpha))
    keep = features * feature * smoothstep(_BODY_SHARE, _BODY_SHARE / 2, share)
    if "black" in names:
        keep = keep * (1 - is_black * (tone < 0))
    old_colours = frame[:, :3] - alpha * tones.luminance
    chroma = frame.new_tensor([_OLD_COLOURS / (1 + 3 * (name in _NEUTRAL)) for name in names])
    dyed = (dyed + chroma.view(-1, 1, 1, 1) * old_colours).clamp_min(0)
    return torch.cat([torch.lerp(dyed, frame[:, :3], keep).minimum(alpha), alpha], dim=1)


def _ramp_of(name: str) -> Ramp:
    if name == "black":
        return (0, 0, 0), COLOURS[name], (150, 150, 158)
    if name == "white":
        return (95, 97, 105), COLOURS[name], (255, 255, 255)
    red, green, blue = COLOURS[name]
    dark = int(0.2 * red), int(0.2 * green), int(0.2 * blue)
    light = int(115 + 0.55 * red), int(115 + 0.55 * green), int(115 + 0.55 * blue)
    return dark, COLOURS[name], light


@dataclass(frozen=True)
class Form(ToneCurve):
    """What a material is drawn on."""

    normals: Tensor  # (B, 3, h, w)

    @cached_property
    def x(self) -> Tensor:
        """Pixel centres (1, 1, 1, W) in [0, 1], rightwards."""
        return centres(self.frame.shape[3], self.frame).view(1, 1, 1, -1)

    @cached_property
    def y(self) -> Tensor:
        """Pixel centres (1, 1, H, 1) in [0, 1], downwards."""
        return centres(self.frame.shape[2], self.frame).view(1, 1, -1, 1)

    def enlarge(self, plane: Tensor, mode: str = "bilinear") -> Tensor:
        """Return a plane (B, C, h, w) at the size of the frame."""
        return F.interpolate(plane, size=self.frame.shape[2:], mode=mode)

    @cached_property
    def carving(self) -> Tensor:
        """Luminance as height, lit from above left: positive on edges that face the light."""
        height = self.tone * self.alpha
        step = max(1, round(self.frame.shape[3] / 128))
        return height - height.roll((step, step), (2, 3))

    def facing(self, x: float, y: float, z: float) -> Tensor:
        """Return the cosine (B, 1, h, w) between the normals and a direction."""
        direction = F.normalize(self.normals.new_tensor([x, y, z]), dim=0).view(1, 1, 3)
        return (direction @ self.normals.flatten(2)).view_as(self.normals[:, :1])

    def lattice(self, columns: int, rows: int, salt: int) -> Tensor:
        """Return smooth numbers (1, 1, H, W) in (0, 1), fixed once and for all."""
        return self.enlarge(hashed(columns, rows, salt, self.frame), "bicubic").clamp(0, 1)


def hashed(columns: int, rows: int, salt: int, like: Tensor) -> Tensor:
    """Return numbers (1, 1, rows, columns) in [0, 1) that look random, the same anywhere."""
    cell = torch.arange(rows * columns, device=like.device) + 7919 * salt
    for _ in range(2):  # integers below 2 ** 31, so no product overflows
        cell = (cell * 1103515245 + 12345) % 2**31
        cell = cell ^ (cell >> 13)
    return (cell % 2**16 / 2**16).to(like.dtype).view(1, 1, rows, columns)


Material = Callable[[Form], Tensor]
"""Draws frames (B, 4, H, W), premultiplied, whose alpha is at most that of the form."""


def solid(form: Form, tone: Tensor, ramp: Ramp, alpha: Tensor | None = None) -> Tensor:
    """Return the frame of a form in the colours of `ramp`; it may be thinned by `alpha`."""
    cover = form.alpha if alpha is None else alpha
    ramps = form.frame.new_tensor(ramp)[None] / 255
    dyed = dye(cover, tone.clamp(-1, 1), ramps)
    return torch.cat([dyed.minimum(cover), cover], dim=1)


def _metal(form: Form, ramp: Ramp) -> Tensor:
    """Mirror a bright sky, a dark horizon and a lit ground, as polished metal does."""
    up = -form.normals[:, 1:2] - 0.35 * form.normals[:, :1]
    sky = smoothstep(0.0, 0.5, up) - 0.9 * smoothstep(-0.45, -0.1, up) * smoothstep(0.2, 0.0, up)
    ground = 0.5 * smoothstep(-0.35, -0.75, up)
    glint = smoothstep(0.93, 0.985, form.facing(-0.45, -0.55, 0.7))
    mirrored = form.enlarge(0.6 * sky + ground - 0.02 + glint)
    tone = mirrored + 0.4 * form.tone + 0.9 * form.carving
    # What shines most bends off gently, so that it keeps its relief.
    return solid(form, 1.15 * tone / (1 + tone.clamp_min(0).square()).sqrt(), ramp)


gold = partial(_metal, ramp=((104, 54, 4), (232, 174, 34), (255, 250, 196)))
silver = partial(_metal, ramp=((50, 54, 66), (176, 182, 192), (255, 255, 255)))


def stone(form: Form) -> Tensor:
    """Draw rough grey speckle with pits."""
    rough = form.lattice(64, 64, 4) - 0.5
    patch = form.lattice(10, 10, 5) - 0.5
    pits = smoothstep(0.8, 0.92, form.lattice(48, 48, 6))
    chips = rough - rough.roll((1, 1), (2, 3))
    speckle = 0.5 * rough + 0.5 * patch + 0.45 * chips - 0.5 * pits
    tone = speckle + 0.75 * form.tone + 1.8 * form.carving
    return solid(form, tone, ((48, 47, 46), (134, 131, 126), (206, 203, 196)))


def marble(form: Form) -> Tensor:
    """Draw grey veins in white stone."""
    slant = form.x + 0.6 * form.y
    warp = form.lattice(4, 4, 107) + 0.35 * form.lattice(12, 12, 108)
    wide = torch.sin(7 * slant + 3.2 * warp).abs()
    thin = torch.sin(16 * slant - 9 * form.y + 4 * form.lattice(6, 6, 109)).abs()
    veins = 0.8 * smoothstep(0.2, 0.0, wide) + 0.3 * smoothstep(0.14, 0.0, thin)
    cloud = smoothstep(0.8, 0.0, wide)
    tone = 0.5 - veins - 0.4 * cloud + 0.7 * form.tone + 1.4 * form.carving
    return solid(form, tone, ((88, 92, 102), (214, 214, 216), (255, 254, 250)))


def chocolate(form: Form) -> Tensor:
    """Draw smooth brown with soft highlights."""
    soft = 0.9 * form.facing(-0.4, -0.6, 0.6) - 0.75
    glint = smoothstep(0.93, 0.99, form.facing(-0.45, -0.6, 0.65))
    tone = form.enlarge(soft + 0.9 * glint) + 0.3 * form.tone + 1.6 * form.carving
    return solid(form, tone, ((38, 16, 8), (96, 50, 26), (214, 160, 122)))


MATERIALS: Mapping[str, Material] = {
    "gold": gold,
    "silver": silver,
    "stone": stone,
    "marble": marble,
    "chocolate": chocolate,
}
"""What edits make subjects of photographs of, by name."""
