import torch

from swiftpie.geometry.layout import pixel_grid, to_affine, warp, whole_frame
from swiftpie.geometry.relief import height, turn
from swiftpie.mini.denoiser import align, merge_aligned

CELLS = (16, 16)
LATENTS = 3


class Pixels:
    """An autoencoder whose latents are means of squared pixels, so that parts do not add up."""

    def encode(self, pixels):
        return torch.nn.functional.avg_pool2d(pixels.square(), 8)


def references():
    grid = pixel_grid(128, 128, like=torch.zeros(()))
    radius = torch.tensor([0.8, 0.6])[:, None, None, None]
    mask = ((radius - grid.norm(dim=-1)) * 64 + 0.5).clamp(0, 1)
    colours = torch.stack([grid[..., 0], grid[..., 1], -grid[..., 0]]).expand(2, -1, -1, -1)
    return colours * mask, mask


def placed(pixels, mask, layout):
    frames, present = [torch.cat([pixels, mask], 1)], torch.ones(len(mask), 1)
    return align(Pixels(), frames, layouts=[layout], present=present, cells=CELLS)[:, 0]


def test_subjects_with_a_pose_are_turned_before_they_are_placed():
    pixels, mask = references()
    upright = whole_frame(pixels)
    pose = torch.tensor([[0.7, -0.2, 0.1, 0.2], [0.0, 0.0, 0.0, 0.0]])
    mixed = placed(pixels, mask, upright._replace(pose=pose))
    assert torch.equal(mixed[1], placed(pixels, mask, upright)[1])
    seen = turn(torch.cat([pixels, mask], 1), height(mask), pose).frame
    assert torch.allclose(mixed, placed(seen[:, :3], seen[:, 3:], upright), atol=1e-5)
    assert (mixed[0, LATENTS:] - placed(pixels, mask, upright)[0, LATENTS:]).abs().max() > 0.5


def test_a_subject_without_a_pose_is_only_warped():
    pixels, mask = references()
    layout = whole_frame(pixels)._replace(scale=torch.tensor([0.5, 0.8]))
    shape = warp(mask, to_affine(layout), (128, 128))
    unshuffled = torch.nn.functional.pixel_unshuffle(shape, 8)
    assert torch.equal(placed(pixels, mask, layout)[:, LATENTS:], unshuffled)


def test_subjects_that_overlap_are_read_as_one_picture_with_the_first_in_front():
    pixels, mask = references()
    front, behind = torch.cat([pixels, mask], 1).split(1)
    layout = whole_frame(mask[:1])
    aside = layout._replace(centre=torch.tensor([[0.63, 0.5]]))
    moved = warp(behind, to_affine(aside), (128, 128))
    together = placed(*(front + (1 - front[:, 3:]) * moved).split((3, 1), 1), layout)
    for there, expected in (
        ([1, 1], together),
        ([1, 0], placed(pixels[:1], mask[:1], layout)),
        ([0, 1], placed(pixels[1:], mask[1:], aside)),
    ):
        present = torch.tensor([there], dtype=torch.float32)
        both = align(
            Pixels(), [front, behind], layouts=[layout, aside], present=present, cells=CELLS
        )
        assert torch.allclose(merge_aligned(both, present), expected, atol=1e-6)
        assert torch.allclose(merge_aligned(both, 0.6 * present), 0.6 * expected, atol=1e-6)
