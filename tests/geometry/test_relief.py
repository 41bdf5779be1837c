import math

import pytest
import torch
from torch import Tensor

from swiftpie.geometry.layout import pixel_grid
from swiftpie.geometry.relief import BACK, height, mesh, normals, turn
from swiftpie_world.accessories import follow

SIDE_PX = 128
POSES = {
    "yaw": (0.8, 0.0, 0.0, 0.0),
    "pitch": (0.0, -0.35, 0.0, 0.0),
    "both": (-0.8, 0.35, 0.0, 0.0),
    "stretch": (0.0, 0.0, 0.4, 0.0),
    "bend": (0.0, 0.0, 0.0, -0.5),
}


def places() -> tuple[Tensor, Tensor]:
    x, y = pixel_grid(SIDE_PX, SIDE_PX, like=torch.zeros(())).unbind(-1)
    return x, y


def covered(distance_inside: Tensor) -> Tensor:
    """Return an anti-aliased mask (1, 1, H, W) of what lies inside."""
    return (distance_inside * SIDE_PX / 2 + 0.5).clamp(0, 1)[None, None]


def disc(radius: float = 0.8) -> Tensor:
    return covered(radius - torch.hypot(*places()))


def bar() -> Tensor:
    x, y = places()
    return covered(torch.minimum(0.2 - x.abs(), 0.85 - y.abs()))


def tree() -> Tensor:
    x, y = places()
    crown, trunk = 0.5 - torch.hypot(x, y + 0.35), torch.minimum(0.06 - x.abs(), 0.85 - y.abs())
    return torch.maximum(covered(crown), covered(torch.minimum(trunk, y + 0.35)))


def painted(alpha: Tensor) -> Tensor:
    """Return a frame (1, 4, H, W) that gets redder to the right and greener downwards."""
    x, y = places()
    colour = torch.stack([(x + 1) / 2, (y + 1) / 2, torch.full_like(x, 0.5)])
    return torch.cat([colour * alpha[0], alpha[0]])[None]


def pose(*values: float) -> Tensor:
    return torch.tensor([values])


def centre_of(frame: Tensor) -> tuple[float, float]:
    alpha = frame[0, 3]
    return tuple(((place * alpha).sum() / alpha.sum()).item() for place in places())


def row_of_feet(frame: Tensor) -> int:
    return int((frame[0, 3] > 0.5).any(1).nonzero().max())


def converged(alpha: Tensor) -> Tensor:
    """Return the relief of the same outline, relaxed until nothing changes, peak 1."""
    inside = ((torch.nn.functional.avg_pool2d(alpha, 2) - 0.1) / 0.4).clamp(0, 1).double()
    u = torch.zeros_like(inside)
    for _ in range(8000):
        padded = torch.nn.functional.pad(u, (1, 1, 1, 1))
        around = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
        around = around + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
        u = inside * (around / 4 + 1)
    return (u / u.max()).sqrt().float()


@pytest.mark.parametrize("shape", [disc, bar, tree])
def test_height_is_close_to_the_converged_solution(shape):
    relief = height(shape())
    assert (relief / relief.max() - converged(shape())).abs().max() < 0.03


def test_a_disc_becomes_a_ball_a_third_as_high_as_the_root_of_its_area():
    relief = height(disc(0.8))
    root_of_area = math.sqrt(math.pi) * 0.8  # in half sides
    assert relief.max().item() == pytest.approx(root_of_area / 3, rel=0.02)
    halfway = relief[0, 0, 32, 32 + round(32 * 0.4)] / relief.max()
    assert halfway.item() == pytest.approx(math.sqrt(1 - 0.25), abs=0.02)


def test_a_long_thing_is_no_deeper_than_wide():
    cell = 2 / 64
    assert height(bar()).max().item() == pytest.approx(0.2, abs=cell)


def test_heights_are_zero_outside_and_for_an_empty_frame():
    alpha = disc()
    outside = torch.nn.functional.max_pool2d(alpha, 2) == 0
    assert height(alpha)[outside].abs().max() == 0
    assert height(torch.zeros_like(alpha)).abs().max() == 0


def test_normals_have_length_one_and_lean_outwards():
    facing = normals(height(disc()))
    assert torch.allclose(facing.norm(dim=1), torch.ones(1, 64, 64), atol=1e-5)
    x, y, z = facing[0].unbind(0)
    assert x[32, 55] > 0.5 > -0.5 > x[32, 8]
    assert y[55, 32] > 0.5 > -0.5 > y[8, 32]
    assert z[32, 32] > 0.99
    assert z[0, 0] == 1


def test_rows_without_a_pose_stay_bit_for_bit():
    frames = torch.cat([painted(disc()), painted(bar()), painted(tree())])
    relief = height(frames[:, 3:])
    poses = torch.cat([pose(0, 0, 0, 0), pose(0.5, 0, 0, 0), pose(0, 0, 0, 0)])
    turned = turn(frames, relief, poses)
    assert torch.equal(turned.frame[::2], frames[::2])
    assert torch.equal(turned.height[::2], relief[::2])
    assert torch.equal(turned.normals[::2], normals(relief)[::2])
    assert not torch.equal(turned.frame[1], frames[1])
    assert turn(frames, relief, torch.zeros(3, 4)).frame is frames


@pytest.mark.parametrize("values", POSES.values(), ids=POSES)
def test_a_row_does_not_depend_on_its_batch(values):
    frames = torch.cat([painted(tree()), painted(disc())])
    relief = height(frames[:, 3:])
    both = turn(frames, relief, torch.cat([pose(*values), pose(0.3, 0.2, -0.2, 0.2)]))
    alone = turn(frames[:1], relief[:1], pose(*values))
    for one, many in zip(alone, both, strict=True):
        assert torch.allclose(one, many[:1], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_positive_yaw_turns_the_front_to_the_right_and_pitch_shows_more_of_the_top(axis):
    frame = painted(disc())
    seen = turn(frame, height(frame[:, 3:]), pose(*((0.5, 0), (0, 0.4))[axis], 0, 0)).frame
    # In the middle is what was left of it, or above.
    assert seen[0, axis, 64, 64] < frame[0, axis, 64, 64] - 0.05
    assert seen[0, 1 - axis, 64, 64] == pytest.approx(frame[0, 1 - axis, 64, 64].item(), abs=0.02)


@pytest.mark.parametrize("yaw", [-0.9, -0.5, 0.5, 0.9])
def test_the_outline_of_a_turned_ball_is_that_of_the_ellipsoid(yaw):
    frame = painted(disc(0.8))
    relief = height(frame[:, 3:])
    alpha = turn(frame, relief, pose(yaw, 0, 0, 0)).frame[0, 3, 64]
    cos, sin, deep = math.cos(yaw), math.sin(abs(yaw)), relief.max().item()
    near, far = (math.hypot(0.8 * cos, side * deep * sin) for side in (1, 0.8))
    left, right = (far, near) if yaw > 0 else (near, far)
    assert alpha[:64].sum().item() / 64 == pytest.approx(left, abs=0.03)
    assert alpha[64:].sum().item() / 64 == pytest.approx(right, abs=0.03)


@pytest.mark.parametrize("values", POSES.values(), ids=POSES)
def test_a_turned_solid_has_no_holes(values):
    frame = painted(disc())
    alpha = turn(frame, height(frame[:, 3:]), pose(*values)).frame[:, 3:]
    solid = -torch.nn.functional.max_pool2d(-(alpha > 0.05).float(), 9, 1, 4) == 1
    assert solid.sum() > 1000
    assert alpha[solid].min() > 0.95


@pytest.mark.parametrize("values", POSES.values(), ids=POSES)
def test_colours_stay_those_of_the_frame(values):
    """Premultiplied, and without grey or black where front and back meet."""
    frame = painted(disc())
    seen = turn(frame, height(frame[:, 3:]), pose(*values)).frame
    assert (seen[:, :3] <= seen[:, 3:] + 1e-5).all()
    blue = seen[:, 2:3] / seen[:, 3:].clamp_min(1e-3)
    assert (blue - 0.5)[seen[:, 3:] > 0.1].abs().max() < 0.02


def test_visible_points_have_heights_and_normals_of_the_ellipsoid():
    frame = painted(disc(0.8))
    relief = height(frame[:, 3:])
    yaw, deep = 0.6, relief.max().item()
    turned = turn(frame, relief, pose(yaw, 0, 0, 0))
    # At the middle: the nearest point of x^2 / 0.8^2 + z^2 / deep^2 = 1 along the line of sight.
    along = 1 / math.hypot(math.sin(yaw) / 0.8, math.cos(yaw) / deep)
    assert turned.height[0, 0, 31:33, 31:33].mean().item() == pytest.approx(along, rel=0.03)
    normal = (-along * math.sin(yaw) / 0.8**2, along * math.cos(yaw) / deep**2)
    across, towards = (axis / math.hypot(*normal) for axis in normal)
    cos, sin = math.cos(yaw), math.sin(yaw)
    expected = torch.tensor([across * cos + towards * sin, 0.0, towards * cos - across * sin])
    assert torch.allclose(turned.normals[0, :, 31:33, 31:33].mean((1, 2)), expected, atol=0.04)
    assert turned.height[0, 0, 0, 0] == 0
    assert torch.equal(turned.normals[0, :, 0, 0], torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("stretch", [-0.4, 0.4])
def test_stretching_keeps_area_and_feet_and_changes_the_aspect(stretch):
    alpha = disc(0.5)
    frame = painted(alpha)
    seen = turn(frame, height(alpha), pose(0, 0, stretch, 0)).frame
    assert seen[0, 3].sum().item() == pytest.approx(alpha.sum().item(), rel=0.03)
    assert abs(row_of_feet(seen) - row_of_feet(frame)) <= 1
    rows, columns = ((seen[0, 3] > 0.5).any(side).sum().item() for side in (1, 0))
    assert columns / rows == pytest.approx(math.exp(stretch), rel=0.06)


def test_bending_to_the_right_moves_the_top_and_not_the_feet():
    frame = painted(bar())
    right, left = (turn(frame, height(bar()), pose(0, 0, 0, bend)).frame for bend in (0.4, -0.4))
    assert centre_of(right)[0] > 0.1 > -0.1 > centre_of(left)[0]
    assert torch.allclose(right[:, 3], left[:, 3].flip(-1), atol=0.1)
    assert abs(row_of_feet(right) - row_of_feet(frame)) <= 1
    x, _ = places()
    feet = right[0, 3, row_of_feet(right) - 1]
    assert abs((feet * x[0]).sum() / feet.sum()) < 0.05


@pytest.mark.parametrize(
    "values", [(0, 0, -0.4, 0), (0, 0, 0.4, 0), (0, 0, 0, 0.5), (0, 0, 0.4, -0.5)]
)
@pytest.mark.parametrize("shape", [bar, lambda: disc(0.9)], ids=["bar", "disc"])
def test_what_is_stretched_or_bent_stays_in_the_frame(shape, values):
    seen = turn(painted(shape()), height(shape()), pose(0, 0, *values)).frame[0, 3]
    assert seen.sum() > 100
    assert torch.cat([seen[0], seen[-1], seen[:, 0], seen[:, -1]]).max() < 0.01


@pytest.mark.parametrize("values", [*POSES.values(), (0.5, -0.2, 0.3, 0.4)])
def test_what_is_painted_on_a_point_is_seen_where_the_point_comes_to_lie(values):
    relief = height(disc(0.7))
    seen = turn(painted(disc(0.7)), relief, pose(*values)).frame
    cells = [(24, 28), (32, 32), (40, 26), (28, 40)]  # of the relief, all on the near side
    grid = pixel_grid(64, 64, like=relief)
    points = torch.stack([torch.cat([grid[y, x], relief[0, 0, y, x, None]]) for x, y in cells])
    rows = len(points)
    moved = follow(points, relief.expand(rows, -1, -1, -1), pose(*values).expand(rows, -1))
    found = torch.nn.functional.grid_sample(seen, moved[None, None, :, :2], align_corners=False)
    assert torch.allclose(found[0, 3], torch.ones(1, rows), atol=0.02)
    assert torch.allclose(found[0, :2, 0].T * 2 - 1, points[:, :2], atol=0.05)


def test_an_empty_frame_stays_empty():
    frame = torch.zeros(1, 4, SIDE_PX, SIDE_PX)
    for relief in turn(frame, height(frame[:, 3:]), pose(0.5, 0.2, 0.2, 0.2)):
        assert torch.isfinite(relief).all()
    assert turn(frame, height(frame[:, 3:]), pose(0.5, 0, 0, 0)).frame.abs().max() == 0


def test_the_mesh_of_a_disc_is_a_ball_in_its_colours():
    colour = torch.tensor([0.2, 0.4, 0.8])
    points, faces, colours = mesh(torch.cat([disc() * colour.view(1, 3, 1, 1), disc()], 1))
    _, away, up = points[faces.flatten()].T
    assert -away.min() == pytest.approx(float(height(disc()).max()), rel=0.05)
    assert (float(away.max()), float(up.max())) == pytest.approx(
        (-BACK * away.min().item(), 0.8), abs=0.05
    )
    assert torch.allclose(colours[faces.flatten()], colour.view(1, 3), atol=0.02)
