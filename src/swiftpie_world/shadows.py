"""Shadows of drawn subjects: on the ground, around the feet and where they touch it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.shading import ContactPoints, Shadow, softened, thrown

# Around feet and where they touch it, ground loses so many times the darkness of the shadow, up to
# these shares: a subject hides the sky from it, so that hardly depends on the light.
_OCCLUSION, _MOST_SHADED, _MOST_OCCLUDED = 4.0, 0.5, 0.8
# Over which ways down and to the sides both darknesses fade, in widths of the frame.
_CONTACT_FADES, _CONTACT_SOFT, _CLOSE_FADES, _CLOSE_SOFT = 0.1, 0.07, 0.028, 0.01


def cast_shadow(contacts: ContactPoints, cast: Shadow) -> Tensor:
    """Return how much of the ground's light subjects take, (B, 1, R, R) in [0, 0.9].

    Their outline laid on the ground away from the light, a dark patch where they stand, and hardly
    any light where they touch the ground.
    """
    darkness, half = cast.darkness.view(-1, 1, 1, 1), contacts.stands.shape[-1]
    y = ((torch.arange(half, device=darkness.device) + 0.5) / half)[:, None]
    gap, cells = (contacts.lowest - y).abs() / contacts.wide, float(contacts.wide.max()) * half
    touching, around = (
        softened(contacts.stands * torch.exp(-gap / fades), soft * cells)
        for fades, soft in ((_CLOSE_FADES, _CLOSE_SOFT), (_CONTACT_FADES, _CONTACT_SOFT))
    )
    touched = touching * (_OCCLUSION * darkness).clamp(max=_MOST_OCCLUDED)
    shaded = around * (_OCCLUSION * darkness).clamp(max=_MOST_SHADED)
    lost = 1 - (1 - torch.maximum(shaded, thrown(contacts, cast))) * (1 - touched)
    return F.interpolate(lost, size=(contacts.side, contacts.side), mode="bilinear")
