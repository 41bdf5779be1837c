"""Renders tables, floors and sofas: `python -m swiftpie_world.blender.tabletops FOLDER [NAME ...]`.

Cycles draws them into FOLDER/renderings, as for `near_places`, of the same panoramas and furniture.
Woods, weave and leather are pictures that NumPy draws here: they have more scales than a few nodes
have, and cost one look-up a ray. Panoramas behind the table are blurred by a disc first, as by a
lens of a large aperture, which hides how few pixels they have. Framed pictures are parts of the
panoramas that `streets` needs. A place takes one or two minutes of one core.
"""
# ruff: noqa: ANN401 - Blender has no types.

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from swiftpie_world.blender import studio
from swiftpie_world.blender.shores import net
from swiftpie_world.blender.streets import fractal
from swiftpie_world.blender.studio import (
    Colour,
    Material,
    bpy,
    camera,
    hang,
    lamp,
    light,
    room,
    sides,
    slab,
    speckled,
    thing,
)

PIXEL_M = 0.0007  # of a drawn surface
SAMPLES = 24
GRAIN = 1.6  # levels of noise that a camera leaves, and the denoiser takes


class Wood(NamedTuple):
    """What a kind of wood looks like."""

    early: Colour  # wood that grows in spring
    late: Colour
    ring_m: float = 0.004  # that a trunk grows in a year
    contrast: float = 0.5  # of its rings, up to 1
    pores: float = 0.5  # how dark its pores are, up to 1
    worn: float = 0.0  # how cracked and stained, up to 1


OAK = Wood((0.44, 0.29, 0.155), (0.33, 0.195, 0.09), contrast=0.5, pores=0.55)
ASH = Wood((0.55, 0.4, 0.24), (0.4, 0.25, 0.125), contrast=0.6, pores=0.5)
WALNUT = Wood((0.215, 0.125, 0.075), (0.12, 0.062, 0.034), contrast=0.6, pores=0.5)
SILVER = Wood((0.3, 0.255, 0.2), (0.185, 0.15, 0.112), contrast=0.55, pores=0.35, worn=1.0)
TEAK = Wood((0.34, 0.215, 0.125), (0.23, 0.135, 0.07), contrast=0.5, pores=0.4, worn=0.55)


def stretched(
    draw: Generator, shape: tuple[int, int], along: float, across: float, fall: float = 0.0
) -> Any:
    """Return noise of a spread of 1 with streaks `along` by `across` pixels, and coarser ones."""
    rows, columns = (np.fft.fftfreq(count) for count in shape)
    pace = np.sqrt((rows[:, None] * across) ** 2 + (columns * along) ** 2)
    weight = 1 / (1 + (3 * pace) ** 2) ** 1.5
    if fall:
        weight *= np.maximum(pace, 1 / max(shape)) ** -fall
    weight[0, 0] = 0
    streaks = np.fft.ifft2(weight * np.fft.fft2(draw.normal(size=shape))).real
    return streaks / streaks.std()


def plank(draw: Generator, shape: tuple[int, int], wood: Wood) -> tuple[Any, Any]:
    """Return colours (H, W, 3) and relief (H, W), in metres, of a plank along the columns."""
    rows, columns = shape
    wide = rows * PIXEL_M
    x, y = np.meshgrid(np.arange(columns) * PIXEL_M, (np.arange(rows) + 0.5) * PIXEL_M)
    bend = stretched(draw, shape, 1400, 260) * 0.004 + stretched(draw, shape, 260, 50) * 0.0006
    # How far the trunk's middle lies below the board, and beside its middle.
    deep = draw.uniform(0.01, 0.05) + draw.uniform(-0.02, 0.02) * x + 4 * bend
    beside = wide * draw.uniform(0.1, 0.9) if draw.random() < 0.6 else wide * draw.choice((-2, 3))
    radius = np.hypot(y - beside + bend, deep) / wood.ring_m
    age, part = np.floor(radius).astype(int), radius % 1
    each = draw.uniform(0.35, 1.0, int(age.max()) + 2)
    late = np.where(part < 0.8, part / 0.8, (1 - part) / 0.2) ** 1.6 * each[age]
    broad = stretched(draw, shape, 2400, 30, 0.6)
    fibre = stretched(draw, shape, 130, 1.5)
    share = wood.contrast * (late - 0.35) + 0.13 * broad + 0.07 * fibre + 0.35
    share = np.clip(share, 0, 1)[..., None]
    colour = np.array(wood.early) * (1 - share) + np.array(wood.late) * share
    pores = stretched(draw, shape, 26, 1.0) - 1.35 + 0.6 * (part < 0.35)
    pores = np.clip(pores, 0, 1) * wood.pores
    colour = colour * (1 - 0.55 * pores[..., None])
    colour = colour * draw.uniform(0.88, 1.08) * (1 + 0.012 * draw.normal(size=3))
    relief = 0.00003 * fibre - 0.00015 * pores
    if wood.worn:
        cracks = stretched(draw, shape, 420, 1.2, 0.25) - 2.0
        cracks = np.clip(2.0 * cracks, 0, 1) * wood.worn
        raised = np.clip(late, 0, 1)
        stains = fractal(draw, shape, 1.7, 500)
        colour = colour * (1 - 0.6 * cracks[..., None])
        colour = colour * (1 + 0.09 * wood.worn * stains[..., None])
        relief = relief + wood.worn * (0.0002 * raised + 0.00012 * fibre - 0.0008 * cracks)
    return np.clip(colour, 0.004, 0.95), relief


def planks(
    seed: int, wood: Wood, span: tuple[float, float], wide: float, *, joint: float = 0.0
) -> tuple[Any, Any]:
    """Return colours and relief of planks beside each other, `span` metres along by across."""
    draw, rows = np.random.default_rng(seed), round(wide / PIXEL_M)
    shape = rows, round(span[0] / PIXEL_M)
    drawn = [plank(draw, shape, wood) for _ in range(math.ceil(span[1] / wide))]
    for colour, relief in drawn if joint else ():
        colour[:1] *= 1 - joint
        relief[:1] -= 0.0004 * joint
    colours, reliefs = zip(*drawn, strict=True)
    return np.concatenate(colours), np.concatenate(reliefs)


def drawn(
    colour: Any,
    relief: Any,
    *,
    rough: float,
    at: tuple[float, float] = (0.0, 0.0),
    turn: float = 0.0,
    pixel: float = PIXEL_M,
    varied: float = 0.0,
) -> Material:
    """Return a surface of drawn colours and relief, whose middle lies at a place of the scene."""
    made = Material(rough=rough)
    rows, columns = relief.shape
    place = made("NewGeometry").outputs["Position"]
    moved = made("VectorMath", place, (*at, 0.0), operation="SUBTRACT").outputs[0]
    turned = made("Mapping", moved, Rotation=(0, 0, -turn)).outputs[0]
    scale = (1 / columns / pixel, 1 / rows / pixel, 1)
    mapped = made("Mapping", turned, Location=(0.5, 0.5, 0), Scale=scale).outputs[0]
    tone = np.concatenate([colour, np.ones_like(colour[..., :1])], -1)
    lots = np.repeat(((relief - relief.min()) / np.ptp(relief))[..., None], 4, -1)
    shown, height = (made("TexImage", mapped) for _ in range(2))
    for node, pixels in ((shown, tone), (height, lots)):
        image = bpy.data.images.new("drawn", columns, rows, float_buffer=True)
        image.colorspace_settings.name = "Linear Rec.709"
        image.pixels.foreach_set(pixels.astype(np.float32).ravel())
        image.update()
        node.image, node.interpolation = image, "Cubic" if pixel > 0.001 else "Linear"
    if varied:
        dirt = made.noise(made.at, 6.0, Detail=5.0, Roughness=0.65)[0]
        shine = made("MapRange", dirt, 0.3, 0.7, rough - varied, rough + varied)
        made.set(made.base, Roughness=shine.outputs[0])
    made.done(shown.outputs[0], height.outputs[0], deep=float(np.ptp(relief)), bump=1.0)
    return made


def wall(y: float, colour: Colour) -> None:
    """Add a wall of matt paint, as a roller leaves it."""
    made = Material(rough=0.9)
    rolled = made.noise(made.at, 160, Detail=3.0, Roughness=0.6)[0]
    uneven = made.noise(made.at, 1.3, Detail=4.0)[0]
    dim = tuple(0.94 * part for part in colour)
    made.done(made.ramp(uneven, (0.35, dim), (0.65, colour)), rolled, deep=0.0015, bump=0.25)
    slab((0, y, 0.5), (14, 5, 0.1), made.made, upright=True)


def panes(wall_y: float, *, x: float, z: float, power: float) -> None:
    """Let the sun shine through a window's panes onto a wall behind, around x and z."""
    vector = importlib.import_module("mathutils").Vector
    begin, aim = vector((x - 4.6, wall_y - 3.4, z + 2.2)), vector((x, wall_y, z))
    turned = (aim - begin).to_track_quat("-Z", "Y").to_euler()
    degrees = [math.degrees(each) for each in turned]
    hue = (1, 0.9, 0.76)
    lamp("SPOT", begin, degrees, energy=power, spot_size=0.5, shadow_soft_size=0.05, color=hue)
    black = Material(rough=1.0).done((0.02, 0.02, 0.02))
    middle, matrix = begin + 0.42 * (aim - begin), turned.to_matrix()
    bars = [(-0.46, 0, 0.6, 1.8), (0.46, 0, 0.6, 1.8), (0, 0.56, 1.8, 0.6), (0, -0.56, 1.8, 0.6)]
    bars += [(0, 0, 0.035, 1.8), (0, 0.09, 1.8, 0.03)]
    for across, up, wide, tall in bars:
        slab(middle + matrix @ vector((across, up, 0)), (wide, tall, 0.01), black)
        bpy.context.object.rotation_euler = turned


def daylight(power: float, *, x: float = -1.9, size: float = 1.1) -> None:
    """Let soft light come from a window at one side."""
    turned = (62, 0, math.copysign(62, x))
    lamp("AREA", (x, 0.1, 1.25), turned, size=size, energy=power, color=(1, 0.96, 0.9))


def sunlight(power: float, turn: float, *, up: float = 40.0, soft: float = 0.06) -> None:
    """Let the sun shine from `turn` degrees to the right of what is behind the camera.

    Its disc is `soft` radians wide.
    """
    lamp("SUN", (0, 0, 5), (90 - up, 0, turn), energy=power, angle=soft, color=(1, 0.93, 0.82))


def shoot(name: str, corners: Sequence[tuple[float, float]], *, exposure: float = 0.0) -> None:
    """Draw what was built with finer samples, whose texture the denoiser keeps."""
    scene = bpy.context.scene
    cycles = scene.cycles
    cycles.denoising_prefilter, cycles.denoising_input_passes = "ACCURATE", "RGB_ALBEDO_NORMAL"
    cycles.filter_width = 1.2
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    studio.shoot(name, corners, exposure=exposure, samples=SAMPLES)
    path = studio.FOLDER / "renderings" / f"{name}.png"
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    grain = stretched(np.random.default_rng(0), pixels.shape[:2], 0.5, 0.5)[..., None]
    pixels += GRAIN * grain * (4 * pixels / 255 * (1 - pixels / 255)) ** 0.5
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(path)


def weave(seed: int, colour: Colour, side_m: float, *, pitch: float) -> tuple[Any, Any, float]:
    """Return colours, relief in metres and the pixel in metres of a weave of coarse cotton."""
    draw, fine = np.random.default_rng(seed), 8
    pixel, count = pitch / fine, 2 * round(side_m / pitch / 2) * fine
    shape = count, count
    rows, columns = (np.arange(count) / fine)[:, None], (np.arange(count) / fine)[None]
    bent = 0.1 * stretched(draw, shape, 90, 6), 0.1 * stretched(draw, shape, 6, 90)
    rows, columns = rows + bent[0], columns + bent[1]
    crossing = np.floor(rows) + np.floor(columns)
    along, across = (np.where(crossing % 2, *pair) for pair in ((rows, columns), (columns, rows)))
    thread = np.sin(np.pi * (across % 1)) ** 0.5 * (0.45 + 0.55 * np.sin(np.pi * (along % 1)))
    each = draw.normal(size=(2, 2 + count // fine))
    number = np.clip(np.floor(np.where(crossing % 2, columns, rows)).astype(int), 0, count // fine)
    lot = np.where(crossing % 2, each[0][number], each[1][number])
    tone = (0.62 + 0.42 * thread) * (1 + 0.035 * lot) + 0.02 * fractal(draw, shape, 1.5, 300)
    return np.clip(np.array(colour) * tone[..., None], 0, 0.95), pitch * 0.3 * thread, pixel


def draped(seed: int, surface: Any, *, near: float, far: float) -> None:
    """Lay a cloth, whose folds of the cupboard still show, on a table that ends at `far`."""
    draw, step = np.random.default_rng(seed), 0.004
    x, y = np.arange(-1.05, 1.05, step), np.arange(near - 0.3, far, step)
    shape = len(y), len(x)
    soft, fine = fractal(draw, shape, 2.6, 110), fractal(draw, shape, 2.4, 45)
    height = 0.0025 * soft - 0.0012 * np.abs(fine)
    for lines, along, begin in ((x[None], 0, -0.42), (y[:, None], 1, 0.83)):
        bent = 0.05 * np.take(soft, [shape[along] // 2], axis=along) * 0.1
        for number in range(4):
            off = np.abs(lines - begin - 0.36 * number + bent)
            height = height + (-1) ** number * 0.0045 * np.exp(-off / 0.018)
    slab((0, (near - 0.6 + far) / 2, -0.05), (2.4, far - near + 0.6, 0.04), surface)
    net(x, y, lambda _x, _y: height - np.median(height), surface)


def fabric() -> None:
    """Lay a pink cloth of coarse cotton on a table before a wall."""
    colour, relief, pixel = weave(3, (0.8, 0.2, 0.32), 0.5, pitch=0.003)
    surface = drawn(colour, relief, rough=0.9, pixel=pixel)
    surface.set(surface.base, Sheen_Weight=0.3, Sheen_Roughness=0.5)
    draped(4, surface.made, near=0.6, far=2.0)
    wall(4.2, (0.5, 0.47, 0.43))
    light("apartment.exr", 200, 0.35)
    daylight(75, size=0.35)
    panes(4.2, x=0.3, z=0.7, power=1500)
    camera()
    shoot("pink fabric-0", sides(0.95, 0.4, 1.97), exposure=0.6)


def glued(seed: int, wood: Wood, span: tuple[float, float], wide: float, **how: Any) -> Any:
    """Return the surface of a table that is glued of planks."""
    colour, relief = planks(seed, wood, span, wide, joint=0.35)
    return drawn(colour, relief, **{"rough": 0.38, "varied": 0.07, **how}).made


def plate(corners: Sequence[tuple[float, float]], surface: Any, *, edge: float = 0.007) -> None:
    """Add the top of a table, whose edges a hand has rounded, of corners against the clock."""
    low, high = np.array(corners)[[0, 2]]
    (x1, y1), (x2, y2) = corners[0], corners[1]
    turn = math.atan2(y2 - y1, x2 - x1)
    wide = math.hypot(x2 - x1, y2 - y1)
    deep = math.hypot(corners[2][0] - x2, corners[2][1] - y2)
    slab((*((low + high) / 2), -0.02), (wide, deep, 0.04), surface, turn=turn)
    bpy.context.object.modifiers["edge"].width = edge


def table_0() -> None:
    """Draw a table of oak along the view, before a room that a window lights from behind."""
    surface = glued(11, OAK, (1.6, 2.4), 0.11, at=(0, 1.2), turn=math.pi / 2 + 0.05)
    corners = sides(1.2, 0.4, 2.0, 0.05)
    plate(corners, surface)
    light("interior.exr", 60, 0.9, disc=1.2)
    camera()
    shoot("wooden table-0", corners, exposure=0.3)


def print_of(panorama: str, at: Sequence[float], size: Sequence[float], left: float) -> None:
    """Hang a framed picture, a part of a panorama from `left` of its width on, on a wall."""
    made, (wide, tall) = Material(rough=0.5), size
    shown = made("TexImage", made("Mapping", made("TexCoord").outputs["Generated"]).outputs[0])
    turned = shown.inputs[0].links[0].from_node
    turned.inputs["Location"].default_value = (left, 0.42, 0)
    turned.inputs["Scale"].default_value = (0.16, 0.24, 1)
    shown.image = bpy.data.images.load(str(studio.FOLDER / "hdri" / panorama))
    x, y, z = at
    slab((x, y, z), (wide + 0.05, tall + 0.05, 0.03), satin((0.07, 0.06, 0.05)), upright=True)
    paper = speckled((0.78, 0.77, 0.74), (0.77, 0.76, 0.73), rough=0.8, scale=9)
    slab((x, y - 0.016, z), (wide, tall, 0.004), paper, upright=True)
    inner = made.done(shown.outputs[0])
    slab((x, y - 0.02, z), (0.72 * wide, 0.74 * tall, 0.004), inner, upright=True)


def table_1() -> None:
    """Draw a table of walnut before a wall with pictures and a bookcase."""
    surface = glued(21, WALNUT, (1.6, 2.4), 0.16, at=(0, 1.2), turn=math.pi / 2 - 0.08)
    corners = sides(1.2, 0.4, 2.0, -0.08)
    plate(corners, surface)
    wall(4.2, (0.62, 0.6, 0.55))
    print_of("kiara_1_dawn_1k.jpg", (-0.78, 4.13, 0.5), (0.62, 0.46), 0.3)
    print_of("venice_sunset_1k.jpg", (0.02, 4.13, 0.5), (0.62, 0.46), 0.05)
    thing("bookcase", (1.05, 3.98, -0.75), 2.0)
    light("apartment.exr", 100, 0.35)
    sunlight(3.6, -62, soft=0.1)
    camera()
    shoot("wooden table-1", corners, exposure=0.4)


def table_2() -> None:
    """Draw a table of ash before a wall."""
    surface = glued(5, ASH, (2.4, 1.6), 0.13, at=(0, 1.2), turn=-0.06)
    corners = sides(1.2, 0.4, 2.0, -0.06)
    plate(corners, surface)
    wall(4.2, (0.36, 0.4, 0.39))
    light("apartment.exr", 60, 0.5)
    daylight(34)
    panes(4.2, x=-0.25, z=0.5, power=900)
    camera()
    shoot("wooden table-2", corners, exposure=0.35)


def slatted(
    name: str,
    seed: int,
    wood: Wood,
    around: tuple[str, float, float],
    *,
    sun: tuple[float, float],
    turn: float,
    exposure: float = 0.0,
) -> None:
    """Draw a garden table of planks that weather and are screwed on."""
    draw, wide, gap, count = np.random.default_rng(seed), 0.112, 0.009, 14
    colour, relief = planks(seed, wood, (2.4, wide * count), wide)
    rows = np.arange(len(relief)) % round(wide / PIXEL_M) * PIXEL_M
    side = np.minimum(rows, wide - rows)[:, None] + 0.0004 * fractal(draw, relief.shape, 2.0, 400)
    colour = colour * (0.2 + 0.8 * np.clip((side - 0.0045) / 0.006, 0, 1))[..., None]  # dirt
    corners = sides(1.15, 0.4, 0.4 + wide * count, turn)
    middle = 0.4 + wide * count / 2
    surface = drawn(colour, relief, rough=0.75, at=(0, middle), turn=turn, varied=0.08).made
    surface.node_tree.nodes["Principled BSDF"].inputs["Specular IOR Level"].default_value = 0.25
    earth = Material(rough=1.0).done((0.02, 0.02, 0.018))
    slab((0, middle, -0.7), (3.0, 2.4, 0.02), earth)
    steel = Material(rough=0.5)
    steel.set(steel.base, Metallic=1.0)
    steel.done((0.16, 0.15, 0.14))
    cos, sin = math.cos(turn), math.sin(turn)
    for number in range(count):
        off = (number + 0.5) * wide - wide * count / 2
        level = -0.012 + draw.normal() * 0.0008
        at = (-sin * off, middle + cos * off, level)
        slab(at, (2.3, wide - gap + draw.normal() * 0.0007, 0.024), surface, turn=turn)
        held = bpy.context.object
        held.modifiers["edge"].width, held.modifiers["edge"].segments = 0.0045, 4
        held.rotation_euler = (draw.normal() * 0.006, draw.normal() * 0.0006, turn)
        for along in (-0.42, 0.52):
            for side in (-0.028, 0.028):
                spot = off + side + draw.normal() * 0.001
                x, y = cos * along - sin * spot, middle + sin * along + cos * spot
                bpy.ops.mesh.primitive_cylinder_add(
                    radius=0.0038, depth=0.002, vertices=24, location=(x, y, level + 0.0118)
                )
                bpy.context.object.data.materials.append(steel.made)
    light(*around, disc=1.2, seen=2)
    sunlight(*sun)
    camera()
    shoot(name, corners, exposure=exposure)


def garden_0() -> None:
    slatted(
        "garden table-0", 3, SILVER, ("forest.exr", 0, 0.6), sun=(4.2, 62), turn=0.05, exposure=0.15
    )


def garden_1() -> None:
    slatted(
        "garden table-1",
        8,
        TEAK,
        ("courtyard.exr", 230, 0.55),
        sun=(4.4, -62),
        turn=-0.07,
        exposure=0.25,
    )


def satin(colour: Colour) -> Any:
    """Return wood under satin paint, with the faint streaks of a brush."""
    made = Material(rough=0.38)
    brush = made.noise(made.at, 1.0, (3, 130, 3), Detail=4.0, Roughness=0.6)[0]
    dust = made.noise(made.at, 14.0, Detail=6.0, Roughness=0.7)[0]
    dim = tuple(0.95 * part for part in colour)
    shine = made("MapRange", dust, 0.35, 0.65, 0.33, 0.45).outputs[0]
    made.set(made.base, Roughness=shine)
    return made.done(made.ramp(dust, (0.35, dim), (0.65, colour)), brush, deep=0.0006, bump=0.5)


def sill_0() -> None:
    """Draw a painted windowsill along a window at the left, before a park."""
    white = satin((0.76, 0.73, 0.67))
    corners = [(-0.25, 0.3), (0.45, 0.3), (0.45, 2.0), (-0.25, 2.0)]
    plate([(-0.34, 0.3), (0.45, 0.3), (0.45, 2.0), (-0.34, 2.0)], white)
    for y in (0.45, 1.2, 1.96):
        slab((-0.285, y, 0.62), (0.05, 0.055, 1.2), white)
    slab((-0.285, 1.2, 0.03), (0.06, 1.7, 0.06), white)
    plaster = speckled((0.66, 0.64, 0.6), (0.63, 0.61, 0.57), rough=0.9, scale=9)
    slab((0.09, 2.05, 0.6), (0.8, 0.1, 1.6), plaster)
    for at, size in (((2.5, 5.0, 0.5), (6, 0.1, 5)), ((2.6, 2.0, 0.5), (0.1, 9, 5))):
        slab(at, size, plaster)
    light("forest.exr", 60, disc=1.5)
    daylight(22, x=-1.7)
    camera()
    shoot("windowsill-0", corners, exposure=0.1)


def sill_1() -> None:
    """Draw a windowsill of oak with a plant before a field in fog."""
    white = satin((0.76, 0.74, 0.7))
    corners = sides(1.6, 0.4, 1.5)
    plate(corners, glued(7, OAK, (3.2, 1.2), 0.2, at=(0, 1.0)))
    for x in (-0.78, 0.34):
        slab((x, 1.54, 0.62), (0.055, 0.05, 1.2), white)
    slab((0, 1.53, 0.03), (3.2, 0.06, 0.06), white)
    thing("augalas", (0.42, 1.3, 0), 0.2)
    light("sunrise.exr", 150, 1.2, disc=1.2)
    daylight(16)
    camera()
    shoot("windowsill-1", corners, exposure=0.4)


def upholstery(linen: Colour) -> Any:
    """Return a coarse weave of wool and linen, whose threads differ."""
    made = Material(rough=0.95)
    threads = [
        made.noise(made.at, 1.0, how, Detail=2.0, Roughness=0.6)[0]
        for how in ((40, 380, 380), (380, 40, 380), (380, 380, 40))
    ]
    both = made("Math", threads[0], threads[1], operation="ADD").outputs[0]
    both = made("Math", both, threads[2], operation="ADD").outputs[0]
    uneven = made.noise(made.at, 7.0, Detail=6.0, Roughness=0.6)[0]
    both = made("Math", uneven, 0.35, both, operation="MULTIPLY_ADD").outputs[0]
    dark, pale = (tuple(min(0.9, share * part) for part in linen) for share in (0.66, 1.22))
    made.set(made.base, Sheen_Weight=0.3, Sheen_Roughness=0.6)
    tone = made.ramp(made("MapRange", both, 1.3, 2.05).outputs[0], (0.1, dark), (0.9, pale))
    return made.done(tone, both, deep=0.0025, bump=0.7)


def couch(
    piece: str,
    seat: float,
    tall: float,
    covers: Callable[[str], Any],
    *,
    x: float = 0.0,
    wide: float = 1.0,
) -> None:
    """Put up a sofa, so many times as wide as it was made.

    Its materials have the surface that `covers` names, or None for their own.
    """
    before = {*bpy.data.objects}
    thing(piece, (x, 1.75, -seat), tall)
    hold = bpy.data.objects["hold"]
    hold.scale[0], hold.location[0] = hold.scale[0] * wide, x + wide * (hold.location[0] - x)
    for each in {*bpy.data.objects} - before:
        for slot in each.material_slots:
            slot.material = covers(slot.material.name) or slot.material


def cushion(
    seed: int, at: Sequence[float], size: Sequence[float], surface: Any, *, swell: float = 0.026
) -> None:
    """Add a cushion of a seat, the middle of whose top is at a place, with a welt at its edges."""
    half = np.array(size) / 2
    waves = np.random.default_rng(seed).normal(size=(2, 10, 3))

    def stuffed(ends: Any) -> Any:
        """Return where points of a cube, (N, 3) in [-1, 1], lie in metres."""
        x, y, z = ends.T
        round_off = 1 - 0.05 * np.stack([y**10, x**10, np.zeros_like(z)], 1)
        other = [(1 - y**4) * (1 - z**4), (1 - x**4) * (1 - z**4), (1 - x**4) * (1 - y**4)]
        turn = (ends * half) @ (9 * waves[0].T) + 3 * waves[1, :, 0]
        uneven = 1 + 0.05 * np.sin(turn).sum(1)
        out = swell * ends**3 * np.stack(other, 1) * uneven[:, None]
        return ends * half * round_off + out - (0, 0, half[2] + swell)

    bpy.ops.mesh.primitive_cube_add(size=2, location=at)
    made = bpy.context.object
    finer = made.modifiers.new("finer", "SUBSURF")
    finer.subdivision_type, finer.levels = "SIMPLE", 6
    bpy.ops.object.modifier_apply(modifier="finer")
    ends = np.array([vertex.co for vertex in made.data.vertices])
    made.data.vertices.foreach_set("co", stuffed(ends).ravel())
    made.data.shade_smooth()
    made.data.materials.append(surface)
    side = np.linspace(-1, 1, 60)[:-1]
    around = np.stack([side, 0 * side - 1], 1)
    around = np.concatenate([around, np.stack([0 * side + 1, side], 1), -around])
    around = np.concatenate([around, np.stack([0 * side - 1, -side], 1)])
    for up in (-1, 1):
        welt = bpy.data.curves.new("welt", "CURVE")
        welt.dimensions, welt.bevel_depth = "3D", 0.005
        line = welt.splines.new("POLY")
        line.points.add(len(around) - 1)
        ring = stuffed(np.concatenate([around, np.full((len(around), 1), up)], 1))
        line.points.foreach_set("co", np.concatenate([ring, ring[:, :1] * 0 + 1], 1).ravel())
        line.use_cyclic_u = True
        welt.materials.append(surface)
        hang("welt", welt, at)


def sofa_0() -> None:
    """Draw a sofa of coarse linen whose seat is what things stand on."""
    wall(3.0, (0.52, 0.53, 0.52))
    cloth, trim = upholstery((0.36, 0.34, 0.31)), upholstery((0.34, 0.32, 0.29))

    def covers(name: str) -> Any:
        return None if name.startswith("Wood") else trim if name.startswith("Trim") else cloth

    couch("sofa2", 0.47, 0.9, covers, x=-0.4, wide=1.4)
    light("apartment.exr", 100, 0.4)
    sunlight(3.2, -60, soft=0.12)
    print_of("venice_sunset_1k.jpg", (0.3, 2.93, 0.86), (0.9, 0.56), 0.05)
    camera(0.45, 9, angle=33, sharp=4)
    seat = [(-0.4, 1.33), (0.2, 1.33), (0.2, 1.8), (-0.4, 1.8)]  # the arm is at the right
    shoot("sofa-0", seat, exposure=0.6)


def leather(colour: Colour) -> Any:
    """Return leather with pores and creases."""
    made = Material(rough=0.45)
    pores = made("TexVoronoi", made.at, Scale=260.0, Randomness=1.0).outputs[0]
    creases = made("TexVoronoi", made.noise(made.at, 9.0, Detail=3.0)[1], Scale=55.0)
    creases.feature = "DISTANCE_TO_EDGE"
    crease = made("MapRange", creases.outputs[0], 0.0, 0.07, 1.0, 0.0).outputs[0]
    soft = made.noise(made.at, 3.5, Detail=6.0, Roughness=0.6)[0]
    dark, pale = (tuple(share * part for part in colour) for share in (0.72, 1.2))
    tone = made.ramp(soft, (0.33, dark), (0.66, pale))
    worn = made("Math", crease, 0.22, operation="MULTIPLY").outputs[0]
    tone = made.mixed(worn, tone, (*(0.5 * part for part in colour), 1))
    shine = made("MapRange", soft, 0.35, 0.65, 0.36, 0.52).outputs[0]
    made.set(made.base, Roughness=shine)
    height = made("Math", crease, -0.25, pores, operation="MULTIPLY_ADD").outputs[0]
    height = made("Math", soft, 6.0, height, operation="MULTIPLY_ADD").outputs[0]
    return made.done(tone, height, deep=0.0012, bump=0.8)


def sofa_1() -> None:
    """Draw a sofa of brown leather with three cushions."""
    wall(3.0, (0.5, 0.48, 0.45))
    hide = leather((0.2, 0.085, 0.042))
    couch("winchesterSofa", 0.42, 0.8, lambda name: None if "Feet" in name else hide)
    bpy.data.objects.remove(bpy.data.objects["Cube_Cube.001"])
    for number in (-1, 0, 1):
        cushion(number + 5, (0.597 * number, 1.62, 0), (0.592, 0.68, 0.17), hide)
    light("apartment.exr", 100, 0.4)
    sunlight(3.2, -60, soft=0.12)
    for x, left in ((-0.55, 0.3), (0.05, 0.72)):
        print_of("kiara_1_dawn_1k.jpg", (x, 2.93, 0.84), (0.48, 0.5), left)
    camera(0.45, 9, angle=33, sharp=4)
    shoot("sofa-1", sides(0.27, 1.3, 1.85), exposure=0.6)


def veined(seed: int, side_m: float) -> tuple[Any, Any, float]:
    """Return colours, relief and the pixel of polished marble with fine and broad veins."""
    draw, pixel = np.random.default_rng(seed), 0.001
    shape = (round(side_m / pixel),) * 2
    tone = 1 + 0.02 * fractal(draw, shape, 1.9, 700)
    for fall, longest, thin, deep in ((2.3, 900, 0.02, 0.26), (1.9, 420, 0.03, 0.12)):
        veins = np.abs(fractal(draw, shape, fall, longest)) / thin
        strong = np.clip(0.4 + 0.6 * fractal(draw, shape, 2.2, 600), 0, 1)
        broad = np.exp(-veins) + 0.35 * np.exp(-veins / 6)
        tone -= deep * strong * broad
    colour = np.clip(tone, 0.2, 1)[..., None] ** np.array([0.96, 1.0, 1.03]) * 0.74
    return colour, 0.00002 * draw.normal(size=shape), pixel


def counter_0() -> None:
    """Draw an island of marble before a tiled wall."""
    colour, relief, pixel = veined(6, 2.4)
    stone = drawn(colour, relief, rough=0.4, at=(0, 1.2), turn=0.6, pixel=pixel, varied=0.06)
    corners = sides(1.6, 0.4, 2.0)
    plate(corners, stone.made)
    slab((0, 3.75, 0.5), (8, 4, 0.1), studio.tiles((0.55, 0.56, 0.53)), upright=True)
    slab((0, 3.38, -0.02), (8, 0.64, 0.04), glued(4, OAK, (2.4, 0.66), 0.11, at=(0, 3.38)))
    green = satin((0.2, 0.25, 0.21))
    for x in np.arange(-1.5, 1.6, 0.6):
        slab((x, 3.1, -0.42), (0.594, 0.02, 0.75), green)
    wood = drawn(*planks(4, WALNUT, (0.6, 0.6), 0.3), rough=0.5, at=(-0.5, 3.6), varied=0.05)
    slab((-0.62, 3.62, 0.19), (0.25, 0.022, 0.38), wood.made)
    bpy.context.object.rotation_euler = (-0.13, 0, 0.02)
    thing("orchids", (0.74, 3.4, 0), 0.42)
    light("apartment.exr", 90, 0.6)
    daylight(30, x=-1.8)
    camera()
    shoot("kitchen counter-0", corners, exposure=0.5)


def counter_1() -> None:
    """Draw a counter of dark stone with pale veins in a kitchen with a window to a garden."""
    colour, relief, pixel = veined(9, 2.4)
    dark = 0.4 * (0.98 - colour)
    stone = drawn(dark, relief, rough=0.42, at=(0, 1.2), turn=-0.4, pixel=pixel, varied=0.06)
    corners = sides(1.6, 0.4, 2.0)
    plate(corners, stone.made)
    plaster = speckled((0.72, 0.7, 0.64), (0.7, 0.68, 0.62), rough=0.9, scale=9)
    for x, z, wide, tall in (
        *((-2.3, 0.5, 2.6, 3), (1.9, 0.5, 3.8, 3)),
        *((-0.5, -0.4, 1.0, 1.1), (-0.5, 1.6, 1.0, 1.0)),
    ):
        slab((x, 4.0, z), (wide, tall, 0.2), plaster, upright=True)
    white = satin((0.76, 0.74, 0.7))
    for x, z, wide, tall in (
        *((-0.97, 0.62, 0.06, 0.85), (-0.5, 0.62, 0.05, 0.85), (-0.03, 0.62, 0.06, 0.85)),
        *((-0.5, 0.17, 1.0, 0.05), (-0.5, 1.07, 1.0, 0.05)),
    ):
        slab((x, 3.95, z), (wide, tall, 0.06), white, upright=True)
    slab((0, 3.62, -0.02), (8, 0.64, 0.04), glued(4, OAK, (2.4, 0.66), 0.11, at=(0, 3.62)))
    thing("kitchenaid", (0.9, 3.6, 0), 0.36, turn=0.5)
    thing("coffeeBrewer", (0.4, 3.62, 0), 0.3, turn=-0.3)
    thing("augalas", (-0.82, 3.6, 0), 0.26)
    light("forest.exr", 60, 0.35, disc=1.0, seen=4)
    sunlight(4.2, -60, soft=0.1)
    camera()
    shoot("kitchen counter-1", corners, exposure=0.15)


def floor(name: str, wood: Wood, wide: float, *pieces: tuple[Any, ...]) -> None:
    """Draw a floor of boards along the view, whose ends lie where chance has them."""
    draw, count = np.random.default_rng(round(1000 * wide)), 12
    colour, relief = planks(4, wood, (2.1, wide * count), wide)
    for rows in np.array_split(np.arange(len(relief)), count):
        end = draw.integers(relief.shape[1] - 2)
        for gap in (np.s_[rows, end : end + 2], np.s_[rows[:2]]):
            colour[gap] *= 0.3
            relief[gap] -= 0.0004
    surface = drawn(colour, relief, rough=0.5, at=(0, 3), turn=math.pi / 2, varied=0.08)
    slab((0, 4.2, -0.05), (9, 9, 0.1), surface.made)
    room(6.65, (0.7, 0.66, 0.6))
    white = speckled((0.8, 0.8, 0.78), (0.79, 0.79, 0.77), rough=0.4, scale=9)
    slab((0, 6.57, 0.06), (12, 0.03, 0.12), white)
    for piece, at, tall, turn in pieces:
        thing(piece, at, tall, turn=turn)
    light("apartment.exr", 100, 0.6)
    lamp("AREA", (-2.5, 1.8, 2.0), (50, 0, -80), size=1.6, energy=110, color=(1, 0.96, 0.9))
    camera(0.34, sharp=2.8)
    shoot(name, sides(2, 0.3, 4.0))


def floor_0() -> None:
    """Draw a floor of oak before a sofa."""
    sofa = ("winchesterSofa", (0.3, 6.0, 0), 0.8, 0.0)
    floor("wooden floor-0", OAK, 0.14, sofa, ("decorativePlant", (-1.35, 5.9, 0), 1.4, 0.0))


def floor_1() -> None:
    """Draw a floor of ash before an armchair and a shelf."""
    chair = ("modernArmchair", (0.85, 5.6, 0), 0.85, -0.4)
    floor("wooden floor-1", ASH, 0.17, ("bookcase", (-0.9, 6.3, 0), 1.9, 0.0), chair)


PLACES = (
    *(fabric, table_0, table_1, table_2, garden_0, garden_1, sill_0, sill_1, sofa_0, sofa_1),
    *(counter_0, counter_1, floor_0, floor_1),
)


def main() -> None:
    """Render the places."""
    studio.render(PLACES, __doc__)


if __name__ == "__main__":
    main()
