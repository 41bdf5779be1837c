"""A style picture in a drawing: the layers that carry style read its tokens (arXiv:2404.02733)."""

import torch
from PIL import Image

from swiftpie.attention.kernels import StyleTokens
from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import to_tensor
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.layers import GROUPS_OF_XL, STYLE, group_of
from swiftpie.pipelines.request import PersonalizeRequest


def has_style(request: PersonalizeRequest) -> bool:
    """Whether a style picture acts: there is one, and its scale is not 0."""
    return request.style_reference is not None and request.style_scale > 0


@torch.no_grad()
def with_style(
    condition: SubjectCondition, components: Components, request: PersonalizeRequest
) -> SubjectCondition:
    """Return a condition by which attention reads the style picture; without one, the same one.

    Raises:
        CapabilityError: The networks have no layers for style, or no encoder of pictures.
    """
    if not has_style(request):
        return condition
    assert isinstance(request.style_reference, Image.Image), "files are open"
    names = components.denoiser.installation.semantic
    groups = {name: group_of(name) for name in names}
    encoder = components.image_encoder
    reads_pictures = encoder is not None and not isinstance(encoder, FaceIdentityEncoder)
    if {*groups.values()} != GROUPS_OF_XL or not reads_pictures:
        raise CapabilityError(
            f"A style picture came with preset {components.preset.name!r}, which reads none. It "
            "needs a U-Net of Stable Diffusion XL with an adapter that reads pictures, as "
            "the recipe sdxl-turbo. Else say the style in the prompt."
        )
    attention, side = condition.attention, components.preset.image_size_px
    square = request.style_reference.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    pixels = to_tensor(square).to(components.device)
    scale = torch.full_like(attention.text_scale, request.style_scale)
    tokens = components.encoder_of_identity()(pixels, torch.ones_like(pixels[:, :1]))
    read = StyleTokens(tokens.expand(len(scale), -1, -1), scale)
    style = {name: read for name, group in groups.items() if group == STYLE}
    return condition._replace(attention=attention._replace(style=style))
