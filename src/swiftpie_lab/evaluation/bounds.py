"""Bounds of a model's pictures: the same without its subject, and naive pastes."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, to_affine, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.imageio.images import fit_square, to_pil, to_tensor
from swiftpie.masks import load_mask
from swiftpie.pipelines.settings import Scales
from swiftpie_world.sampler import NOISE_CHANNELS

NO_SUBJECT = Scales(identity_scale=0.0, detail_scale=0.0)
REFERENCES = ("reference", "other-reference")  # of a case's subjects, from left to right
SUBJECT_MASKS = ("truth-mask", "other-truth-mask")


def check_noise(components: Components, *, side_px: int) -> None:
    """Refuse presets whose pictures have no right answer of `side_px`.

    Raises:
        CapabilityError: The preset starts from other noise than the renderer.
    """
    shape = (components.preset.latent_channels, *components.cells_of(None))
    needed = (NOISE_CHANNELS, *components.cells_of((side_px, side_px)))
    if shape != needed or components.preset.image_size_px != side_px:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws from noise of shape {shape}; pictures with "
            f"a right answer of {side_px} px need {needed}. Load the preset 'mini' with "
            f"`size_px={side_px}`."
        )


def paste(
    reference: Tensor, mask: Tensor, *, scenery: Tensor, layout: Layout, is_turned: bool = False
) -> Tensor:
    """Lay the unchanged subject of `reference` on `scenery`: right place, wrong light.

    Args:
        reference: Pixels (1, 3, H, W) in [-1, 1].
        mask: Its subject, (1, 1, H, W) in [0, 1].
        scenery: Pixels (1, 3, H, W) in [-1, 1].
        layout: Where the subject goes.
        is_turned: Turn it by its relief as the layout has it, instead of showing it unchanged.
    """
    size = (scenery.shape[-2], scenery.shape[-1])
    frame, cover = fit_square(reference, mask, size_px=size[0], fill=SUBJECT_FILL)
    sprite = torch.cat([frame * cover, cover], dim=1)
    if is_turned:
        sprite = turn(sprite, height(cover), layout.pose).frame
    drawn = warp(sprite, to_affine(layout), size)
    return scenery * (1 - drawn[:, 3:]) + drawn[:, :3]


@torch.no_grad()
def paste_all(
    known: Mapping[str, Image.Image],
    layouts: Sequence[Layout],
    *,
    scenery: Image.Image,
    is_turned: bool = False,
) -> Image.Image:
    """Lay the references among pictures by kind, as many as there are layouts, on `scenery`."""
    pasted = to_tensor(scenery)
    for kind, layout in zip(REFERENCES, layouts, strict=False):
        reference = known[kind]
        mask = load_mask(known[f"{kind}-mask"], reference.size, of_subject=True)
        pasted = paste(
            to_tensor(reference), mask, scenery=pasted, layout=layout, is_turned=is_turned
        )
    return to_pil(pasted)[0]
