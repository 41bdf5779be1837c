"""What OpenCV makes of subjects in photographs: Poisson blending and inpainting."""

import importlib
import importlib.util
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from swiftpie.errors import MissingExtra
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, to_affine, warp
from swiftpie.imageio.images import fit_square, mask_to_pil, to_pil
from swiftpie.masks import bounding_box, grow

ROOM_PX = 3  # that blending and inpainting get around an outline, so that they see the surroundings
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

    Raises:
        MissingExtra: OpenCV is not installed.
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
    """Fill `mask` (1, 1, H, W) from around it, with OpenCV's inpainting of Telea.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    cv2, where = opencv(), np.array(mask_to_pil((mask > 0).float())[0])
    return Image.fromarray(cv2.inpaint(np.array(photo), where, INPAINT_PX, cv2.INPAINT_TELEA))


def opencv() -> Any:  # noqa: ANN401 - the library has no types
    """Return OpenCV.

    Raises:
        MissingExtra: It is not installed.
    """
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtra(
            "Insertions are compared with OpenCV's blending and inpainting, and OpenCV is not "
            'installed. Install it: pip install "swiftpie-lab[evaluate]".'
        )
    return importlib.import_module("cv2")
