"""Photographs in other light: `python -m benchmarks.relighting PHOTO... -o SHEET`.

Each photograph is drawn at night, at sunset, in rain, by night in rain, in winter, in autumn and
in fog, and in summer as if it showed winter. `--weights` adds a second row by the scene network of
that folder, as `swiftpie train world-scene` exports it. `--figures N` prints how far both are off
N places of the renderer in settings that training leaves out, with and without the texture of
photographs, and how many levels of winter and autumn stay in drawn places that come back to summer.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from swiftpie.imageio.decoding import load_image
from swiftpie.mini.reading import read
from swiftpie.mini.relight import NOISE_SHAPE, SIDE_PX, add_weather, relight
from swiftpie.mini.scene_network import Relighter, SceneNetwork, scene_relighter
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.words import PLAIN
from swiftpie.noise import draw_noise
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.losses import psnr_db
from swiftpie_lab.training.stages.scene import SceneConfig, contrast

PROMPTS = (
    "at night",
    "at sunset",
    "in the rain",
    "at night in the rain",
    "in winter",
    "in autumn",
    "in the fog",
)
COVERED_PLACES = ("campsite", "meadow", "village", "park", "castle", "country road")
CELL_PX, SEED, FIRST_BATCH = 256, 3, 2**31 - 9


def main() -> None:
    """Draw the sheet and print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--weights", type=Path, help="a folder with scene/, besides the package's")
    parser.add_argument("-o", "--out", type=Path, default=Path("relighting.png"))
    parser.add_argument(
        "--figures", type=int, default=0, metavar="N", help="places that are judged"
    )
    parser.add_argument("--size-px", type=int, default=SIDE_PX, help="of places that are judged")
    options = parser.parse_args()
    networks = {"packaged": scene_relighter()}
    if options.weights is not None:
        trained = (
            SceneNetwork.from_pretrained(options.weights / "scene")
            .float()
            .requires_grad_(requires_grad=False)
        )
        networks["weights"] = Relighter(trained, scene_relighter().autoencoder)
    if options.photos:
        sheet([cut(path) for path in options.photos], list(networks.values())).save(options.out)
    for name, network in networks.items():
        if options.figures:
            figures = judged(network, options.figures, size_px=options.size_px) | uncovered(network)
            sys.stdout.write(json.dumps({"network": name, **figures}) + "\n")


def cut(path: Path) -> Image.Image:
    """Return the square in the middle of a photograph, 512 px a side."""
    image = load_image(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((2 * CELL_PX, 2 * CELL_PX))


def sheet(photos: list[Image.Image], networks: list[Callable[..., torch.Tensor]]) -> Image.Image:
    """Return a row a photograph and network: the photograph, then one cell a prompt."""
    size = ((2 + len(PROMPTS)) * CELL_PX, len(photos) * len(networks) * CELL_PX)
    result, noise = Image.new("RGB", size), draw_noise([SEED], NOISE_SHAPE)
    rows = ((photo, network) for photo in photos for network in networks)
    for row, (photo, network) in enumerate(rows):
        cells = [photo]
        for prompt in PROMPTS:
            setting = read(prompt).shown_setting
            drawn = relight(photo, setting, noise=noise, run=partial(_in_place, network))
            cells.append(add_weather(drawn, setting, noise=noise))
        winter = read("in winter").setting
        cells.append(
            relight(photo, PLAIN, before=winter, noise=noise, run=partial(_in_place, network))
        )
        for column, cell in enumerate(cells):
            small = cell.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            result.paste(small, (column * CELL_PX, row * CELL_PX))
    return result


def _in_place(
    network: Callable[..., torch.Tensor], _: object, *tensors: torch.Tensor
) -> torch.Tensor:
    return network(*tensors)


@torch.no_grad()
def judged(relighter: Relighter, count: int, *, size_px: int) -> dict[str, float]:
    """Return decibels and sharpness, bare and rough, of settings that training leaves out."""
    config = SceneConfig(size_px=size_px, plain_share=0.0, missing_share=0.0, covered_share=0.0)
    context = Context(data=Path(), runs=Path(), device="cpu")
    figures = {}
    for name, share in (("bare", 0.0), ("rough", 1.0)):
        stage = replace(config, texture_share=share).build(context)
        drawn, truth = [], []
        for number in range(-(-count // config.batch_size)):
            batch = stage.batch(config.batch_size, seed=FIRST_BATCH - number, held_out=True)
            drawn.append(relighter(batch.noise, batch.reference, *batch.condition))
            truth.append(batch.place)
        ours, theirs = torch.cat(drawn), torch.cat(truth)
        figures[f"{name}_psnr_db"] = round(float(psnr_db(ours, theirs)), 2)
        sharpness = (contrast(ours) / contrast(theirs).clamp_min(1e-4)).median()
        figures[f"{name}_sharpness"] = round(float(sharpness), 3)
    return figures


def uncovered(relighter: Relighter) -> dict[str, tuple[float, float]]:
    """Return how many of 255 levels drawn places are off in a season, and after it is undone.

    The packaged network draws the season, so that all are judged on the same pictures.
    """
    noise = draw_noise([0], NOISE_SHAPE)
    figures: dict[str, tuple[float, float]] = {}
    for season in ("winter", "autumn"):
        setting, found = read(f"in {season}").setting, []
        for place in COVERED_PLACES:
            truth = scene_library().image(place)
            covered = relight(truth, setting, noise=noise, place=place)
            run = partial(_in_place, relighter)
            shown = relight(covered, PLAIN, before=setting, noise=noise, place=place, run=run)
            found.append((levels(covered, truth), levels(shown, truth)))
        means = np.mean(found, axis=0).round(1).tolist()
        figures |= {f"{season}_levels": found[0], f"{season}_levels_mean": (means[0], means[1])}
    return figures


def levels(first: Image.Image, second: Image.Image) -> float:
    """Return the mean absolute difference of two pictures in levels of 255."""
    both = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (first, second))
    return round(float(np.abs(np.subtract(*both)).mean()), 1)


if __name__ == "__main__":
    main()
