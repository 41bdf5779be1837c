"""Colours of subjects, dyed by fixed rules on their frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from swiftpie.mini.fields import Colour, over, smoothstep

Ramp = tuple[Colour, Colour, Colour]  # in shadow, of the body, in light

COLOURS: dict[str, Colour] = {
    "red": (215, 30, 35),
    "orange": (250, 130, 15),
    "yellow": (250, 215, 25),
    "green": (45, 160, 50),
    "turquoise": (30, 200, 190),
    "blue": (30, 85, 220),
    "purple": (130, 50, 185),
    "pink": (250, 130, 185),
    "brown": (125, 75, 35),
    "black": (38, 38, 42),
    "white": (242, 242, 240),
    "grey": (135, 137, 140),
}

_LUMINANCE = (0.3, 0.59, 0.11)
_SAMPLE = 4  # every fourth pixel in x and y tells the statistics of a frame
_CONTRAST = 0.28  # deviation of luminance that spans a ramp from the body to its end
_KEPT_SHARE = 0.45  # of a subject; when more of it is black or white, that is its body
_OWN_CHROMA = 0.12  # of the old colours, so that parts of equal luminance stay apart
_NEUTRAL = {"black", "white", "grey"}  # on these the old colours would show


def recolour(frame: Tensor, colours: Sequence[str]) -> Tensor:
    """Return `frame` (B, 4, H, W), premultiplied, dyed; its shading and its features stay.

    Args:
        frame: Reference frames.
        colours: A name of `COLOURS` for each row, or "none", which changes nothing.
    """
    rows = [row for row, name in enumerate(colours) if name != "none"]
    if not rows:
        return frame
    if len(rows) == len(frame):
        return _recolour(frame, list(colours))
    dyed = frame.clone()
    dyed[rows] = _recolour(frame[rows], [colours[row] for row in rows])
    return dyed


@dataclass(frozen=True)
class Tones:
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
        shown = (weights @ self.frame[:, :3].flatten(2)).view_as(self.alpha)
        return shown / self.alpha.clamp_min(1 / 255)

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


def _recolour(frame: Tensor, names: list[str]) -> Tensor:
    tones = Tones(frame)
    alpha, tone = tones.alpha, tones.tone
    ramps = frame.new_tensor([_ramp_of(name) for name in names]) / 255
    is_black = frame.new_tensor([name == "black" for name in names]).view(-1, 1, 1, 1)
    shown = tone
    if "black" in names:  # on it, what was darker could not be seen; there it turns lighter
        shown = torch.lerp(tone, tone.clamp_min(0) + 0.6 * (-tone).clamp_min(0), is_black)
    dyed = dye(alpha, shown, ramps)
    low, high = frame[:, :3].amin(dim=1, keepdim=True), frame[:, :3].amax(dim=1, keepdim=True)
    plain = smoothstep(0.25, 0.1, (high - low) / alpha.clamp_min(1 / 255))
    feature = plain * smoothstep(0.35, 0.7, tone.abs())
    share = _mean(_sampled(feature), _sampled(alpha))
    keep = feature * smoothstep(_KEPT_SHARE, _KEPT_SHARE / 2, share)
    if "black" in names:
        keep = keep * (1 - is_black * (tone < 0))
    own = frame[:, :3] - alpha * tones.luminance
    chroma = frame.new_tensor([_OWN_CHROMA / (1 + 3 * (name in _NEUTRAL)) for name in names])
    dyed = (dyed + chroma.view(-1, 1, 1, 1) * own).clamp_min(0)
    return torch.cat([over(dyed, frame[:, :3], keep).minimum(alpha), alpha], dim=1)


def _ramp_of(name: str) -> Ramp:
    if name == "black":
        return (0, 0, 0), COLOURS[name], (150, 150, 158)
    if name == "white":
        return (95, 97, 105), COLOURS[name], (255, 255, 255)
    red, green, blue = COLOURS[name]
    dark = int(0.2 * red), int(0.2 * green), int(0.2 * blue)
    light = int(115 + 0.55 * red), int(115 + 0.55 * green), int(115 + 0.55 * blue)
    return dark, COLOURS[name], light
