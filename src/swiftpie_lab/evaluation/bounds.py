"""Bounds of a model's pictures: the same without its subject, naive pastes, and OpenCV's."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, MissingExtra
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, to_affine, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.imageio.images import bounding_box, fit_square, mask_to_pil, to_pil, to_tensor
from swiftpie.masks import grow, load_mask
from swiftpie.pipelines.request import cells_of
from swiftpie.pipelines.settings import Scales
from swiftpie_world.sampler import NOISE_CHANNELS

NO_SUBJECT = Scales(identity_scale=0.0, detail_scale=0.0)
REFERENCES = ("reference", "other-reference")  # references of a case's subjects, from left to right
SUBJECT_MASKS = ("truth-mask", "other-truth-mask")


def check_noise(components: Components, *, side_px: int) -> None:
    """Refuse presets whose pictures have no right answer of `side_px`."""
    shape = (components.preset.latent_channels, *cells_of(components.preset, None))
    needed = (NOISE_CHANNELS, *cells_of(components.preset, (side_px, side_px)))
    if shape != needed or components.preset.image_size_px != side_px:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws from noise of shape {shape}; answers of "
            f"{side_px} px need {needed}. Load the preset 'mini' with `size_px={side_px}`."
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


ROOM_PX = 3  # room around an outline for blending and inpainting, which need the surroundings
INPAINT_PX = 5  # radius of OpenCV's inpainting; its examples have 3 to 5


@torch.no_grad()
def poisson_blended(
    photo: Image.Image, reference: Tensor, cover: Tensor, *, layout: Layout
) -> Image.Image:
    """Blend a subject into a photograph by its gradients, with OpenCV's `seamlessClone`.

    Args:
        photo: RGB.
        reference: Pixels (1, 3, H, W) in [-1, 1], with what was behind the subject.
        cover: The subject in it, (1, 1, H, W).
        layout: Where it goes.
    """
    size = (photo.height, photo.width)
    both = torch.cat(fit_square(reference, cover, size_px=size[0], fill=SUBJECT_FILL), dim=1)
    drawn = warp(both, to_affine(layout), size)
    where = grow((drawn[:, 3:] > 0.5).float(), ROOM_PX)
    where[..., [0, -1], :] = where[..., [0, -1]] = 0  # it does not blend at the picture's edge
    left, top, right, bottom = bounding_box(where)
    middle = (
        round(left * size[1]) + round((right - left) * size[1]) // 2,
        round(top * size[0]) + round((bottom - top) * size[0]) // 2,
    )
    cv2 = opencv()
    blended = cv2.seamlessClone(
        np.array(to_pil(drawn[:, :3])[0]),
        np.array(photo),
        np.array(mask_to_pil(where)[0]),
        middle,
        cv2.NORMAL_CLONE,
    )
    return Image.fromarray(blended)


def inpainted(photo: Image.Image, mask: Tensor) -> Image.Image:
    """Fill `mask` (1, 1, H, W) from around it, with OpenCV's inpainting of Telea."""
    cv2, where = opencv(), np.array(mask_to_pil((mask > 0).float())[0])
    return Image.fromarray(cv2.inpaint(np.array(photo), where, INPAINT_PX, cv2.INPAINT_TELEA))


def opencv() -> Any:  # noqa: ANN401 - the library has no types
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtra(
            "Insertions are compared with OpenCV's blending and inpainting, and OpenCV is not "
            'installed. Install it: pip install "swiftpie-lab[evaluate]".'
        )
    return importlib.import_module("cv2")
