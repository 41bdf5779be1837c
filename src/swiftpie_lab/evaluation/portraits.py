"""Who draws one subject in many places: a session, or any other program."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image
from torch import Tensor

from swiftpie.engine.session import Session
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.imageio.images import fit_square, plane, to_tensor
from swiftpie.masks import load_mask
from swiftpie.models.cutout import subject_mask
from swiftpie_lab.evaluation.contest import Painter, RivalTask, found_mask
from swiftpie_lab.evaluation.run import Maker, maker_of

CUTOUT_PX = 256  # side of cut-outs that are made here


class Drawn(NamedTuple):
    """A picture, and where its subject is, (1, 1, H, W)."""

    image: Image.Image
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Sitting:
    """A subject, cut out, with what draws it."""

    pixels: Tensor  # (1, 3, S, S) in [-1, 1], white around the subject
    mask: Tensor  # (1, 1, S, S)
    draw: Callable[[str, int, str], Drawn]  # by prompt, seed and name of a finished picture


class Portraitist(Protocol):
    """Draws subjects that pictures show."""

    @property
    def maker(self) -> Maker:
        """Who it is."""

    def look_at(self, reference: Image.Image, mask: Path | Image.Image | None) -> Sitting:
        """Return the subject of `reference`, where `mask` shows it or else where it is found.

        Raises:
            ImageError: None is found.
        """


class SessionPortraitist(NamedTuple):
    """Draws with a session."""

    session: Session

    @property
    def maker(self) -> Maker:
        """The preset."""
        return maker_of(self.session)

    def look_at(self, reference: Image.Image, mask: Path | Image.Image | None) -> Sitting:
        """Return the subject as the networks get it."""
        identity = self.session.encode_identity(reference, masks=mask)

        def draw(prompt: str, seed: int, name: str) -> Drawn:
            del name
            result = self.session.personalize(identity, prompt, seed=seed)
            return Drawn(result.images[0], plane(result.subject_masks[0]))

        shown = identity.mask[:1].cpu()  # the frame is 0 outside of the subject
        return Sitting(identity.pixels[:1].cpu() + 1 - shown, shown, draw)


class OtherPortraitist(NamedTuple):
    """Has another program draw, which sees whole pictures; its subjects are cut out afterwards."""

    painter: Painter

    @property
    def maker(self) -> Maker:
        """The program."""
        return self.painter.maker

    def look_at(self, reference: Image.Image, mask: Path | Image.Image | None) -> Sitting:
        """Return the subject as the automatic cut-out finds it, if there is no mask."""
        picture = reference.convert("RGB")
        cover = (
            subject_mask(reference)
            if mask is None
            else load_mask(mask, reference.size, of_subject=True)
        )
        pixels, shown = fit_square(to_tensor(picture), cover, size_px=CUTOUT_PX, fill=SUBJECT_FILL)

        def draw(prompt: str, seed: int, name: str) -> Drawn:
            task = RivalTask(prompt, seed, references=(picture,))
            image = self.painter.picture(task, name=name)
            return Drawn(image, found_mask(image))

        return Sitting(pixels * shown + 1 - shown, shown, draw)
