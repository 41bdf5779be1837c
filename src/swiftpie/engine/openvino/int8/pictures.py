"""Calls of autoencoders, image encoders and inversion networks, from the package's pictures."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.engine.openvino.arguments import outline, shapes
from swiftpie.engine.openvino.int8.drawing import PROMPTS, sample_pictures
from swiftpie.images import load_image, to_pil, to_tensor
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.types import TextCondition

NUM_PICTURES = 8  # each holds thousands of cells, whose ranges change little beyond
GRAIN = 0.05  # of the grounds, so that these have something fine in them

Call = tuple[Any, ...]  # nested tensors, as an exported graph takes them


@torch.no_grad()
def encoder_calls(components: Components, form: Any) -> list[Call]:  # noqa: ANN401 - see `outline`
    """Return calls of an encoder with pixels of the shape in the outline `form`."""
    del components  # pictures need no network
    batch, _, height, width = form[0].shape
    return [(one.expand(batch, -1, -1, -1),) for one in _scenes((height, width))]


@torch.no_grad()
def decoder_calls(components: Components, form: Any) -> list[Call]:  # noqa: ANN401 - see `outline`
    """Return calls of a decoder with latents of the shape in the outline `form`."""
    batch, _, rows, columns = form[0].shape
    latents = _latents(components, (rows, columns))
    return [(one.expand(batch, -1, -1, -1),) for one in latents]


@torch.no_grad()
def inversion_calls(components: Components, form: Any) -> list[Call]:  # noqa: ANN401 - see `outline`
    """Return calls of an inversion network whose shapes are those of the outline `form`."""
    batch, _, rows, columns = form[0].shape
    calls = [
        (one.expand(batch, -1, -1, -1), _text(components, number, batch))
        for number, one in enumerate(_latents(components, (rows, columns)))
    ]
    return [call for call in calls if shapes(outline(call)) == shapes(form)]


@torch.no_grad()
def tower_calls(components: Components, form: Any) -> list[Call]:  # noqa: ANN401 - see `outline`
    """Return calls of a CLIP tower with normalised pictures of the shape in `form`."""
    encoder = components.image_encoder
    assert isinstance(encoder, ClipIdentityEncoder), "no other encoder has such a graph"
    batch, _, height, width = form[0].shape
    pictures = [(one / 2 + 0.5 - encoder.mean) / encoder.std for one in _scenes((height, width))]
    return [(one.expand(batch, -1, -1, -1),) for one in pictures]


def _text(components: Components, number: int, batch: int) -> TextCondition:
    return components.text.encode([PROMPTS[(number + k) % len(PROMPTS)] for k in range(batch)])


def _latents(components: Components, cells: tuple[int, int]) -> list[Tensor]:
    cell = components.preset.latent_cell_px
    pictures = _scenes((cells[0] * cell, cells[1] * cell))
    return [components.autoencoder.encode(one) for one in pictures]


def _scenes(size: tuple[int, int]) -> list[Tensor]:
    """Return pictures (1, 3, H, W) of subjects on shaded, grainy grounds, always the same."""
    found = []
    for number, path in enumerate(sample_pictures(NUM_PICTURES)):
        generator = torch.Generator().manual_seed(number)
        top, bottom = (2 * torch.rand(2, 3, 1, 1, generator=generator) - 1).unbind()
        shade = torch.lerp(top, bottom, torch.linspace(0, 1, size[0])[:, None])
        ground = shade + GRAIN * torch.randn(3, *size, generator=generator)
        canvas = to_pil(ground.clamp(-1, 1)[None])[0].convert("RGBA")
        subject = load_image(path).convert("RGBA").resize(canvas.size)
        found.append(to_tensor(Image.alpha_composite(canvas, subject).convert("RGB")))
    return found
