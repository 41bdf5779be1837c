"""Subjects before they are placed, and the reference pictures that show them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.relief import Turned, height
from swiftpie_world.fields import paste
from swiftpie_world.frames import pose_subjects
from swiftpie_world.lighting import REFERENCE_NUMBERS, relight_reference

SUBJECT_NUMBERS = 16  # uniform in [0, 1], for each subject
TURN_SHARE, MAX_TURN, HUE_SHARE = 0.3, 0.15, 0.3  # shares of subjects, before they get a pose
LEAST_RELIEF = 0.6  # least share of a subject's roundness; outlines do not show what is flat
OTHER_SIDE = (math.radians(20), math.radians(25))  # least yaw of a second reference, and more
OTHER_PITCH = math.radians(15)


def subject_frames(tiles: Tensor, numbers: Tensor, *, augment: bool) -> Tensor:
    """Return reference frames (G, 4, 128, 128), premultiplied RGBA in [0, 1].

    Args:
        tiles: Sprites (G, 4, h, w) in 8 bit, premultiplied.
        numbers: Uniform in [0, 1], (G, 16); four to eight decide the augmentation.
        augment: Turn, mirror and recolour some of them.
    """
    still = torch.zeros_like(numbers[:, 0])
    if not augment:
        return pose_subjects(tiles, rotation=still, flip=still, hue=still)
    turned = (numbers[:, 4] < TURN_SHARE) * (2 * numbers[:, 5] - 1) * MAX_TURN
    hue = (numbers[:, 7] < HUE_SHARE) * numbers[:, 8] * 2 * math.pi
    flip = (numbers[:, 6] > 0.5).to(numbers)
    return pose_subjects(tiles, rotation=turned, flip=flip, hue=hue)


def subject_relief(frames: Tensor, numbers: Tensor) -> Tensor:
    """Return the heights (G, 1, h, w) of `frames`; the fourth of `numbers` decides how round."""
    return height(frames[:, 3:]) * (1 - (1 - LEAST_RELIEF) * numbers[:, 3].view(-1, 1, 1, 1))


def other_side(numbers: Tensor) -> Tensor:
    """Return the pose (G, 4) of a second reference, turned clearly to one side."""
    signed, none = 2 * numbers[:, 4:6] - 1, torch.zeros_like(numbers[:, 0])
    yaw = torch.sign(signed[:, 0]) * (OTHER_SIDE[0] + OTHER_SIDE[1] * signed[:, 0].abs())
    return torch.stack([yaw, OTHER_PITCH * signed[:, 1], none, none], dim=1)


def draw_references(turned: Turned, numbers: Tensor, *, size_px: int) -> tuple[Tensor, Tensor]:
    """Return references (G, 3, R, R) in [-1, 1] and their masks (G, 1, R, R) in [0, 1].

    The first three of `numbers` are the colour of the wall, the last six decide the light.
    """
    lit = relight_reference(turned, numbers[:, -REFERENCE_NUMBERS:])
    size = (size_px, size_px)
    if lit.shape[-1] != size_px:
        lit = F.interpolate(lit, size=size, mode="bilinear", align_corners=False)
    backdrop = numbers[:, :3, None, None].expand(-1, -1, *size)
    return paste(backdrop, lit).clamp(0, 1) * 2 - 1, lit[:, 3:]
