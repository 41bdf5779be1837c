"""Truth for the network of light: things in places, under one light at a time.

Any mixture of a scene's lights is a sum of its pictures, so that a file is as many pairs as are
mixed (bases, as in arXiv:2007.08211). `swiftpie data light` lets a folder of files grow.
"""

import itertools
import json
import logging
import math
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from swiftpie.errors import CapabilityError
from swiftpie.geometry.relief import mesh
from swiftpie.imageio.atomic import atomic_file
from swiftpie_world import cones
from swiftpie_world.blender.places import Array, Body, Place, solid
from swiftpie_world.rays import Camera

logger = logging.getLogger(__name__)
THINGS = tomllib.loads(Path(__file__).with_name("things.toml").read_text(encoding="utf-8"))
HELD_OUT = [*THINGS][-5:]
STRETCH, JITTER = 0.25, 0.1  # spreads of the logarithms of a thing's sides and of its parts' sizes
MODELS, CUTOUTS, PANORAMAS = {".obj"}, {".png", ".webp"}, {".exr", ".hdr"}
STOPS = 14.0  # between the darkest and the brightest light that eight bits hold
CELLS = 8, 16  # of a panorama: rows from the zenith down, columns to the right, its middle ahead
GAMMA = 1 / 2.2, 1 / 2.2, 1 / 2.2, 1.0  # of red, green, blue and opacity in eight bits
SIZE_PX, FLAT_SHARE = 64, 0.25  # of pairs; things in so many have no light of their own
THINGS_A_SCENE, EVALUATED = 3, 10  # one scene of so many is for evaluation


class Deal(NamedTuple):
    """What a scene is of; equal seeds deal equal scenes."""

    camera: Camera
    tall: float  # metres, of the things
    things: tuple[str, ...]
    size_px: int
    is_evaluated: bool


def is_held_out(name: str) -> bool:
    """Return whether a thing or place is for evaluation alone; its name says so, as lists grow."""
    return name in HELD_OUT or (name not in THINGS and zlib.crc32(name.encode()) % 10 == 9)


def deal(draw: Random, scene: int, names: Sequence[str]) -> Deal:
    """Return what scene number `scene` shows, of the things with some names."""
    is_evaluated, kinds = scene % EVALUATED == EVALUATED - 1, dict[str, list[str]]()
    for name in names:
        if is_held_out(name) == is_evaluated:
            kinds.setdefault(Path(name).suffix, []).append(name)
    things = tuple(draw.choice(kinds[draw.choice(sorted(kinds))]) for _ in range(THINGS_A_SCENE))
    tall, angle = draw.uniform(0.2, 1.3), math.radians(draw.uniform(5, 38))
    distance, pitch = tall * math.exp(draw.uniform(0.7, 2.2)), draw.uniform(0, angle)
    up = distance * math.tan(angle)
    focal = draw.uniform(0.3, 0.5) * math.hypot(distance, up) / tall
    foot = draw.uniform(0.38, 0.62), draw.uniform(0.66, 0.86)
    camera = Camera.aimed(up, distance, pitch, focal, foot)
    return Deal(camera, tall, things, 128 if scene % 8 == 7 else 64, is_evaluated)


def build(name: str, draw: Random, colours: Array) -> Iterator[Body]:
    """Yield the parts of a thing of three colours, stretched together and varied one by one."""
    stretch = np.exp([draw.gauss(0, STRETCH) for _ in range(3)])
    for shape, first, second, *rest in THINGS[name]:
        size = math.exp(draw.gauss(0, JITTER))
        if shape == "rod":
            begin, end = np.array(first) * stretch, np.array(second) * stretch
            end[:2] += [draw.gauss(0, JITTER / 3) for _ in range(2)]
            radius, *tone = rest
            length = float(np.linalg.norm(end - begin))
            thick = radius * size, radius * size, length / 2
            yield solid("tube", (begin + end) / 2, thick, colours[sum(tone)], end - begin)
        else:
            evenly = np.full(3, stretch.prod() ** (1 / 3))
            axis, *tone = rest or [(0, 0, 1)]
            half = size * np.array(second) * (stretch if shape in {"box", "ball"} else evenly)
            yield solid(shape, first * stretch, half, colours[sum(tone)], axis)


def encode(light: Array) -> tuple[Array, Array]:
    """Return eight bits of the logarithm of light (..., H, W, 3), 0 for none, and the brightest."""
    top = np.maximum(light.max((-3, -2, -1), keepdims=True), 1e-8).astype(np.float32)
    code = np.round(255 + 254 / STOPS * np.log2(np.maximum(light / top, 1e-9)))
    return np.clip(code, 0, 255).astype(np.uint8), top


def decode(code: Array, top: Array) -> Array:
    """Return the light that `encode` took, within 2 %."""
    light = top * 2 ** ((code.astype(np.float32) - 255) * np.float32(STOPS / 254))
    return np.where(code > 0, light, np.float32(0))


def missing(folder: Path, seed: int) -> Iterator[tuple[int, Path]]:
    """Yield the scenes that a folder lacks, by number and file, without an end."""
    for scene in itertools.count():
        split = "evaluation" if scene % EVALUATED == EVALUATED - 1 else "training"
        path = folder / split / f"{seed}-{scene:06d}.npz"
        if not path.exists():
            yield scene, path


def render(
    draw: Random, dealt: Deal, files: Mapping[str, Path], skies: Sequence[Path]
) -> dict[str, Array]:
    """Return the arrays of a scene's file: B lights, T things, R pixels a side.

    `empty` (B, R, R, 3) is the place, `ground` (T, B, R, R, 3) the place with what a thing does to
    its light, though the thing cannot be seen, and `thing` the thing alone: logarithms of `encode`
    with their `_top`. `alpha` (T, 2, R, R) is the thing's, with and without what hides it. `flat`
    and `reference` (T, R, R, 4) show it under white from everywhere, from here and another side.
    `panorama` (B, 8, 16, 3) is around its foot; a `sun` (B, 6) has direction and irradiance.
    """
    skies = [sky for sky in skies if is_held_out(sky.stem) == dealt.is_evaluated]
    place = Place(draw, dealt.camera, tall=dealt.tall, size_px=dealt.size_px, skies=skies)
    lights, (rows, columns) = place.lights, CELLS
    around = np.stack([place.shoot("around", light)[..., :3] for light in lights])
    around = around.reshape(len(lights), rows, around.shape[1] // rows, columns, -1, 3).mean((2, 4))
    empty = np.stack([place.shoot("ground", light)[..., :3] for light in lights])
    shadowed, lit, flat = [], [], []
    for name in dealt.things:
        thing = place.stand(bodies_of(name, draw, files), is_cutout=Path(name).suffix in CUTOUTS)
        shadowed.append([place.shoot("ground", light, thing)[..., :3] for light in lights])
        lit.append([place.shoot("thing", light, thing) for light in lights])
        flat.append([place.shoot("flat", None, thing)])
        thing.rotation_euler.z += draw.choice((-1, 1)) * draw.uniform(0.4, 2.6)
        flat[-1].append(place.shoot("flat", None, thing))
        place.remove(thing)
    both: Array = np.array(lit)
    white = np.array(flat).clip(0, 1)
    masks = np.stack([both[:, 0, ..., 3], white[:, 0, ..., 3]], 1)
    shown = both[..., :3] / np.maximum(both[..., 3:], 1 / 32)
    kinds = [light.kind for light in lights]
    about = {"place": place.name, "floor": place.floor, "things": dealt.things, "lights": kinds}
    arrays = {
        "alpha": np.round(255 * masks.clip(0, 1)).astype(np.uint8),
        "flat": np.round(255 * white[:, 0] ** GAMMA).astype(np.uint8),
        "reference": np.round(255 * white[:, 1] ** GAMMA).astype(np.uint8),
        "panorama": around.astype(np.float32),
        "sun": np.array([light.sun for light in lights], np.float32),
        "camera": np.array([*dealt.camera, dealt.tall], np.float32),
        "about": np.array(json.dumps(about)),
    }
    for name, light in (("empty", empty), ("ground", np.array(shadowed)), ("thing", shown)):
        arrays[name], arrays[f"{name}_top"] = encode(light)
    return arrays


def bodies_of(name: str, draw: Random, files: Mapping[str, Path]) -> Path | list[Body]:
    """Return a thing as a place stands it: its model, its parts, or the body of its cut-out."""
    if name in THINGS:
        colours = np.random.default_rng(draw.randrange(2**31)).random((3, 3)) ** 2
        return list(build(name, draw, colours))
    if files[name].suffix in MODELS:
        return files[name]
    with Image.open(files[name]) as image:
        side = max(image.size)
        cutout = ImageOps.pad(image.convert("RGBA"), (side, side), centering=(0.5, 1))
    pixels = np.asarray(cutout, np.float32) / 255
    light = np.concatenate([pixels[..., :3] ** 2.2 * pixels[..., 3:], pixels[..., 3:]], -1)
    parts = mesh(torch.from_numpy(light).permute(2, 0, 1)[None])
    return [Body(*(part.numpy() for part in parts))]


def grow(folder: Path, *, seed: int, assets: Path | None) -> Iterator[tuple[Path, int]]:
    """Add scenes to a folder without an end; yield each file and its number of lit things.

    Args:
        folder: Where `training` and `evaluation` are; what is there stays.
        seed: Scenes of another seed are others.
        assets: A folder of models, cut-outs and panoramas.

    Raises:
        CapabilityError: Blender is not installed.
    """
    paths = sorted(assets.rglob("*")) if assets else []
    files = {str(path.relative_to(assets or "")): path for path in paths}
    skies = [path for path in paths if path.suffix in PANORAMAS]
    names = [*THINGS, *(name for name in files if Path(name).suffix in MODELS | CUTOUTS)]
    if find_spec("bpy") is None:
        raise CapabilityError(
            "Pairs are rendered by Blender, which is not installed. Run `pip install bpy==5.0.1`."
        )
    for scene, path in missing(folder, seed):
        draw = Random(f"{seed}/{scene}")
        try:
            arrays = render(draw, deal(draw, scene, names), files, skies)
        except (RuntimeError, ValueError) as error:  # a model that cannot be read or has no mesh
            logger.warning("Scene %d is left out: %s", scene, error)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part, part.open("xb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        yield path, arrays["alpha"].shape[0] * arrays["sun"].shape[0]


class Pair(NamedTuple):
    """A thing in a place in one mixture of lights, S pixels a side; light is linear."""

    kind: str  # of the strongest light: "sun", "sky", "panorama", "window" or "lamp"
    place: Array  # (S, S, 3) as a camera exposes it, about 0.35 in the mean
    own: Array  # (S, S, 3) the thing in other light, in [0, 1]
    alpha: Array  # (S, S, 1) the thing's, with what hides it away
    hidden: Array  # (S, S, 1) share of the thing that grass or a cushion hides
    ground_gain: Array  # (S, S, 3) what the place's light is multiplied by
    thing_gain: Array  # (S, S, 3) the same for `own`
    ground: Array  # (S, S, 2) places on it, metres right and away
    is_ground: Array  # (S, S, 1)
    panorama: Array  # (8, 16, 3), as bright as the place
    sun: Array  # (6,) direction to it and irradiance, zeros without one


@lru_cache(maxsize=2000)
def read_scene(path: Path) -> dict[str, Array]:
    """Return the arrays of `render`; pictures stay in eight bits."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def mix(scene: Mapping[str, Array], thing: int, deal: np.random.Generator) -> Pair:
    """Return a pair of one of a scene's things, in lights and at exposures by chance."""
    lens = scene["camera"].tolist()[:-1]
    places, is_ground = (part.permute(1, 2, 0).numpy() for part in Camera(*lens).ground(SIZE_PX))
    kind, weights = deal_lights(scene, deal)
    seen, whole = scene["alpha"][thing, ..., None] / np.float32(255)
    alpha, outline = _small(seen), _small(whole)

    def summed(name: str, weights: Array, *at: int) -> Array:
        light = decode(scene[name][at], scene[f"{name}_top"][at])
        return np.einsum("bc,bhwc->hwc", weights, light)

    def shown(weights: Array) -> Array:
        return _small(summed("thing", weights, thing) * seen) / np.maximum(alpha, 0.03)

    empty = _small(summed("empty", weights))
    expose = deal.uniform(0.25, 0.5) / max(1e-6, float(empty[is_ground[..., 0]].mean()))
    own = _small((scene["flat"][thing, ..., :3] / np.float32(255)) ** 2.2)
    own /= np.maximum(outline, 0.03)
    hidden = (1 - alpha / np.maximum(outline, 0.03)).clip(0, 1)
    if deal.random() > FLAT_SHARE:  # what is hidden here was not where the thing is from
        own = hidden * own + (1 - hidden) * shown(deal_lights(scene, deal)[1])
    own *= deal.uniform(0.2, 0.5) / max(1e-6, float(own[outline[..., 0] > 0.5].mean()))
    own = own.clip(0.004, 1)
    strength = (weights * scene["sun"][:, 3:]).mean(1)
    sun = scene["sun"][strength.argmax()] * (strength.max() > 0)
    sun[3:] *= expose * weights[strength.argmax()]
    pair = Pair(
        kind,
        place=empty * expose,
        own=own,
        alpha=outline,
        hidden=hidden,
        ground_gain=_small(summed("ground", weights, thing)) / np.maximum(empty, 1e-3 / expose),
        thing_gain=shown(weights) * expose / own,
        ground=places.clip(-100, 100),
        is_ground=is_ground,
        panorama=np.einsum("bc,bhwc->hwc", weights, scene["panorama"]) * expose,
        sun=sun,
    )
    if deal.random() < 0.5:  # seen in a mirror
        pair = Pair(kind, *(part[:, ::-1] if part.ndim > 1 else part for part in pair[1:]))
        pair.ground[..., 0] *= -1
        pair.sun[0] *= -1
    return pair


def deal_lights(scene: Mapping[str, Array], deal: np.random.Generator) -> tuple[str, Array]:
    """Return the kind of a mixture, and what each light is multiplied by, (B, 3)."""
    lights = np.array(json.loads(str(scene["about"]))["lights"])
    facing = cones.cells(like=torch.ones(()))[1].view(cones.ROWS, -1).sum(1).numpy()
    irradiance = scene["panorama"][:, : cones.ROWS].mean((2, 3)) @ facing
    irradiance += scene["sun"][:, 2] * scene["sun"][:, 3:].mean(1)
    share = np.zeros(len(lights))
    if "sky" in lights:
        kind = str(deal.choice(lights[lights != "sun"]))
        share[lights == kind] = 1
        if deal.random() < 0.7:
            kind = "sun"
            share[deal.choice(np.flatnonzero(lights == kind))] = math.exp(deal.uniform(-1.2, 2.1))
    else:
        kind = str(deal.choice(["window", "window", "lamp"]))
        shares = deal.uniform(0.3, 1, len(lights)) * (deal.random(len(lights)) < 0.7)
        share = np.where(lights == kind, shares, shares * deal.uniform(0, 0.3))
        share[deal.choice(np.flatnonzero(lights == kind))] = 1
    warmth = np.where(lights == "sky", 0, deal.uniform(-0.1, 0.35, len(lights)))
    strength = share / np.maximum(irradiance, 1e-4) / share.sum()
    return kind, strength[:, None] * (1 + np.outer(warmth, (1, 0, -1)))


def _small(picture: Array) -> Array:
    """Return a picture (H, W, C) of SIZE_PX a side."""
    step = len(picture) // SIZE_PX
    return picture.reshape(SIZE_PX, step, SIZE_PX, step, -1).mean((1, 3))
