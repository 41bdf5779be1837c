"""Where subjects stand in pictures of the world, and how they are posed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.noise import layout_uniforms
from swiftpie_world.accessories import ACCESSORIES
from swiftpie_world.captions import NONE, POSES, VIEWS, SceneSpec
from swiftpie_world.frames import lowest_point
from swiftpie_world.places import SCENE_PLACES

# Smallest frame and what the noise adds, in sides of the picture.
SCALES = {"normal": (0.44, 0.24), "tiny": (0.28, 0.07), "huge": (0.70, 0.14)}
BESIDE_SCALE = 0.52  # largest frame of one of two subjects
TILT_GROUNDED, TILT_FLOATING = 0.15, 0.4  # largest rotation without a pose, radians
FREE_YAW, FREE_PITCH = math.radians(22), math.radians(8)  # largest turn without a view
JUMP_HEIGHT = 0.16  # share of the side
MARGIN = 0.85  # how much of the frame must stay inside the picture

# Which layout numbers decide what; horizon, sun and planet have 5, 7 and 8.
X, FLOOR, SCALE, ROTATION, FLIP, YAW, PITCH, POSE = 0, 1, 2, 3, 4, 13, 14, 15
_ROOM = {accessory.name: accessory.room for accessory in ACCESSORIES} | {NONE: 1.0}


def place(noise: Tensor, frames: Tensor, specs: Sequence[SceneSpec]) -> Layout:
    """Return the layout, pose included, that `noise` (B, 32, h, w) and the specs determine.

    Subjects `frames` (B, 4, 128, 128) stand on their lowest point where the place has a floor.
    """
    u = layout_uniforms(noise)
    signed = 2 * u - 1
    spots = [SCENE_PLACES[spec.setting.place] for spec in specs]
    grounded = torch.tensor([spot.grounded for spot in spots], device=u.device)
    ranges = u.new_tensor([SCALES[spec.size] for spec in specs])
    room = u.new_tensor([_ROOM[spec.accessory] for spec in specs])
    scale = (ranges[:, 0] + ranges[:, 1] * u[:, SCALE]) * room
    poses = u.new_tensor([POSES[spec.pose] for spec in specs])
    side = torch.sign(signed[:, ROTATION])
    sway = signed[:, ROTATION] * torch.where(grounded, TILT_GROUNDED, TILT_FLOATING)
    is_turned = poses[:, 0] > 0
    posed_turn = side * (poses[:, 0] + poses[:, 1] * u[:, POSE])
    rotation = torch.where(is_turned, posed_turn, sway)
    views = u.new_tensor([VIEWS.get(spec.view, (0, 0, 0, 0)) for spec in specs]) * math.pi / 180
    is_open = torch.tensor([spec.view == NONE for spec in specs], device=u.device)
    yaw = torch.where(
        is_open, FREE_YAW * signed[:, YAW] ** 3, views[:, 0] + views[:, 1] * u[:, YAW]
    )
    pitch = torch.where(
        is_open, FREE_PITCH * signed[:, PITCH] ** 3, views[:, 2] + views[:, 3] * u[:, PITCH]
    )
    flip = (u[:, FLIP] > 0.5).to(u.dtype)
    yaw = yaw * (1 - 2 * flip)  # it turns to the same side of the picture, mirrored or not
    stretch = poses[:, 2] + poses[:, 3] * u[:, POSE]
    bend = side * (poses[:, 4] + poses[:, 5] * u[:, POSE])
    layout = Layout(
        centre=torch.zeros_like(u[:, :2]),
        scale=scale,
        rotation=rotation,
        flip=flip,
        pose=torch.stack([yaw, pitch, stretch, bend], dim=1),
    )
    margin = MARGIN * scale / 2
    floors = u.new_tensor([spot.floor for spot in spots])
    jump = u.new_tensor([JUMP_HEIGHT * (spec.pose == "jumping") for spec in specs])
    floor = floors[:, 0] + (floors[:, 1] - floors[:, 0]) * u[:, FLOOR]
    standing = floor - lowest_point(frames, layout) - jump
    floating = margin + (1 - 2 * margin) * u[:, FLOOR]
    wanted = u.new_tensor([{NONE: 0, "left": -1, "right": 1}[spec.side] for spec in specs])
    near_edge = 0.4 * scale + 0.1 * u[:, X]
    x = torch.where(wanted < 0, near_edge, 1 - near_edge)
    x = torch.where(wanted == 0, margin + (1 - 2 * margin) * u[:, X], x)
    y = torch.where(grounded, standing, floating)
    return layout._replace(centre=torch.stack([x, y], dim=1))


def side_by_side(
    layout: Layout, frames: Tensor, specs: Sequence[SceneSpec], noise: Tensor
) -> tuple[Layout, Layout]:
    """Return the layouts of two subjects side by side; neither hides most of the other."""
    u = layout_uniforms(noise)
    near = 0.22 + 0.1 * u[:, 1]
    x = torch.where(u[:, 0] > 0.5, near, 1 - near)

    def beside(layout: Layout, x: Tensor) -> Layout:
        # A smaller frame stands as low as the larger one did.
        centre = torch.stack([x, layout.centre[:, 1]], dim=1)
        return layout._replace(centre=centre, scale=layout.scale.clamp(max=BESIDE_SCALE))

    return beside(layout, x), beside(place(noise, frames, specs), 1 - x)
