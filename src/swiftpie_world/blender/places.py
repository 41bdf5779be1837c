"""Places that Blender renders one light at a time: open ground under skies, and rooms."""
# ruff: noqa: ANN401 - Blender has no types.

import functools
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swiftpie_world.blender.studio import bpy, hang, mesh, quads, surround
from swiftpie_world.rays import Camera

Array = NDArray[Any]
Numbers = Sequence[float] | Array
FLOORS = ("rough", "rough", "polished", "boards", "cushion", "grass", "grass")  # no grass indoors
SETTINGS = {
    "render.engine": "CYCLES",
    "cycles.device": "CPU",
    "cycles.samples": 24,
    "cycles.max_bounces": 4,
    "cycles.use_denoising": True,
    "render.use_persistent_data": True,
    "render.threads_mode": "FIXED",
    "render.threads": 1,
    "view_settings.view_transform": "Standard",
    "render.image_settings.file_format": "OPEN_EXR",
    "render.image_settings.color_depth": "32",
}


ARC = np.linspace(0, math.pi, 11)
# Radius and height of what turns around an axis.
PROFILES = {
    "ball": np.stack([np.sin(ARC), -np.cos(ARC)]),
    "tube": np.array([[0, 1, 1, 0], [-1, -1, 1, 1]]),
    "box": np.array([[0, math.sqrt(2), math.sqrt(2), 0], [-1, -1, 1, 1]]),
    "cone": np.array([[0, 1, 0], [-1, -1, 1]]),
    "ring": np.stack([1 + 0.12 * np.cos(2 * ARC), np.sin(2 * ARC)]),
}


class Body(NamedTuple):
    """A surface of N corners and M faces, with a colour at each corner."""

    points: Array  # (N, 3)
    faces: Array  # (M, 4)
    colours: Array  # (N, 3), linear


class Light(NamedTuple):
    """What is switched on alone: an object, or the world."""

    kind: str  # "sky", "panorama", "sun", "window" or "lamp"
    lamp: Any = None
    world: Any = None
    sun: tuple[float, ...] = (0.0,) * 6  # direction to it (right, away, up), and its irradiance


class Place:
    """A place with lights, for things of a height; equal draws make equal places."""

    def __init__(
        self, draw: Random, camera: Camera, *, tall: float, size_px: int, skies: Sequence[Path]
    ) -> None:
        self.draw, self.camera, self.tall, self.size_px = draw, camera, tall, size_px
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        for path, value in SETTINGS.items():
            *owner, name = path.split(".")
            setattr(functools.reduce(getattr, owner, self.scene), name, value)
        self.lights: list[Light] = []
        self.stuff: list[Any] = []
        self.floors: list[Any] = []  # pressed down where a thing sinks in, and flat
        self.kind = self.name = draw.choice(("open", "room"))
        self.black, self.white = self.world(0), self.world(1)
        self.floor = draw.choice(FLOORS if self.kind == "open" else FLOORS[:-2])
        self.lay_floor()
        if self.kind == "open":
            self.open_up(skies)
        else:
            self.wall_in()
        self.eye, self.probe = (hang("object", bpy.data.cameras.new("camera")) for _ in range(2))
        self.probe.data.type, self.probe.data.panorama_type = "PANO", "EQUIRECTANGULAR"
        self.probe.location, self.probe.rotation_euler.x = (0, 0, 0.25 * tall), math.pi / 2
        self.eye.location = 0, -camera.distance, camera.height
        self.eye.rotation_euler.x = math.pi / 2 - camera.pitch
        lens = self.eye.data
        lens.lens, lens.sensor_width, lens.clip_start = 36 * camera.focal, 36, 0.01
        lens.shift_x, lens.shift_y = 0.5 - camera.column, camera.row - 0.5

    def tint(self, low: float, high: float, spread: float = 0.15) -> tuple[float, ...]:
        """Return a colour about as bright as a number between two."""
        bright = self.draw.uniform(low, high)
        return tuple(min(0.9, bright * max(0.1, self.draw.gauss(1, spread))) for _ in range(3))

    def world(self, strength: float, image: Any = None) -> Any:
        """Return a sky, white or of a panorama, turned by chance."""
        made = bpy.data.worlds.new("world")
        made.use_nodes = True
        # A finer map of where it is bright takes a second and more for each render.
        made.cycles.sampling_method, made.cycles.sample_map_resolution = "MANUAL", 128
        back = made.node_tree.nodes["Background"].inputs
        back[0].default_value, back[1].default_value = (1, 1, 1, 1), strength
        if image is not None:
            surround(made, image, self.draw.uniform(0, 2 * math.pi))
        return made

    def add(self, body: Body, *, rough: float = 0.85, metal: float = 0.0, glow: float = 0.0) -> Any:
        """Add a body; one that glows gives light of its colours, and is black."""
        made = bpy.data.materials.new("surface")
        made.use_nodes = True
        shader = made.node_tree.nodes["Principled BSDF"].inputs
        values = {"Roughness": rough, "Metallic": metal, "Emission Strength": glow}
        for name, value in (*values.items(), ("Base Color", (0, 0, 0, 1))):
            shader[name].default_value = value
        colour = made.node_tree.nodes.new("ShaderNodeVertexColor")
        colour.layer_name = "colour"
        lit = shader["Emission Color" if glow else "Base Color"]
        made.node_tree.links.new(colour.outputs[0], lit)
        net = mesh("mesh", body.points, body.faces, made, is_smooth=True)
        net.set_sharp_from_angle(angle=math.radians(50))
        layer = net.color_attributes.new("colour", "FLOAT_COLOR", "POINT")
        opaque = np.pad(body.colours, ((0, 0), (0, 1)), constant_values=1)
        layer.data.foreach_set("color", opaque.astype(np.float32).ravel())
        return hang("object", net)

    def lay_floor(self) -> None:
        """Lay a floor of one kind, with spots or boards; a cushion also pressed down."""
        draw, kind, tall = self.draw, self.floor, self.tall
        deal = np.random.default_rng(draw.randrange(2**31))
        colour = np.array(self.tint(0.1, 0.6))
        if kind == "grass":
            colour = deal.uniform((0.05, 0.12, 0.02), (0.2, 0.28, 0.07))
        rough = {"polished": draw.uniform(0.08, 0.3), "boards": draw.uniform(0.3, 0.6)}
        line = np.concatenate([[-100], np.linspace(-3, 3, 120), [100]])
        x, y = np.meshgrid(line, line)
        spots = 1 - draw.choice((0, 0.15, 0.4)) * deal.random(x.shape)
        if kind == "boards":
            spots *= deal.uniform(0.7, 1, 122)[np.arange(122) // draw.randint(2, 6)]
        far = np.hypot(x, y) / draw.uniform(0.35, 0.7)
        dent = 0.15 * np.exp(-12 * (far - 1.25) ** 2) - np.exp(-(far**4))
        self.sunk = tall * draw.uniform(0.03, 0.1) if kind == "cushion" else 0.0
        for deep in {self.sunk: 0, 0.0: 0}:
            points = np.stack([tall * x, tall * y, deep * dent], -1).reshape(-1, 3)
            body = Body(points, quads(*x.shape), spots.reshape(-1, 1) * colour)
            self.floors.append(self.add(body, rough=rough.get(kind, 0.9)))
        self.stuff += self.floors
        if kind == "grass":
            self.stuff.append(self.add(self.grass(deal, colour, tall * draw.uniform(0.05, 0.25))))

    def grass(self, deal: np.random.Generator, colour: Array, high: float) -> Body:
        """Return blades of grass, the denser the nearer."""
        count = 24_000
        far, way, turn = (deal.uniform(0, end, count) for end in (1, 6.3, 6.3))
        foot = np.stack([np.cos(way), np.sin(way), 0 * way], 1) * (
            7 * self.tall * far[:, None] ** 0.75
        )
        side = 0.06 * high * np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
        lean = np.concatenate([deal.normal(0, 0.35, (count, 2)), np.ones((count, 1))], 1)
        tip = foot + high * deal.uniform(0.5, 1.2, (count, 1)) * lean
        points = np.stack([foot - side, foot + side, tip + 0.1 * side, tip], 1).reshape(-1, 3)
        shades = colour * deal.uniform(0.7, 1.2, (count, 1)).repeat(4, 0)
        return Body(points, np.arange(4 * count).reshape(-1, 4), shades)

    def clutter(self, far: float) -> None:
        """Put up to three boxes around, not between the camera and things."""
        draw = self.draw
        for _ in range(draw.randint(0, 3)):
            turn, away = draw.uniform(0, 2 * math.pi), far * draw.uniform(1, 2)
            x, y = away * math.sin(turn), away * math.cos(turn)
            half = [far * draw.uniform(0.1, 0.45) for _ in range(3)]
            if y > -0.5 * far or abs(x) > far:
                body = solid("box", (x, y, half[2]), half, self.tint(0.1, 0.7, 0.25))
                self.stuff.append(self.add(body))

    def open_up(self, skies: Sequence[Path]) -> None:
        """Put a sky, sometimes a panorama, and three suns over it."""
        draw, images = self.draw, bpy.data.images
        self.clutter(2.2 * self.tall)
        if skies and draw.random() < 0.5:
            sky = draw.choice(skies)
            self.name = sky.stem
            self.lights.append(Light("panorama", world=self.world(1, images.load(str(sky)))))
        sky, (rows, columns) = images.new("sky", 64, 32, float_buffer=True), np.mgrid[0:32, 0:64]
        side = draw.uniform(0.2, 1.5) * np.cos(columns * math.pi / 32) * np.sin(rows * math.pi / 32)
        share = 1 / (1 + np.exp(-2 * side - draw.uniform(0, 0.2) * (rows - 16)))[..., None]
        dark, bright = (np.array((*self.tint(0.1, 0.8, 0.12), 1)) for _ in range(2))
        sky.pixels.foreach_set((dark + share * (bright - dark)).astype(np.float32).ravel())
        self.lights.append(Light("sky", world=self.world(1, sky)))
        for _ in range(3):
            lamp = bpy.data.lights.new("sun", "SUN")
            lamp.energy, lamp.angle = 3, math.radians(draw.choice((0.53, 0.53, 2, 8)))
            hung, fall = hang("object", lamp), math.radians(draw.uniform(15, 80))
            turn = draw.uniform(0, 6.28)
            hung.rotation_euler = fall, 0, turn
            way = math.sin(fall) * math.sin(turn), -math.sin(fall) * math.cos(turn), math.cos(fall)
            self.lights.append(Light("sun", hung, sun=(*way, 3, 3, 3)))

    def wall_in(self) -> None:
        """Put walls, a ceiling, one or two windows, lamps and furniture around it."""
        draw, near = self.draw, self.camera.distance + 0.5
        wide, deep = (max(1.6, 2.2 * self.tall) * draw.uniform(1, 2) for _ in range(2))
        high = max(draw.uniform(2.2, 3.2), self.camera.height + 0.3, 1.3 * self.tall)
        middle, long, colour = (deep - near) / 2, (deep + near) / 2, self.tint(0.4, 0.8, 0.1)
        walls = [(-wide, middle), (wide, middle), (0, deep), (0, -near)]
        windows, glow = draw.sample(walls, draw.choice((1, 1, 2))), self.tint(0.7, 0.9, 0.08)
        for x, y in walls:
            # Along which axis it runs, and half of its length.
            axis, length = np.array((x == 0, x != 0)), wide if x == 0 else long
            half = (*(axis * length + 0.05), high / 2)
            self.stuff.append(self.add(solid("box", (x, y, high / 2), half, colour)))
            if (x, y) in windows:
                low, top = draw.uniform(0.05, 0.9), draw.uniform(1.4, 2.1)
                width = length * draw.uniform(0.15, 0.95)
                at = np.array((x, y)) + axis * (length - width) * draw.uniform(-1, 1)
                at -= 0.07 * np.sign((x, y)) * ~axis
                half = (*(axis * width + 0.01), (top - low) / 2)
                pane = self.add(solid("box", (*at, (low + top) / 2), half, glow), glow=6)
                self.lights.append(Light("window", pane))
        ceiling = solid("box", (0, middle, high + 0.05), (wide, long, 0.05), (0.75, 0.74, 0.7))
        self.stuff.append(self.add(ceiling))
        for _ in range(draw.choice((1, 2))):
            x, y = draw.uniform(-0.8, 0.8) * wide, draw.uniform(-0.5, 0.8) * deep
            ball = solid(
                "ball", (x, y, draw.uniform(0.5, 0.9) * high), (draw.uniform(0.04, 0.2),) * 3, glow
            )
            self.lights.append(Light("lamp", self.add(ball, glow=60)))
        self.clutter(0.6 * min(wide, deep))

    def stand(self, thing: Path | Sequence[Body], *, is_cutout: bool = False) -> Any:
        """Put a model on the ground, as tall as things are here or as wide as fits; return it."""
        draw, hold, before = self.draw, hang("object", None), {*bpy.data.objects}
        rough, metal = draw.uniform(0.25, 0.95), float(draw.random() < 0.05 and not is_cutout)
        if isinstance(thing, Path):
            bpy.ops.wm.obj_import(filepath=str(thing))
        else:
            for body in thing:
                self.add(body, rough=rough, metal=metal)
        for part in {*bpy.data.objects} - before:
            part.parent = part.parent or hold
        turn = draw.choice((0, math.pi)) + draw.uniform(-0.5, 0.5)
        is_turned = not is_cutout and draw.random() < 0.5
        hold.rotation_euler.z = draw.uniform(0, 2 * math.pi) if is_turned else turn
        bpy.context.view_layer.update()
        parts = [part for part in hold.children_recursive if part.type == "MESH"]
        matrices = [np.array(part.matrix_world) for part in parts]
        corners = np.concatenate(
            [
                np.array([corner.co for corner in part.data.vertices]) @ matrix[:3, :3].T
                + matrix[:3, 3]
                for part, matrix in zip(parts, matrices, strict=True)
            ]
        )
        low, high = corners.min(0), corners.max(0)
        scale = self.tall / max((high - low) / (1.4, 1.4, 1))
        x, y, _ = -scale * (low + high) / 2
        # A body of a cut-out is round where the thing stands, and its feet would hardly touch.
        hold.location = x, y, -scale * (low[2] + 0.03 * is_cutout) - self.sunk
        hold.scale = (scale,) * 3
        return hold

    def remove(self, thing: Any) -> None:
        for part in (*thing.children_recursive, thing):
            bpy.data.objects.remove(part, do_unlink=True)

    def shoot(
        self,
        shows: Literal["around", "ground", "thing", "flat"],
        light: Light | None = None,
        thing: Any = None,
    ) -> Array:
        """Return a picture (H, W, 4) in linear light, with one light on.

        Args:
            shows: What is "around" the foot, (32, 64, 4); the "ground", whose light a thing changes
                that cannot be seen; what can be seen of the "thing" alone, times its opacity; or
                the thing alone without its place, "flat" under white from everywhere.
            light: The one that is on; a sun itself is not in what is around.
            thing: What `stand` returned.
        """
        for other in self.lights:
            if other.lamp is not None:
                other.lamp.hide_render = other is not light
        self.scene.world = (light and light.world) or (self.black if light else self.white)
        for stuff in self.stuff:
            stuff.hide_render, stuff.is_holdout = shows == "flat", shows == "thing"
        if self.sunk:
            self.floors[thing is None].hide_render = True
        for part in thing.children_recursive if thing else ():
            part.visible_camera = shows != "ground"
        render, path = self.scene.render, Path(tempfile.gettempdir()) / f"light-{os.getpid()}.exr"
        self.scene.camera = self.probe if shows == "around" else self.eye
        width, height = (64, 32) if shows == "around" else (self.size_px, self.size_px)
        render.resolution_x, render.resolution_y, render.filepath = width, height, str(path)
        render.film_transparent = shows in {"thing", "flat"}
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(path))
        pixels = np.empty((height, width, 4), np.float32)
        image.pixels.foreach_get(pixels.ravel())
        bpy.data.images.remove(image)
        path.unlink()
        return pixels[::-1]


def solid(
    shape: str, middle: Numbers, half: Numbers, colour: Numbers, axis: Numbers = (0, 0, 1)
) -> Body:
    """Return a solid with half extents, whose own z points along `axis`."""
    sides = 4 if shape == "box" else 24
    turn = (np.arange(sides + 1) + 0.5) * 2 * math.pi / sides
    radius, up = PROFILES[shape][..., None]
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), up + 0 * turn], -1) * half
    z = np.add(axis, (1e-6, 0, 0))  # not along y, which has no x of its own
    x = np.cross((0, 1, 0), z)
    frame = np.stack([part / np.linalg.norm(part) for part in (x, np.cross(z, x), z)])
    points = points.reshape(-1, 3) @ frame + middle
    return Body(points, quads(len(radius), sides + 1), np.tile(colour, (len(points), 1)))
