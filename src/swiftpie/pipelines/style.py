"""A style picture in a drawing: how it acts, and what attention reads of it."""

import torch
from PIL import Image

from swiftpie.attention.kernels import SharedFeatures, StyleTokens, features_of
from swiftpie.attention.layer_scales import GROUPS_OF_XL, STYLE, groups_of, scales_of
from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import to_tensor
from swiftpie.models.denoiser import SubjectCondition, read_notes
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import StyleBy


def style_by(components: Components, request: PersonalizeRequest) -> StyleBy | None:
    """Return how the style picture of a request acts; None if there is none, or at scale 0."""
    if request.style_reference is None or request.style_scale == 0:
        return None
    able = _able(components)
    if request.style_by is None and able:
        return able[0]
    if request.style_by in able:
        return request.style_by
    given = (
        "A style picture" if request.style_by is None else f"style_by={request.style_by.value!r}"
    )
    raise CapabilityError(
        f"{given} came with preset {components.preset.name!r}, which can do "
        f"{', '.join(repr(way.value) for way in able) or 'none of it'}. 'blocks' needs a U-Net of "
        "Stable Diffusion XL with an adapter that reads pictures, 'attention' a detail branch "
        "(load with `detail='joint'`)."
    )


def _able(components: Components) -> list[StyleBy]:
    """Return the ways in which the networks take a style picture, the preferred one first."""
    if components.preset.places_subjects:
        return []  # its attention to references of any style draws a grey haze
    installation = components.denoiser.installation
    is_xl = set(groups_of(installation.semantic).values()) == GROUPS_OF_XL
    encoder = components.image_encoder
    reads_pictures = encoder is not None and not isinstance(encoder, FaceIdentityEncoder)
    ways = {StyleBy.BLOCKS: is_xl and reads_pictures, StyleBy.ATTENTION: bool(installation.detail)}
    return [way for way, is_possible in ways.items() if is_possible]


@torch.no_grad()
def with_style(
    condition: SubjectCondition, components: Components, request: PersonalizeRequest
) -> SubjectCondition:
    """Return a condition by which attention reads the style picture; without one, it as it is."""
    way = style_by(components, request)
    if way is None:
        return condition
    assert isinstance(request.style_reference, Image.Image), "there is a way, and files are open"
    attention = condition.attention
    pixels = _square(components, request.style_reference)
    scale = torch.full_like(attention.text_scale, request.style_scale)
    if way is StyleBy.ATTENTION:
        rows = (len(scale), -1, -1)
        features = {
            name: SharedFeatures(
                read.query.expand(rows), read.key.expand(rows), read.value.expand(rows), scale
            )
            for name, read in _read(components, pixels).items()
        }
        return condition._replace(attention=attention._replace(shared=features))
    tokens = components.encoder_of_identity()(pixels, torch.ones_like(pixels[:, :1]))
    names = components.denoiser.installation.semantic
    read = StyleTokens(tokens.expand(len(scale), -1, -1), scale)
    styled = [name for name, strength in scales_of(STYLE, names).items() if strength]
    # The subject leaves these layers to the style, unless the caller says otherwise.
    silent = dict.fromkeys(styled, torch.zeros_like(attention.identity_scale))
    return condition._replace(
        attention=attention._replace(
            style=dict.fromkeys(styled, read), layer_scales={**silent, **attention.layer_scales}
        )
    )


def _square(components: Components, picture: Image.Image) -> torch.Tensor:
    """Return all of a picture as encoders see it, (1, 3, S, S) in [-1, 1]."""
    side = components.preset.image_size_px
    square = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return to_tensor(square).to(components.device)


def _read(components: Components, pixels: torch.Tensor) -> dict[str, SharedFeatures]:
    """Return what each layer with a detail branch reads of a picture by its own projections."""
    denoiser = components.denoiser
    notes = read_notes(
        denoiser,
        components.autoencoder,
        pixels=pixels,
        mask=torch.ones_like(pixels[:, :1]),
        empty_text=components.text.encode([""]),
    )
    network = denoiser.installation.network
    layers = {name: network.get_submodule(name) for name in denoiser.installation.detail}
    found = {}
    for name, layer in layers.items():
        noted = notes[name].to(layer.to_k.weight.dtype)
        found[name] = features_of(layer.to_q(noted), layer.to_k(noted), layer.to_v(noted))
    return found
