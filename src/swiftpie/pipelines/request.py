"""What can be asked for: one frozen value for each operation, and the values inside of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from swiftpie.attention.shaping import Shaping
from swiftpie.errors import InputError
from swiftpie.guidance.base import Guidance
from swiftpie.masks import Box
from swiftpie.pipelines.settings import EditMode as EditMode
from swiftpie.pipelines.settings import EditSettings as EditSettings
from swiftpie.pipelines.settings import MaskSource as MaskSource
from swiftpie.pipelines.settings import Scales as Scales
from swiftpie.types import Identity

MAX_IMAGES = 64
MAX_SUBJECTS = 4


@dataclass(frozen=True)
class Subject:
    """One subject of a picture: who, where, and how strongly."""

    identity: Identity
    box: Box | None = None  # left, top, right, bottom in [0, 1]; None lets the model decide
    mask: Tensor | None = None  # region for rescaling (1, 1, H, W) in [0, 1]
    name: str = ""  # the words of the prompt that name it; sharpens inline masks
    scale: float = 1.0  # factor on the call's identity and detail scales


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalizeRequest:
    """Subjects in a new scene. From arXiv:2605.01510."""

    subjects: tuple[Subject, ...]
    prompt: str
    seeds: tuple[int, ...]  # one picture each, independent of the others in the batch
    scales: Scales | None = None  # None: the preset's
    mask: MaskSource = MaskSource.NONE  # where regions of subjects without a mask come from
    size_px: tuple[int, int] | None = None  # height and width; None: the preset's
    guidance: Guidance | None = None  # how several predictions of a step become one
    shaping: Shaping | None = None  # how identity maps are reshaped


@dataclass(frozen=True, eq=False, kw_only=True)
class EditRequest:
    """A picture changed so that it fits a prompt. From arXiv:2412.04301."""

    image: Image.Image  # any shape; transparency is ignored
    prompt: str  # what the picture shall show
    source_prompt: str = ""  # what it shows now
    keyword: str = ""  # what in it shall change; compared with no words then
    mask: Tensor | Box | None = None  # (1, 1, H, W) in [0, 1], or a box; None: found
    identity: Identity | None = None  # a subject that replaces the picture as image condition
    settings: EditSettings = field(default_factory=EditSettings)


def as_subjects(
    subjects: Identity | Sequence[Subject], *, mask: Tensor | None = None, box: Box | None = None
) -> tuple[Subject, ...]:
    """Return the subjects of a picture, the only one with its mask and box.

    Raises:
        InputError: There are none or too many, or mask and box come with several.
    """
    if isinstance(subjects, Identity):
        return (Subject(subjects, box=box, mask=mask),)
    if not 1 <= len(subjects) <= MAX_SUBJECTS:
        raise InputError(
            f"{len(subjects)} subjects were given; a picture can hold 1 to {MAX_SUBJECTS}."
        )
    if mask is not None or box is not None:
        raise InputError(
            "`mask` and `box` belong to a single identity. With several subjects, give each its "
            "own: Subject(identity, box=…, mask=…)."
        )
    return tuple(subjects)
