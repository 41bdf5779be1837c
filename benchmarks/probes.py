"""Light at the ground of the library's photographs: `python -m benchmarks.probes FOLDER`.

FOLDER holds what `swiftpie_world.blender.collect` and `near_places` need, each package in a folder
of its name. Cycles draws panoramas where it has drawn the photographs, and others are turned as
the photographs were cut; whatever clips there gets the sun that the photograph's own shadows show.
Written is `probes.json` of the library, as bright as the pixels of the photographs. Photographs
without a panorama have no probe. With `-o`, a sheet shows a grey ball in each light.
"""

import argparse
import base64
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from swiftpie.imageio.images import contact_sheet
from swiftpie.scenes import ASSETS, PLACES_INDEX, PROBES, scene_library
from swiftpie_world.blender import collect, studio
from swiftpie_world.blender.studio import bpy

Array = NDArray[Any]
ROWS, COLUMNS = 8, 16  # cells of a probe
FINE = (128, 64)  # pixels of a panorama that is shrunk to them
MODULES = ("near_places", "tabletops", "streets", "halls", "shores", "fields")
FACES = {"posz": 0, "posx": 90, "negz": 180, "negx": -90}  # degrees to the right of a cube's front
MOST_AWAY = 4.0  # metres from the camera: the middle of what things stand on
SAME = 0.8  # cosine of what belongs to a light
BALL_PX, ACROSS = 96, 16


def directions(rows: int, columns: int) -> tuple[Array, Array]:
    """Return ways (right, away, up) to the pixels of a panorama, (H, W, 3), and solid angles."""
    polar = (np.arange(rows)[:, None] + 0.5) / rows * np.pi
    turn = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    ways = np.sin(polar) * np.sin(turn), np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn
    return np.stack(ways, -1), np.sin(polar) * 2 * np.pi**2 / rows / columns + 0 * turn


def draw_probe(folder: Path, name: str, corners: Sequence[tuple[float, float]]) -> None:
    """Draw what lies around the middle of a scene's ground, a quarter as high as its camera."""
    path, scene = folder / f"{name}.npz", bpy.context.scene
    x, away = np.mean(corners, 0)
    lens = bpy.data.cameras.new("probe")
    lens.type, lens.panorama_type, lens.clip_start = "PANO", "EQUIRECTANGULAR", 0.005
    at, up = (float(x), min(float(away), MOST_AWAY)), scene.camera.location[2]
    bpy.context.view_layer.update()
    _, on, *_ = scene.ray_cast(bpy.context.evaluated_depsgraph_get(), (*at, up), (0, 0, -1))
    scene.camera = studio.hang("probe", lens, (*at, max(on[2], 0) + up / 4), (np.pi / 2, 0, 0))
    sun = np.zeros(6)
    for lamp in (hung for hung in bpy.data.objects if hung.type == "LIGHT"):
        lamp.visible_camera = lamp.data.type != "SUN"
        if lamp.data.type == "SUN":
            light = lamp.data.energy * np.array(lamp.data.color)
            sun = np.array([*np.array(lamp.matrix_world)[:3, 2], *light])
    for node in scene.world.node_tree.nodes if scene.world else ():
        if node.bl_idname == "ShaderNodeMapRange":  # what is brighter to cameras than it shines
            node.inputs["To Max"].default_value = node.inputs["To Min"].default_value
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.samples, cycles.use_denoising = "CYCLES", 96, True
    render.threads_mode, render.threads, cycles.max_bounces = "FIXED", 1, 5
    render.resolution_x, render.resolution_y, render.resolution_percentage = *FINE, 100
    render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
    render.filepath = str(path.with_suffix(".exr"))
    bpy.ops.render.render(write_still=True)
    np.savez(path, panorama=light_of(path.with_suffix(".exr")), sun=sun)


def light_of(path: Path) -> Array:
    """Return the linear light of a picture, (H, W, 3)."""
    image = bpy.data.images.load(str(path))
    pixels = np.empty((image.size[1], image.size[0], 4), np.float32)
    image.pixels.foreach_get(pixels.ravel())
    light = pixels[::-1, :, :3] if image.is_float else pixels[::-1, :, :3] ** 2.2
    bpy.data.images.remove(image)
    return light


def shrunk(panorama: Array, rows: int, columns: int) -> Array:
    """Return the means of a panorama's cells, (rows, columns, 3)."""
    height, width = panorama.shape[:2]
    cells: Array = panorama.reshape(rows, height // rows, columns, width // columns, 3)
    return cells.mean((1, 3))


def turned(folder: Path, photograph: dict[str, Any]) -> Array | None:
    """Return the panorama that a photograph was cut from, its middle where the photograph's is."""
    source = photograph["made_from"]
    face = FACES.get(Path(source["file"]).stem)
    if face is None and "yaw" not in source:
        return None
    path = collect.file_of(folder, source["package"], source["file"])
    if face is None:
        panorama, yaw = light_of(path), source["yaw"]
    else:
        panorama = collect.cube(path.parent) ** 2.2
        yaw = face + np.degrees(np.arctan(source["crop"][0] + source["crop"][2] - 1))
    return np.roll(shrunk(panorama, FINE[1], FINE[0]), -round(yaw / 360 * FINE[0]), 1)


def shown_sun(panorama: Array, photograph: dict[str, Any]) -> Array:
    """Return the sun that a panorama lacks beside what a photograph's shadows show, (6,)."""
    right, down, viewer, share = photograph.get("sun", (0, 0, 0, 0))
    way = np.array([right, -viewer, -down]) / max(1e-6, np.hypot(np.hypot(right, down), viewer))
    ways, angles = directions(*panorama.shape[:2])
    falling = panorama * (angles * ways[..., 2].clip(0))[..., None]
    whole, beside = falling.sum((0, 1)), falling[ways @ way > SAME].sum(0)
    lacking = (share * whole.mean() - beside.mean()) / (1 - share)
    if photograph["made_from"]["file"].endswith(".exr") or way[2] <= 0 or lacking <= 0:
        return np.zeros(6)
    light = np.broadcast_to(photograph.get("light", 1.0), 3)
    return np.array([*way, *(lacking / way[2] * light / light.mean())])


def ground_light(picture: Image.Image, photograph: dict[str, Any]) -> float:
    """Return how bright a photograph's ground is, in linear light."""
    mask = Image.new("1", picture.size)
    corners = [(x * picture.width, y * picture.height) for x, y in photograph["ground"]]
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    return float(((np.asarray(picture) / 255) ** 2.2)[np.asarray(mask)].mean())


def probes(folder: Path) -> Iterator[tuple[str, Image.Image, Array, Array]]:
    """Yield names, photographs, panoramas (8, 16, 3) and suns (6,) of what has a probe."""
    for row in json.loads((ASSETS / PLACES_INDEX).read_text(encoding="utf-8")):
        for number, photograph in enumerate(row["photographs"]):
            name = f"{row['name']}-{number}"
            if (drawn := folder / "probes" / f"{name}.npz").exists():
                with np.load(drawn) as file:
                    fine, sun = file["panorama"], file["sun"]
            elif (fine := turned(folder, photograph)) is not None:
                sun = shown_sun(fine, photograph)
            else:
                continue
            picture = scene_library().image(row["name"], number)
            # The lowest quarter of the rows sees the ground that things stand on.
            exposed = ground_light(picture, photograph) / float(fine[3 * len(fine) // 4 :].mean())
            panorama = shrunk(exposed * fine, ROWS, COLUMNS)
            yield name, picture, panorama, np.repeat((1, exposed), 3) * sun


def ball(panorama: Array, sun: Array) -> Image.Image:
    """Return a grey ball in the light of a probe, seen from the front."""
    places = (np.arange(BALL_PX) + 0.5) / BALL_PX * 2.1 - 1.05
    x, up = np.meshgrid(places, -places)
    inside = np.hypot(x, up) < 1
    facing = np.stack([x, -np.sqrt(np.maximum(0, 1 - x**2 - up**2)), up], -1)
    ways, angles = directions(ROWS, COLUMNS)
    coming = (panorama * angles[..., None]).reshape(-1, 3)
    received = np.maximum(facing @ ways.reshape(-1, 3).T, 0) @ coming
    received = received + np.maximum(facing @ sun[:3], 0)[..., None] * sun[3:]
    light = np.where(inside[..., None], 0.4 * received / np.pi, 0.2)
    return Image.fromarray((255 * light.clip(0, 1) ** (1 / 2.2)).round().astype(np.uint8))


def main() -> None:
    """Draw, cut and write the probes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="what the packages hold")
    parser.add_argument("--out", "-o", type=Path, help="a sheet of balls")
    options = parser.parse_args()
    (drawn := options.folder.resolve() / "probes").mkdir(exist_ok=True)
    studio.instead = partial(draw_probe, drawn)
    for module in MODULES:
        sys.argv = [module, str(options.folder)]
        importlib.import_module(f"swiftpie_world.blender.{module}").main()
    rows = [*probes(drawn.parent)]
    coded = {}
    for name, _, panorama, sun in rows:
        light = np.concatenate([panorama.ravel(), sun]).astype("<f2").tobytes()
        coded[name] = base64.b85encode(light).decode()
    (ASSETS / PROBES).write_text(json.dumps(coded, indent=0) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {len(rows)} probes to {ASSETS / PROBES}\n")
    if options.out:
        cells = [cell for _, shown, *light in rows for cell in (shown, ball(*light))]
        lines = [cells[begin : begin + ACROSS] for begin in range(0, len(cells), ACROSS)]
        contact_sheet(lines, cell_px=BALL_PX).save(options.out)


if __name__ == "__main__":
    main()
