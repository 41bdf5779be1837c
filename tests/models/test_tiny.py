import torch

from swiftpie.geometry.layout import pixel_grid, to_affine, warp, whole_frame
from swiftpie.geometry.relief import height, turn
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.tiny import align

CELLS = (16, 16)
LATENTS = 3


class Pixels:
    """An autoencoder whose latents are means of pixels."""

    def encode(self, pixels):
        return torch.nn.functional.avg_pool2d(pixels, 8)


def references():
    """Return two different balls, premultiplied, and their masks."""
    grid = pixel_grid(128, 128, like=torch.zeros(()))
    radius = torch.tensor([0.8, 0.6])[:, None, None, None]
    mask = ((radius - grid.norm(dim=-1)) * 64 + 0.5).clamp(0, 1)
    colours = torch.stack([grid[..., 0], grid[..., 1], -grid[..., 0]]).expand(2, -1, -1, -1)
    return colours * mask, mask


def placed(pixels, mask, layout):
    return align(Pixels(), pixels, mask, layout=layout, cells=CELLS)


def test_subjects_with_a_pose_are_turned_before_they_are_placed():
    pixels, mask = references()
    upright = whole_frame(pixels)
    pose = torch.tensor([[0.7, -0.2, 0.1, 0.2], [0.0, 0.0, 0.0, 0.0]])
    mixed = placed(pixels, mask, upright._replace(pose=pose))
    assert torch.equal(mixed[1], placed(pixels, mask, upright)[1])
    seen = turn(torch.cat([pixels, mask], 1), height(mask), pose).frame
    assert torch.allclose(mixed, placed(seen[:, :3], seen[:, 3:], upright), atol=1e-6)
    assert (mixed[0, LATENTS:] - placed(pixels, mask, upright)[0, LATENTS:]).abs().max() > 0.5


def test_a_subject_without_a_pose_is_only_warped():
    pixels, mask = references()
    layout = whole_frame(pixels)._replace(scale=torch.tensor([0.5, 0.8]))
    shape = warp(mask, to_affine(layout), (128, 128))
    unshuffled = torch.nn.functional.pixel_unshuffle(shape, 8)
    assert torch.equal(placed(pixels, mask, layout)[:, LATENTS:], unshuffled)


def test_predicted_layouts_have_no_pose():
    predictor = LayoutPredictor(text_width=8, hidden=16)
    noise = torch.randn(3, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    layout = predictor(noise, torch.zeros(3, 8), torch.full((3, 2), 0.5)).layout
    assert torch.equal(layout.pose, torch.zeros(3, 4))
