import pytest
import torch
from torch.nn import functional as F

from swiftpie_world.shadows import Shadow, contact_points, thrown

FROM_LEFT = Shadow(
    torch.full((1,), 0.4), torch.full((1,), 1.35), torch.tensor([[-0.8, -0.36, 0.48]])
)


def test_the_shadow_of_a_foot_that_stands_further_back_begins_there():
    alpha = torch.zeros(1, 1, 256, 256)
    alpha[..., 52:180, 90:130] = 1
    alpha[..., 52:168, 130:170] = 1
    feet = torch.cat([alpha, alpha.flip(3)])  # the nearer foot is on the left, then on the right
    base, wide = torch.full((2, 1, 1, 1), 180 / 256), torch.full((2,), 0.5)
    shades = thrown(contact_points(feet, wide, base), FROM_LEFT)
    shades = F.interpolate(shades, 256, mode="bilinear")
    begins = [int((shade > shade.max() / 2).nonzero()[-1]) for shade in shades[:, 0, :, 180]]
    assert begins[1] - begins[0] == pytest.approx(12, abs=3)
