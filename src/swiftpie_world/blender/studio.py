"""What scenes that Cycles draws are made of: surfaces, boxes, furniture, lights and a camera."""
# ruff: noqa: ANN401 - Blender has no types.

import argparse
import contextlib
import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PHOTOGRAPH_PX, SAMPLES, EDGE_M = (768, 576), 32, 0.05
HORIZON_M = 20_000  # beyond which nothing is drawn
RING_M = 0.0038  # that a trunk grows in a year
RESTS_M = 0.025  # over the earth: height of the grass that a thing on a lawn presses down
Colour = tuple[float, ...]
OAK: tuple[Colour, Colour] = ((0.42, 0.255, 0.12), (0.23, 0.118, 0.048))
WALNUT: tuple[Colour, Colour] = ((0.20, 0.105, 0.055), (0.09, 0.042, 0.02))
GREENS = ((0.12, 0.23, 0.035), (0.17, 0.28, 0.05), (0.09, 0.18, 0.03), (0.28, 0.28, 0.10))

FOLDER, PERCENT = Path(), 100
# What is done with a scene, by its picture's name and the corners of its ground, in place of it.
instead: "Callable[[str, Sequence[tuple[float, float]]], None] | None" = None


class Done(Exception):  # noqa: N818 - a state, no fault
    """Nothing else is drawn of a scene."""


class Blender:
    """Blender's module, which is loaded as a scene begins."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("bpy"), name)


bpy: Any = Blender()


def quads(rows: int, columns: int) -> NDArray[Any]:
    """Return the faces of a net of corners, ((rows - 1) * (columns - 1), 4)."""
    corner = np.arange(rows * columns).reshape(rows, columns)
    ends = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    return np.stack(ends, -1).reshape(-1, 4)


def mesh(
    name: str, points: Any, faces: Any, *surfaces: Any, which: Any = None, is_smooth: bool = False
) -> Any:
    """Return a mesh of points (N, 3) and faces, of which `which` tells the surface by number."""
    made = bpy.data.meshes.new(name)
    made.from_pydata(points.tolist(), [], faces if isinstance(faces, list) else faces.tolist())
    for surface in surfaces:
        made.materials.append(surface)
    if which is not None:
        made.polygons.foreach_set("material_index", which)
    if is_smooth:
        made.shade_smooth()
    return made


def hang(
    name: str,
    shape: Any,
    at: Sequence[float] = (0, 0, 0),
    turn: Sequence[float] = (0, 0, 0),
    scale: Sequence[float] = (1, 1, 1),
) -> Any:
    """Add an object with a mesh, a lamp, a camera or nothing."""
    made = bpy.data.objects.new(name, shape)
    bpy.context.collection.objects.link(made)
    made.location, made.rotation_euler, made.scale = at, turn, scale
    return made


def surround(world: Any, image: Any, turn: float) -> Any:
    """Let a world shine as a panorama does, turned by an angle; return the node that shows it."""
    nodes, link = world.node_tree.nodes, world.node_tree.links.new
    kinds = "TexCoord", "Mapping", "TexEnvironment"
    at, turned, shown = (nodes.new(f"ShaderNode{kind}") for kind in kinds)
    turned.inputs["Rotation"].default_value, shown.image = (0, 0, turn), image
    link(at.outputs["Generated"], turned.inputs[0])
    link(turned.outputs[0], shown.inputs[0])
    link(shown.outputs[0], nodes["Background"].inputs[0])
    return shown


class Material:
    """A surface under construction; each call adds a node and returns it."""

    def __init__(self, *, rough: float = 0.5) -> None:
        """Begin with a grey surface."""
        self.made = bpy.data.materials.new("surface")
        self.made.use_nodes = True
        self.base = self.made.node_tree.nodes["Principled BSDF"]
        self.set(self.base, Roughness=rough)
        self.at = self("TexCoord").outputs["Object"]

    def __call__(self, kind: str, *given: Any, operation: str = "", **named: Any) -> Any:
        """Add a node of a kind with inputs in order or by name, values or other nodes' outputs."""
        made = self.made.node_tree.nodes.new(f"ShaderNode{kind}")
        if operation:
            made.operation = operation
        return self.set(made, *given, **named)

    def set(self, made: Any, *given: Any, **named: Any) -> Any:
        named = {name.replace("_", " "): value for name, value in named.items()}
        for name, value in (*enumerate(given), *named.items()):
            if hasattr(value, "is_linked"):
                self.made.node_tree.links.new(value, made.inputs[name])
            elif value is not None:
                made.inputs[name].default_value = value
        return made

    def noise(self, at: Any, scale: float, stretch: Sequence[float] = (1, 1, 1), **how: Any) -> Any:
        mapped = self("Mapping", at, Scale=stretch).outputs[0]
        return self("TexNoise", mapped, Scale=scale, **{"Detail": 6.0, **how}).outputs

    def ramp(self, by: Any, *stops: tuple[float, Colour]) -> Any:
        made = self("ValToRGB", by)
        for _ in stops[2:]:
            made.color_ramp.elements.new(0.5)
        for element, (place, colour) in zip(made.color_ramp.elements, stops, strict=True):
            element.position, element.color = place, (*colour, 1)
        return made.outputs[0]

    def mixed(self, share: Any, first: Any, second: Any, how: str = "MIX") -> Any:
        made = self("Mix")
        made.data_type, made.blend_type = "RGBA", how
        for place, value in ((0, share), (6, first), (7, second)):
            self.set(made, *[None] * place, value)
        return made.outputs[2]

    def done(
        self, colour: Any, height: Any = None, *, deep: float = 0.002, bump: float = 0.2
    ) -> Any:
        """Finish with a colour and a relief."""
        colour = (*colour, 1) if isinstance(colour, tuple) else colour
        self.set(self.base, Base_Color=colour)
        if height is not None:
            relief = self("Bump", Strength=bump, Distance=deep, Height=height)
            self.set(self.base, Normal=relief.outputs[0])
        return self.made


def boards(
    colours: tuple[Colour, Colour],
    wide: float,
    *,
    long: float = 9.0,
    gap: float = 0.0008,
    rough: float = 0.42,
) -> Any:
    """Return boards of wood along x."""
    made = Material()
    light, dark = colours
    begin = made("VectorMath", made.at, (long / 2, 0, 0), operation="ADD").outputs[0]
    laid = made("TexBrick", begin, Color1=(0, 0, 0, 1), Color2=(1, 1, 1, 1), Scale=1.0)
    laid.offset = 0.37 if long < 4 else 0.0
    made.set(laid, Mortar_Size=gap, Mortar_Smooth=0.3, Brick_Width=long, Row_Height=wide)
    each, joint = laid.outputs
    apart = made("VectorMath", each, operation="SCALE", Scale=37.0).outputs[0]
    at = made("VectorMath", made.at, apart, operation="ADD").outputs[0]
    lots = made("SeparateXYZ", made("TexWhiteNoise", apart).outputs[1]).outputs
    knot, far = knots(made, at)
    radius = rings_of(made, at, lots, wide, knot)
    turn = made("Math", radius, 1 / RING_M, operation="MULTIPLY").outputs[0]
    late = made("Math", turn, operation="FRACT").outputs[0]
    middle = tuple((x + y) / 2 for x, y in zip(light, dark, strict=True))
    deepest = tuple(0.6 * part for part in dark)
    soft = tuple((2 * x + y) / 3 for x, y in zip(light, dark, strict=True))
    grain = made.ramp(late, (0.0, middle), (0.1, light), (0.5, soft), (0.85, dark), (0.97, deepest))
    broad = made.noise(at, 1.0, (1.1, 11, 1.1), Detail=4.0, Roughness=0.6)[0]
    grain = made.mixed(made("MapRange", broad, 0.35, 0.7, 0.0, 0.55).outputs[0], grain, (*soft, 1))
    fibre = made.noise(at, 1.0, (22, 520, 22), Detail=5.0, Roughness=0.75)[0]
    pores = made.noise(at, 1.0, (55, 1100, 55), Detail=2.0, Roughness=0.5)[0]
    streaks = made.ramp(fibre, (0.36, (0.5, 0.46, 0.42)), (0.62, (1.12, 1.11, 1.1)))
    dashes = made.ramp(pores, (0.36, (0.3, 0.25, 0.2)), (0.43, (1, 1, 1)))
    grain = made.mixed(0.8, made.mixed(1.0, grain, streaks, "MULTIPLY"), dashes, "MULTIPLY")
    grain = made.mixed(far, grain, (*(0.45 * part for part in dark), 1))
    value = made("MapRange", lots[2], None, None, 0.78, 1.12).outputs[0]
    tint = made("MapRange", lots[0], None, None, 0.495, 0.507).outputs[0]
    tinted = made("HueSaturation", Hue=tint, Value=value, Color=grain).outputs[0]
    height = made("Math", joint, -3.0, fibre, operation="MULTIPLY_ADD").outputs[0]
    colour = made.mixed(joint, tinted, (*(0.12 * part for part in dark), 1))
    wear = made.noise(made.at, 5.0, Detail=8.0, Roughness=0.7)[0]
    wear = made("Math", wear, 0.5, fibre, operation="MULTIPLY_ADD").outputs[0]
    shine = made("MapRange", wear, 0.45, 1.05, rough - 0.12, rough + 0.15)
    made.set(made.base, Roughness=shine.outputs[0])
    return made.done(colour, height, bump=0.15)


def knots(made: Material, at: Any) -> tuple[Any, Any]:
    """Return how far knots push the rings aside, in metres, and how dark they are, from 0 to 1."""
    flat = made("Mapping", at, Scale=(1.3, 3.2, 0.001)).outputs[0]
    spot = made("TexVoronoi", flat, Scale=1.0, Randomness=1.0)
    away = made("VectorMath", flat, spot.outputs[2], operation="SUBTRACT").outputs[0]
    away = made("Mapping", away, Scale=(1 / 1.3 / 1.5, 1 / 3.2, 0)).outputs[0]
    ragged = made.noise(at, 70, (0.6, 1, 1), Detail=3.0)[0]
    away = made("VectorMath", away, operation="LENGTH").outputs[1]
    rare = made("SeparateXYZ", spot.outputs[1]).outputs[0]
    exists = made("Math", rare, 0.62, operation="GREATER_THAN").outputs[0]
    size = made("MapRange", rare, 0.62, 1.0, 0.006, 0.013).outputs[0]
    share = made("Math", away, size, operation="DIVIDE").outputs[0]
    near = made("Math", share, -0.42, operation="MULTIPLY").outputs[0]
    near = made("Math", near, operation="EXPONENT").outputs[0]
    near = made("Math", near, exists, operation="MULTIPLY").outputs[0]
    push = made("Math", near, size, operation="MULTIPLY").outputs[0]
    push = made("Math", push, 2.6, operation="MULTIPLY").outputs[0]
    share = made("Math", ragged, 0.7, share, operation="MULTIPLY_ADD").outputs[0]
    black = made("MapRange", share, 1.45, 0.95).outputs[0]
    return push, made("Math", black, exists, operation="MULTIPLY").outputs[0]


def rings_of(made: Material, at: Any, lots: Any, wide: float, push: Any) -> Any:
    """Return how far from the middle of its trunk each point of a board was."""
    x, _, _ = made("SeparateXYZ", at).outputs
    _, y, _ = made("SeparateXYZ", made.at).outputs
    across = made("Math", y, wide, operation="FLOORED_MODULO").outputs[0]
    shift = made("MapRange", lots[0], None, None, 0.2 * wide, 0.8 * wide).outputs[0]
    across = made("Math", across, shift, operation="SUBTRACT").outputs[0]
    bent = made.noise(at, 1.0, (1.6, 4, 1.6), Detail=2.0)[0]
    ragged = made.noise(at, 1.0, (9, 50, 9), Detail=4.0, Roughness=0.6)[0]
    deep = made("MapRange", lots[1], None, None, -0.01, 0.07).outputs[0]
    slope = made("MapRange", lots[2], None, None, -0.035, 0.035).outputs[0]
    deep = made("Math", x, slope, deep, operation="MULTIPLY_ADD").outputs[0]
    deep = made("Math", bent, 0.06, deep, operation="MULTIPLY_ADD").outputs[0]
    square = made("Math", across, 2.0, operation="POWER").outputs[0]
    square = made("Math", deep, deep, square, operation="MULTIPLY_ADD").outputs[0]
    radius = made("Math", square, operation="SQRT").outputs[0]
    radius = made("Math", ragged, 0.004, radius, operation="MULTIPLY_ADD").outputs[0]
    return made("Math", radius, push, operation="ADD").outputs[0]


def speckled(colour: Colour, dark: Colour, *, rough: float, scale: float, bump: float = 0.0) -> Any:
    made = Material(rough=rough)
    spots = made.noise(made.at, scale, Detail=10.0, Roughness=0.7)[0]
    return made.done(made.ramp(spots, (0.38, dark), (0.6, colour)), spots, deep=0.01, bump=bump)


def tiles(colour: Colour) -> Any:
    made = Material(rough=0.12)
    dim = tuple(0.93 * part for part in colour)
    laid = made("TexBrick", made.at, Color1=(*colour, 1), Color2=(*dim, 1), Scale=1.0)
    made.set(laid, Mortar=(0.45, 0.44, 0.42, 1), Mortar_Size=0.003, Brick_Width=0.2, Row_Height=0.1)
    height = made("Math", 1.0, laid.outputs[1], operation="SUBTRACT").outputs[0]
    return made.done(laid.outputs[0], height, deep=0.004, bump=0.5)


def slab(
    at: Sequence[float],
    size: Sequence[float],
    surface: Any,
    *,
    turn: float = 0.0,
    upright: bool = False,
) -> Any:
    """Add a box; an `upright` one keeps x and y of its surface on its front."""
    bpy.ops.mesh.primitive_cube_add(size=1)
    made = bpy.context.object
    made.scale = size
    bpy.ops.object.transform_apply(scale=True)
    made.location, made.rotation_euler = at, (math.pi / 2 * upright, 0, turn)
    edge = made.modifiers.new("edge", "BEVEL")
    edge.width, edge.segments = min(0.004, min(size) / 3), 3
    made.data.materials.append(surface)
    return made


def thing(name: str, at: Sequence[float], tall: float, *, turn: float = 0.0) -> None:
    """Put a piece of furniture with its foot in the middle at a place."""
    before = {*bpy.data.objects}
    bpy.ops.wm.obj_import(filepath=str(FOLDER / "blendswap-cc-0" / name / f"{name}.obj"))
    parts = [each for each in bpy.data.objects if each not in before]
    vector = importlib.import_module("mathutils").Vector
    ends = np.array([each.matrix_world @ vector(end) for each in parts for end in each.bound_box])
    low, high = ends.min(0), ends.max(0)
    scale, (x, y, _) = tall / (high[2] - low[2]), (low + high) / 2
    hold = hang("hold", None)
    for each in parts:
        each.parent = hold
        each.matrix_parent_inverse.identity()
    cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
    hold.scale, hold.rotation_euler = (scale,) * 3, (0, 0, turn)
    hold.location = (at[0] - cos * x + sin * y, at[1] - sin * x - cos * y, at[2] - low[2] * scale)


def light(
    panorama: str, yaw: float, strength: float = 1.0, *, disc: float = 0.0, seen: float = 1.0
) -> None:
    """Light everything by a panorama, which is what lies behind everything else, too.

    A disc of a radius in degrees blurs it, as a lens of a large aperture does. It is `seen` so many
    times as bright as it lights, as what is sunny is from the shade.
    """
    made = bpy.data.worlds.new("around")
    bpy.context.scene.world, made.use_nodes = made, True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    image = bpy.data.images.load(str(FOLDER / "hdri" / panorama))
    shown = surround(made, blurred(image, disc) if disc else image, math.radians(yaw))
    shown.interpolation = "Cubic"
    nodes["Background"].inputs[1].default_value = strength
    if seen != 1:
        ray, power = nodes.new("ShaderNodeLightPath"), nodes.new("ShaderNodeMapRange")
        power.inputs["To Min"].default_value = strength
        power.inputs["To Max"].default_value = strength * seen
        links.new(ray.outputs["Is Camera Ray"], power.inputs["Value"])
        links.new(power.outputs[0], nodes["Background"].inputs[1])


def blurred(given: Any, disc: float) -> Any:
    """Return a panorama, blurred by a disc of a radius in degrees."""
    columns, rows = given.size
    pixels = np.empty(4 * rows * columns, np.float32)
    given.pixels.foreach_get(pixels)
    pixels = pixels.reshape(rows, columns, 4)[..., :3]
    if not given.is_float:
        pixels = pixels**2.2
        # Files of 8 bits cut off what a lens would spread into bright discs.
        pixels = pixels * (1 + 4 * np.maximum(0, pixels.min(-1, keepdims=True) - 0.7))
    down, across = (np.fft.fftfreq(count) * count for count in (rows, columns))
    kernel = np.clip(disc / 360 * columns + 0.5 - np.hypot(down[:, None], across), 0, 1)
    kernel = np.fft.rfft2(kernel / kernel.sum())
    made = bpy.data.images.new("blurred", columns, rows, float_buffer=True)
    made.colorspace_settings.name = "Linear Rec.709"
    whole = np.ones((rows, columns, 4), np.float32)
    for each in range(3):
        soft = np.fft.irfft2(np.fft.rfft2(pixels[..., each]) * kernel, (rows, columns))
        whole[..., each] = soft.clip(0)
    made.pixels.foreach_set(whole.ravel())
    made.update()
    return made


def lamp(kind: str, at: Sequence[float], turn: Sequence[float], **how: Any) -> None:
    """Add a lamp at a place, turned by degrees; it shines down otherwise."""
    made = bpy.data.lights.new("lamp", kind)
    for name, value in how.items():
        setattr(made, name, value)
    hang("lamp", made, at, [math.radians(each) for each in turn])


def camera(
    height: float = 0.27,
    pitch: float = 7,
    *,
    angle: float = 27,
    sharp: float | None = 4.5,
    focus: float | None = None,
) -> None:
    """Hold a camera; it is focused on where things stand, unless `focus` says how far.

    By default it looks at them as a person does who photographs them: from 16 degrees above.
    """
    made = bpy.data.cameras.new("camera")
    held = hang("camera", made, (0, 0, height), (math.radians(90 - pitch), 0, 0))
    bpy.context.scene.camera, made.sensor_fit, made.clip_start = held, "VERTICAL", 0.01
    made.angle, made.clip_end = math.radians(angle), HORIZON_M
    if sharp is not None:
        made.dof.use_dof, made.dof.aperture_fstop = True, sharp
        below = math.radians(pitch + angle / 3)
        made.dof.focus_distance = focus or height / math.tan(below)


def facts(corners: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the part of a surface (x and y of a convex polygon) in the picture, and its metre."""
    held = bpy.context.scene.camera
    pitch, height = math.pi / 2 - held.rotation_euler[0], held.location[2]
    focus, ratio = 0.5 / math.tan(held.data.angle / 2), PHOTOGRAPH_PX[0] / PHOTOGRAPH_PX[1]

    def seen(x: Any, y: Any, z: Any) -> tuple[Any, Any]:
        down = height - z
        far = y * math.cos(pitch) + down * math.sin(pitch)
        return (
            0.5 + focus * x / far / ratio,
            0.5 + focus * (down * math.cos(pitch) - y * math.sin(pitch)) / far,
        )

    points = np.array(corners)
    x, y = np.meshgrid(np.linspace(-3, 3, 601), np.geomspace(0.3, 8, 800))
    inside = np.ones_like(x, dtype=bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, 0), strict=True):
        off = ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / math.hypot(x2 - x1, y2 - y1)
        inside &= off > EDGE_M
    across, down = (each[inside] for each in seen(x, y, 0.0))
    inside = (across > 0.02) & (across < 0.98) & (down < 0.96)
    across, down = across[inside], down[inside]
    rows = np.linspace(down.min() + 0.004, min(down.max() - 0.004, 0.955), 4)
    spans = [across[np.abs(down - row) < 0.02] for row in rows]
    ends = [(span.min(), row) for span, row in zip(spans, rows, strict=True)]
    ends += [(span.max(), row) for span, row in zip(spans, rows, strict=True)][::-1]
    metre = []
    for row in (rows[0], rows[-1]):
        below = pitch + math.atan((row - 0.5) / focus)
        away = height / math.tan(below)
        metre.append((row, 10 * (row - seen(0.0, away, 0.1)[1])))
    (first, low), (second, high) = metre
    return {
        "horizon": round(float(first - low * (second - first) / (high - low)), 3),
        "metre": [[round(float(each), 3) for each in pair] for pair in metre],
        "ground": [[round(float(each), 3) for each in pair] for pair in ends],
    }


def shoot(
    name: str,
    corners: Sequence[tuple[float, float]],
    *,
    exposure: float = 0.0,
    samples: int = SAMPLES,
) -> None:
    """Draw what was built, and print where its ground is."""
    if instead is not None:
        instead(name, corners)
        raise Done
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.samples, cycles.sample_clamp_indirect = "CYCLES", samples, 8
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.adaptive_threshold, cycles.max_bounces = 0.03, 5
    render.resolution_x, render.resolution_y = PHOTOGRAPH_PX
    render.resolution_percentage = PERCENT
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = exposure
    render.filepath = str(FOLDER / "renderings" / f"{name}.png")
    bpy.ops.render.render(write_still=True)
    sys.stdout.write(f"{name}: {json.dumps(facts(corners))}\n")


def cover(name: str, rests_m: float = RESTS_M) -> None:
    """Draw by how many rows what grows is seen before its foot, in levels; see `scenes.cover`.

    Its foot is where it leaves the grass that things press down and rest on, so many metres high.
    """
    scene, held = bpy.context.scene, bpy.context.scene.camera
    pitch, down = math.pi / 2 - held.rotation_euler[0], held.location[2] - rests_m
    sin, cos, focus = math.sin(pitch), math.cos(pitch), 0.5 / math.tan(held.data.angle / 2)
    made = Material()
    away = made("SeparateXYZ", made("NewGeometry").outputs["Position"]).outputs["Y"]
    up = made("SeparateXYZ", made("TexCoord").outputs["Window"]).outputs["Y"]
    below = made("Math", away, -sin, down * cos, operation="MULTIPLY_ADD").outputs[0]
    far = made("Math", away, cos, down * sin, operation="MULTIPLY_ADD").outputs[0]
    row = made("Math", below, far, operation="DIVIDE").outputs[0]
    row = made("Math", row, focus, -0.5, operation="MULTIPLY_ADD").outputs[0]
    row = made("Math", row, up, operation="ADD").outputs[0]
    level = made("Math", row, PHOTOGRAPH_PX[1] / 255, operation="MULTIPLY").outputs[0]
    glow = made("Emission", level, 1.0).outputs[0]
    made.set(made.made.node_tree.nodes["Material Output"], glow)
    bpy.context.view_layer.material_override = made.made
    scene.world.node_tree.nodes["Background"].inputs[1].default_value = 0
    scene.view_settings.view_transform, scene.view_settings.exposure = "Raw", 0
    scene.view_settings.look, scene.render.dither_intensity = "None", 0
    cycles = scene.cycles
    cycles.use_denoising = cycles.use_adaptive_sampling = False
    cycles.samples, cycles.filter_width = 64, 1.8
    scene.render.filepath = str(FOLDER / "renderings" / f"{name}-cover.png")
    bpy.ops.render.render(write_still=True)


def sides(x: float, near: float, far: float, turn: float = 0.0) -> list[tuple[float, float]]:
    """Return the corners of a surface around its middle at x = 0."""
    middle, deep = (near + far) / 2, (far - near) / 2
    cos, sin = math.cos(turn), math.sin(turn)
    corners = ((-x, -deep), (x, -deep), (x, deep), (-x, deep))
    return [(cos * a - sin * b, middle + sin * a + cos * b) for a, b in corners]


def room(y: float, colour: Colour) -> None:
    slab((0, y, 0.5), (12, 4, 0.1), speckled(colour, colour, rough=0.8, scale=9), upright=True)


def leafy(colour: Colour, bright: float, *, rough: float = 0.6, share: float = 0.32) -> Any:
    """Return a surface that lets a share of the light through, so many times as bright."""
    made = Material(rough=rough)
    made.done(colour)
    glow = made("BsdfTranslucent", (*(bright * part for part in colour), 1))
    both = made("MixShader", share, made.base.outputs[0], glow.outputs[0])
    made.set(made.made.node_tree.nodes["Material Output"], both.outputs[0])
    return made.made


def tuft(seed: int, blades: int = 1800, tall: float = 0.055, wide: float = 0.3) -> Any:
    """Return a mesh of blades of grass."""
    draw = np.random.default_rng(seed)
    foot, turn, fall = (
        draw.uniform(-wide / 2, wide / 2, (blades, 2)),
        *draw.uniform(0, 6.3, (2, blades)),
    )
    high = tall * draw.uniform(0.45, 1.25, blades)
    half, lean = 0.0016 * draw.uniform(0.7, 1.3, blades), high * draw.uniform(0.1, 0.95, blades)
    ends = []
    for up, side in ((0, -1), (0, 1), (0.5, -0.85), (0.5, 0.85), (1, 0)):
        x = foot[:, 0] + side * half * np.cos(turn) + lean * up**2 * np.cos(fall)
        y = foot[:, 1] + side * half * np.sin(turn) + lean * up**2 * np.sin(fall)
        ends.append(np.stack([x, y, high * up - 0.25 * up**2 * lean], 1))
    first = 5 * np.arange(blades)[:, None]
    faces = [*(first + np.array([0, 1, 3, 2])).tolist(), *(first + np.array([2, 3, 4])).tolist()]
    return mesh("tuft", np.stack(ends, 1).reshape(-1, 3), faces)


def render(drawn: Sequence[Callable[[], None]], about: str | None) -> None:
    """Render places, by their functions' names."""
    global FOLDER, PERCENT
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path, help="what the packages hold")
    parser.add_argument("names", nargs="*", help="functions of this file; all by default")
    parser.add_argument("--percent", type=int, default=100, help="of the width and height")
    given = parser.parse_intermixed_args()
    FOLDER, PERCENT = given.folder.resolve(), given.percent
    places = {place.__name__: place for place in drawn}
    for name in given.names or places:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        with contextlib.suppress(Done):
            places[name]()
