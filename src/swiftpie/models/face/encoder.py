"""Face vectors, and pictures of the faces, to identity tokens, for IP-Adapter FaceID."""

from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from swiftpie.errors import CapabilityError
from swiftpie.models.projection import Feature, Projector
from swiftpie.models.vision import ClipIdentityEncoder


class FaceIdentityEncoder(ClipIdentityEncoder):
    """Maps vectors of a face recogniser (R, F), and crops of the faces, to tokens (R, K, D)."""

    def __init__(self, tower: CLIPVisionModelWithProjection, projector: Projector) -> None:
        """Wrap the networks; only FaceID Plus looks through `tower`."""
        super().__init__(tower, projector.module, projector.feature)
        self.face_width = projector.face_width
        self.reader = ClipIdentityEncoder(tower, nn.Identity(), Feature.HIDDEN)

    @property
    def needs_crops(self) -> bool:
        """Whether it also looks at the faces."""
        return self.feature is Feature.FACE_AND_HIDDEN

    def forward(self, pixels: Tensor, mask: Tensor, face: Tensor | None = None) -> Tensor:
        """Return identity tokens (R, K, D).

        Args:
            pixels: Crops (R, 3, H, W) in [-1, 1], the faces upright and in the middle.
            mask: What of them is seen, (R, 1, H, W) in [0, 1]; 0 everywhere shows nobody.
            face: One vector for each, (R, F).

        Raises:
            CapabilityError: There are no vectors.
        """
        if face is None:
            raise CapabilityError(
                "This adapter reads the vectors of a face recogniser, and pictures alone were "
                "given. Make the identity with face_identity(), or load another adapter."
            )
        inputs = [face]
        if self.needs_crops:
            inputs.append(self.reader(pixels, mask))
        tokens: Tensor = self.projector(*(one.to(self.dtype) for one in inputs)).float()
        return tokens
