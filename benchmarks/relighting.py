"""Photographs in other light: `python -m benchmarks.relighting PHOTO... -o SHEET`.

Each photograph is drawn at night, at sunset, in rain, by night in rain, in winter, in autumn and
in fog. `--weights` adds a second row by the scene network of
that folder, as `swiftpie train world-scene` exports it. `--figures N` prints how far both are off
N places of the renderer in settings that training leaves out, with and without the texture of
photographs. `--winter` writes into the library's facts of places how much green winter leaves in
each photograph, and prints the most that winters of the renderer leave, by which it is judged.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie.lexicon import PLAIN, WINTER
from swiftpie.noise import draw_noise
from swiftpie.places.reading import read
from swiftpie.places.relight import NOISE_SHAPE, SIDE_PX, add_weather, relight
from swiftpie.places.scene_network import Relighter, SceneNetwork, scene_relighter
from swiftpie.scenes import ASSETS, INDOORS, PLACES_INDEX, scene_library
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.losses import psnr_db
from swiftpie_lab.training.stages.scene import SceneConfig, contrast
from swiftpie_world.air import Setting
from swiftpie_world.fields import read_fields
from swiftpie_world.places import SCENE_PLACES, draw_places

PROMPTS = (
    "at night",
    "at sunset",
    "in the rain",
    "at night in the rain",
    "in winter",
    "in autumn",
    "in the fog",
)
CELL_PX, SEED, FIRST_BATCH = 256, 3, 2**31 - 9
WINTERS = 3  # of each place of the renderer


def main() -> None:
    """Draw the sheet and print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--weights", type=Path, help="a folder with scene/, besides the package's")
    parser.add_argument("-o", "--out", type=Path, default=Path("relighting.png"))
    parser.add_argument("--figures", type=int, default=0, metavar="N", help="places to judge")
    parser.add_argument("--winter", action="store_true", help="measure the library's photographs")
    parser.add_argument("--size-px", type=int, default=SIDE_PX, help="of places that are judged")
    options = parser.parse_args()
    networks = {"packaged": scene_relighter()}
    if options.weights is not None:
        trained = SceneNetwork.from_pretrained(options.weights / "scene").float()
        trained.requires_grad_(requires_grad=False)
        networks["weights"] = Relighter(trained, scene_relighter().autoencoder)
    if options.winter:
        sys.stdout.write(write_winters(torch.tensor([*rendered_winters()])) + "\n")
    if options.photos:
        sheet([cut(path) for path in options.photos], list(networks.values())).save(options.out)
    for name, network in networks.items():
        if options.figures:
            figures = judged(network, options.figures, size_px=options.size_px)
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
        for column, cell in enumerate(cells):
            small = cell.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            result.paste(small, (column * CELL_PX, row * CELL_PX))
    return result


def _in_place(
    network: Callable[..., torch.Tensor], _: object, *tensors: torch.Tensor
) -> torch.Tensor:
    return network(*tensors)


def green_of(picture: torch.Tensor) -> float:
    """Return how much greener than red and blue a picture (3, H, W) in [-1, 1] is, on average."""
    red, green, blue = picture
    return float((green - torch.maximum(red, blue)).clamp_min(0).mean() / 2)


def rendered_winters() -> Iterator[tuple[float, float]]:
    """Yield the green of places of the renderer in summer, and the share that winter leaves."""
    for number, place in enumerate(SCENE_PLACES):
        if place.outdoors and place.has_seasons and not place.is_cold:
            noise = draw_noise([*range(WINTERS)] * 2, NOISE_SHAPE)
            settings = [Setting(number)] * WINTERS + [Setting(number, season=WINTER)] * WINTERS
            both = 2 * draw_places(read_fields(noise, size_px=SIDE_PX), settings).pixels - 1
            for summer, winter in zip(*map(list, both.chunk(2)), strict=True):
                yield (green := green_of(summer)), green_of(winter) / green


def write_winters(rendered: torch.Tensor) -> str:
    """Write the green that winter leaves of each photograph with plants; return what is usual.

    Plants make a photograph as green as the least green place of the renderer (N, 2).
    """
    least, most = float(rendered[:, 0].min()), float(rendered[:, 1].quantile(0.95))
    path, lines = ASSETS / PLACES_INDEX, []
    for row in json.loads(path.read_text(encoding="utf-8")):
        for number, photograph in enumerate(row["photographs"]):
            photograph.pop("green", None)
            picture = scene_library().image(row["name"], number).resize((SIDE_PX, SIDE_PX))
            if row["name"] not in INDOORS and (green := green_of(to_tensor(picture)[0])) >= least:
                setting, noise = PLAIN._replace(season=WINTER), draw_noise([0], NOISE_SHAPE)
                white = to_tensor(relight(picture, setting, noise=noise))[0]
                photograph["green"] = round(green_of(white) / green, 2)
        photographs = [json.dumps(each, ensure_ascii=False) for each in row.pop("photographs")]
        lines.append(f' {json.dumps(row, ensure_ascii=False)[:-1]}, "photographs": [\n   ')
        lines[-1] += ",\n   ".join(photographs) + "]}"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return f"of the green of summer, winters of the renderer leave at most {most:.2f} (95 of 100)"


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


if __name__ == "__main__":
    main()
