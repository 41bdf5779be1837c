"""A style picture in a drawing.

In Stable Diffusion XL with an adapter that reads pictures, the layers that carry style read its
tokens (arXiv:2404.02733). In other U-Nets, all self-attention is shared with it (arXiv:2312.02133).
"""

from hashlib import sha256

import torch
from PIL import Image
from torch import Tensor

from swiftpie.attention.condition import StyleTokens
from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import to_tensor
from swiftpie.models.denoiser import ReadsLayers, SubjectCondition
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.layers import GROUPS_OF_XL, STYLE, group_of
from swiftpie.pipelines.tasks import Request


@torch.no_grad()
def with_style(
    condition: SubjectCondition,
    components: Components,
    request: Request,
    shares: Tensor | float = 1.0,
) -> SubjectCondition:
    """Return a condition by which attention reads the style picture; without one, the same one.

    Its strength has a factor of its own in each row, the `shares` (B,).

    Raises:
        CapabilityError: The networks read no style.
    """
    if not request.has_style:
        return condition
    assert isinstance(request.style_reference, Image.Image), "files are open"
    attention, side = condition.attention, components.preset.image_size_px
    square = request.style_reference.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    read = components.keep(
        "style", sha256(square.tobytes()).hexdigest(), lambda: _read(components, square)
    )
    scale = torch.full_like(attention.text_scale, request.style_scale) * shares
    style = {
        name: StyleTokens(tokens.expand(len(scale), -1, -1), scale) for name, tokens in read.items()
    }
    return condition._replace(attention=attention._replace(style=style))


def _read(components: Components, square: Image.Image) -> dict[str, Tensor]:
    """Return what layers read of a style picture, (1, K, D) by module path."""
    denoiser, encoder = components.denoiser, components.image_encoder
    groups = {name: group_of(name) for name in denoiser.installation.semantic}
    reads_pictures = encoder is not None and not isinstance(encoder, FaceIdentityEncoder)
    pixels = to_tensor(square).to(components.device)
    mask = torch.ones_like(pixels[:, :1])
    if {*groups.values()} == GROUPS_OF_XL and reads_pictures:
        tokens = components.encoder_of_identity()(pixels, mask)
        return {name: tokens for name, group in groups.items() if group == STYLE}
    if not isinstance(denoiser, ReadsLayers):
        raise CapabilityError(
            f"A style picture cannot be combined with preset {components.preset.name!r}: it needs "
            "a U-Net of Stable Diffusion. Load the recipe sd-turbo or sdxl-turbo, or describe the "
            "style in the prompt."
        )
    encoded = denoiser.encode_reference(components.autoencoder, pixels, mask)
    return denoiser.read_layers(encoded, components.family.null_text(components.text))
