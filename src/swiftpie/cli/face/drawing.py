"""From a found face to pictures of its person."""

from typing import TYPE_CHECKING, NamedTuple

from swiftpie.guidance.style import Style

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.pipelines.request import Scales
    from swiftpie.types import GenerationResult, Identity


class Drawing(NamedTuple):
    """What all pictures of one command have in common."""

    session: "Session"
    scales: "Scales"
    style: Style
    side_px: int | None = None  # of square pictures; None is the preset's

    def draw(
        self, identity: "Identity", prompt: str, *, seed: int, num_images: int = 1
    ) -> "GenerationResult":
        """Draw pictures whose seeds count up."""
        return self.session.face(
            identity,
            prompt,
            style=self.style,
            seed=seed,
            num_images=num_images,
            scales=self.scales,
            size_px=None if self.side_px is None else (self.side_px, self.side_px),
        )

    def draw_one(self, chosen: "ChosenFace", prompt: str, seed: int) -> "Image.Image":
        """Draw one picture of a face."""
        return self.draw(identity_of(self.session, chosen), prompt, seed=seed).images[0]


def identity_of(session: "Session", chosen: "ChosenFace") -> "Identity":
    """Return the identity of a face in the form that the loaded adapter reads."""
    return session.encode_face(chosen)
