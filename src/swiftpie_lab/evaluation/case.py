"""What is judged: cases, the evidence about their pictures, and metrics that read it."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from PIL import Image
from torch import Tensor

from swiftpie.faces import Face
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.registry import Registry
from swiftpie_lab.evaluation.copies import is_copy
from swiftpie_lab.evaluation.judges import JudgeReading, Networks

MIN_SHARE = 0.01  # a smaller share of the pixels is too little to compare
HALF = 127  # half of 255
WHITE = (255, 255, 255, 0)
MARGIN = 0.1  # around a subject on white, of its longer side


class Case(Protocol):
    """One item of a benchmark; a dataclass of strings and numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """Unique in its benchmark; the stem of its files."""


C_co = TypeVar("C_co", bound=Case, covariant=True)


@dataclass(frozen=True)
class Row(Generic[C_co]):
    """The scores of one case; a metric that does not apply to it is absent."""

    case: C_co
    scores: Mapping[str, Mapping[str, float]]  # by metric, then by candidate


@dataclass(frozen=True, eq=False, kw_only=True)
class Expected:
    """What judges should see in a candidate; empty fields are not judged."""

    where: Tensor  # (1, 1, H, W) around which they look for the subject
    subject: str = ""  # code of the subject there
    others: frozenset[str] = frozenset()  # codes of those it must not be taken for
    unrelated: frozenset[str] = frozenset()  # codes of those to compare with, not in the picture
    gone: str = ""  # code of the subject that must no longer be there
    answers: Mapping[str, str] = field(default_factory=dict)  # by question
    view: tuple[float, float] | None = None  # yaw and pitch in degrees
    is_lit: bool = False  # by nothing but the light of its place, which changes its colours

    @property
    def has_pose(self) -> bool:
        """Whether a view or a pose is requested."""
        return self.view is not None or "pose" in self.answers


@dataclass(frozen=True, eq=False, kw_only=True)
class Kept:
    """The subject that an edit shall leave alone."""

    code: str
    before: Tensor  # (1, 1, H, W) where it is in the source
    after: Tensor  # the same in the truth; 0 where it is gone


class ImageEmbedder(Protocol):
    """A network that turns a picture into a vector, or into one for each patch."""

    def picture(self, image: Image.Image) -> Tensor:
        """Return a unit vector (1, D), or patches (h, w, D)."""


@dataclass(frozen=True, eq=False)
class ReferencePhoto:
    """A photograph of a subject; networks read it once."""

    image: Image.Image  # RGB
    mask: Image.Image | None  # L, of its size; None where the subject was not found
    _seen: dict[tuple[ImageEmbedder, bool], Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def cutout(self) -> Image.Image | None:
        """The subject on white, as `on_white` has it."""
        return None if self.mask is None else on_white(self.image, self.mask)

    def seen_by(self, network: ImageEmbedder, *, is_masked: bool) -> Tensor | None:
        """Return what `network` says of the photograph, or of the subject alone if there is one."""
        image = self.cutout if is_masked else self.image
        if image is not None and (network, is_masked) not in self._seen:
            self._seen[network, is_masked] = network.picture(image)
        return self._seen.get((network, is_masked))


def on_white(image: Image.Image, mask: Image.Image) -> Image.Image | None:
    """Return the square around what `mask` shows, RGBA, white elsewhere; None if that is nothing.

    The mask is kept as opacity, which has no part in the colours.
    """
    box = mask.point(lambda value: 255 if value > HALF else 0).getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (0.5 + MARGIN)
    across, down = (left + right) / 2, (top + bottom) / 2
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=mask)
    white.putalpha(mask)
    square = [round(value) for value in (across - half, down - half, across + half, down + half)]
    result = Image.new("RGBA", (square[2] - square[0], square[3] - square[1]), WHITE)
    result.paste(white, (-square[0], -square[1]))
    return result


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """A candidate with all that its case knows; what a benchmark does not know is None.

    Pictures are (1, 3, H, W) in [-1, 1], masks (1, 1, H, W) in [0, 1].
    """

    picture: Tensor  # the candidate
    truth: Tensor | None = None  # the exact answer
    source: Tensor | None = None  # what was edited
    unlit: Tensor | None = None  # the subject of the truth before light falls on it, black around
    mask: Tensor | None = None  # the subject in the truth, or where an edit changes the picture
    claimed: Tensor | None = None  # the same by the candidate's maker
    alone: Tensor | None = None  # what the same maker draws of the expected subject alone
    uncomposed: Tensor | None = None  # the edit before the source was put back around it
    prompt: str = ""
    noun: str = ""  # the prompt's name for the subject
    style: str = ""  # what the prompt says of style
    expected: Expected | None = None
    kept: Kept | None = None
    reading: JudgeReading | None = None  # what the judges see in the candidate
    face: Face | None = None  # the main one that the candidate shows
    person: Face | None = None  # whose face it should be, as the judge of faces sees it
    time_ms: float | None = None
    references: tuple[ReferencePhoto, ...] = ()  # photographs of the subject
    networks: Networks = field(default_factory=Networks)

    @cached_property
    def cutout(self) -> Image.Image | None:
        """The subject on white where the candidate's maker says that it is."""
        if self.claimed is None:
            return None
        return on_white(self.image, mask_to_pil(self.claimed)[0])

    @cached_property
    def patches(self) -> Tensor | None:
        """What SigLIP2 says of the candidate, (h, w, D)."""
        return None if self.networks.siglip2 is None else self.networks.siglip2.picture(self.image)

    @cached_property
    def is_copy(self) -> bool | None:
        """Whether the subject is the first reference's; None where either is not cut out."""
        first = self.references[0].cutout if self.references else None
        cutout = self.cutout
        return None if first is None or cutout is None else is_copy(first, cutout)

    @property
    def image(self) -> Image.Image:
        return to_pil(self.picture)[0]

    @property
    def outside(self) -> Tensor | None:
        """Where nothing should change, 0 or 1; None if that is next to nothing."""
        return None if self.mask is None else _large_enough((self.mask <= 0).to(self.mask))

    @property
    def unedited(self) -> Tensor | None:
        """What PIE-Bench compares, 0 or 1; None if an edit may change all of the picture."""
        kept = None if self.mask is None else 1 - self.mask
        return None if kept is None or not bool(kept.any()) else kept

    @property
    def inside(self) -> Tensor | None:
        """Where the picture should change, 0 or 1; None if that is next to nothing."""
        return None if self.mask is None else _large_enough((self.mask > 0).to(self.mask))


@dataclass(frozen=True)
class Measure:
    """How a number is read."""

    title: str
    unit: str  # "%" for shares in [0, 1], which are shown times 100
    higher_is_better: bool | None  # None: neither is

    @property
    def label(self) -> str:
        """How tables call it: with its unit and an arrow to the better side."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return (f"{self.title}, {self.unit}" if self.unit else self.title) + arrow


@dataclass(frozen=True)
class Metric:
    """One number a candidate; averages belong to the report."""

    title: str
    score: Callable[[Evidence], float | None]  # None where the evidence says nothing about it
    unit: str = ""
    _: KW_ONLY
    higher_is_better: bool | None = True
    leaves_out: tuple[str, ...] = ()  # candidates that it would be wrong to judge
    needs: str = ""  # field of `Networks`, or a name in `JUDGES`
    is_median: bool = False  # the median stands for the mean, where a few cases are far off


def of(score: Callable[..., float | None], *fields: str) -> Callable[[Evidence], float | None]:
    """Return the score of what `fields` of the evidence hold; None if one of them is None."""

    def score_evidence(evidence: Evidence) -> float | None:
        values = [attrgetter(name)(evidence) for name in fields]
        return None if any(value is None for value in values) else score(*values)

    return score_evidence


def judged_by(
    judge: str, score: Callable[..., float | None], *fields: str
) -> Callable[[Evidence], float | None]:
    """Return the score that a network of `JUDGES` gives to what `fields` hold."""

    def score_evidence(evidence: Evidence) -> float | None:
        network = evidence.networks.others.get(judge)
        return None if network is None else of(partial(score, network), *fields)(evidence)

    return score_evidence


METRICS: Registry[Metric] = Registry(
    package="swiftpie_lab.evaluation.metrics",
    attribute="METRIC",
    family_attribute="METRICS",
    entry_point_group="swiftpie.metrics",
)


def _large_enough(region: Tensor) -> Tensor | None:
    return region if float(region.mean()) >= MIN_SHARE else None
