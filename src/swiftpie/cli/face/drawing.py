"""From a found face to pictures of its person."""

from typing import TYPE_CHECKING, NamedTuple

from swiftpie.guidance.style import Style

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.pipelines.request import Scales
    from swiftpie.types import GenerationResult, Identity

CROP_PX = 224  # what image encoders see of an aligned face


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
        from swiftpie.guidance.steering import steering_of
        from swiftpie.pipelines.personalize import personalize

        components = self.session.components
        return personalize(
            components,
            identity,
            prompt,
            seeds=range(seed, seed + num_images),
            scales=self.scales,
            size_px=None if self.side_px is None else (self.side_px, self.side_px),
            **steering_of(self.style, len(components.schedule.steps)),
        )

    def draw_one(self, chosen: "ChosenFace", prompt: str, seed: int) -> "Image.Image":
        """Draw one picture of a face."""
        return self.draw(identity_of(self.session, chosen), prompt, seed=seed).images[0]


def identity_of(session: "Session", chosen: "ChosenFace") -> "Identity":
    """Return the identity of a face in the form that the loaded adapter reads.

    FaceID adapters read the vector of the face; others look at the aligned crop.
    """
    import numpy as np
    import torch

    from swiftpie.faces.align import align
    from swiftpie.models.face.encoder import FaceIdentityEncoder
    from swiftpie.pipelines.face import face_identity

    components = session.components
    landmarks = chosen.face.landmarks.astype(np.float64)
    crop = align(chosen.image, landmarks, side_px=CROP_PX)
    if isinstance(components.encoder_of_identity(), FaceIdentityEncoder):
        return face_identity(components, torch.from_numpy(chosen.face.embedding), crop=crop)
    return _identity_of_crop(session, crop)


def _identity_of_crop(session: "Session", crop: "Image.Image") -> "Identity":
    import torch
    from PIL import Image

    from swiftpie.images import to_tensor
    from swiftpie.pipelines.identity import identity_of_frames

    components = session.components
    side = components.preset.image_size_px
    pixels = to_tensor(crop.resize((side, side), Image.Resampling.BICUBIC)).to(components.device)
    return identity_of_frames(components, pixels, torch.ones_like(pixels[:, :1]))
