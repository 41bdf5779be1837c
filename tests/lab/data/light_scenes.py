"""Scenes in the format of `swiftpie_lab.data.light_pairs`, whose light follows formulas."""

import json

import numpy as np

from swiftpie.geometry.camera import Camera
from swiftpie_lab.data.light_pairs import encode

CAMERA = Camera(height=0.8, distance=2.0, pitch=0.2, focal=1.1, column=0.5, row=0.6)
OUTDOORS, INDOORS = ("panorama", "sky", "sun"), ("window", "lamp")


def scene(lights=OUTDOORS, *, size_px=64, kept=0.5, seed=0):
    """Return a scene of three discs, whose lights leave the ground `kept` of their light."""
    draw = np.random.default_rng(seed)
    count = len(lights)
    suns = np.zeros((count, 6), np.float32)
    for row, kind in enumerate(lights):
        if kind == "sun":
            suns[row] = (0.6, 0.0, 0.8, 3, 3, 3)
    empty = draw.uniform(0.1, 1, (count, size_px, size_px, 3))
    thing = draw.uniform(0.1, 1, (3, count, size_px, size_px, 3))
    places = np.linspace(-1, 1, size_px)
    disc = np.hypot(places[:, None], places) < 0.4
    alpha = np.repeat(np.where(disc, 255, 0)[None, None], 3, 0).repeat(2, 1).astype(np.uint8)
    white = np.where(disc[..., None], 200, 0).astype(np.uint8)
    flat = np.repeat(np.concatenate([white.repeat(3, 2), alpha[0, 0, ..., None]], -1)[None], 3, 0)
    panorama = draw.uniform(0.1, 1, (count, 8, 16, 3)).astype(np.float32)
    about = {"place": "made", "floor": "rough", "things": ["a", "b", "c"], "lights": lights}
    arrays = {
        "alpha": alpha,
        "flat": flat,
        "reference": flat,
        "panorama": panorama * (suns[:, :1, None, None] == 0),
        "sun": suns,
        "camera": np.array([*CAMERA, 0.5], np.float32),
        "about": np.array(json.dumps(about)),
    }
    ground = np.repeat(kept * empty[None], 3, 0)
    for name, light in (("empty", empty), ("ground", ground), ("thing", thing)):
        arrays[name], arrays[f"{name}_top"] = encode(light)
    return arrays


def make_folder(folder, *, num_scenes=4):
    """Write scenes outdoors and indoors, for training and for evaluation."""
    for split in ("training", "evaluation"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(num_scenes):
            lights = (OUTDOORS, INDOORS)[number % 2]
            np.savez_compressed(
                folder / split / f"0-{number:06d}.npz", **scene(lights, seed=number)
            )
    return folder
