"""How long an invisible mark survives: `python -m benchmarks.marks [--photos FOLDER]`.

It needs the library invisible-watermark, which SwiftPie does not depend on. Each picture is marked
with 32 bits, changed as sites change pictures, and read again.
"""

import argparse
import importlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import swiftpie
from swiftpie.errors import MissingExtra
from swiftpie.imageio.decoding import load_image

METHODS = ("dwtDct", "dwtDctSvd", "rivaGan")
NUM_BITS = 32  # what the third of them holds
DRAWN = ("crab", "robot", "cat", "teapot", "sailboat", "cactus", "owl", "guitar")
PLACES = ("on a beach", "in a forest at sunset")
LARGE_PX, NUM_PHOTOS = 1024, 8
LEAST_PX = 256  # a side, of what the library reads
Change = Callable[[Image.Image], Image.Image]


def _as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def _cropped(picture: Image.Image) -> Image.Image:
    return ImageOps.crop(picture, round(0.05 * picture.width))  # a tenth of each side


def _shrunk(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))


CHANGES: Mapping[str, Change] = {
    "nothing": lambda picture: picture,
    "JPEG 80": _as_jpeg,
    "a tenth cropped": _cropped,
    "three quarters": _shrunk,
    "three quarters, and back": lambda picture: _shrunk(picture).resize(picture.size),
}


def _readable(picture: Image.Image) -> Image.Image:
    if min(picture.size) >= LEAST_PX:
        return picture
    return ImageOps.fit(picture, (LEAST_PX, LEAST_PX))


def pictures_of_mini() -> Iterator[Image.Image]:
    """Yield pictures of 256 px that mini draws."""
    session = swiftpie.load("mini")
    for seed, place in enumerate(PLACES):
        for name in DRAWN:
            prompt = f"a {name} {place}"
            yield session.personalize(session.named(name), prompt, seed=seed).images[0]


def photographs(folder: Path) -> Iterator[Image.Image]:
    """Yield the first photograph of some folders in `folder`, 1024 px a side."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir())[:NUM_PHOTOS]:
        files = sorted(file for file in place.iterdir() if file.suffix in {".jpg", ".png"})
        for file in files[:1]:
            yield ImageOps.fit(load_image(file).convert("RGB"), (LARGE_PX, LARGE_PX))


def measure(pictures: Sequence[Image.Image], method: str) -> dict[str, str]:
    """Return the bits that are right after each change, and how many pictures keep all of them."""
    library = load_library()
    rng = np.random.default_rng(0)
    noise, rows = [], dict[str, list[float]]()
    for picture in pictures:
        bits = rng.integers(0, 2, NUM_BITS)
        encoder = library.WatermarkEncoder()
        encoder.set_watermark("bits", bits.tolist())
        pixels = np.asarray(picture)[..., ::-1]
        marked = Image.fromarray(np.ascontiguousarray(encoder.encode(pixels, method)[..., ::-1]))
        noise.append(np.square(np.asarray(marked, float) - np.asarray(picture, float)).mean())
        for name, change in CHANGES.items():
            decoder = library.WatermarkDecoder("bits", NUM_BITS)
            found = decoder.decode(np.asarray(_readable(change(marked)))[..., ::-1], method)
            rows.setdefault(name, []).append(float((np.asarray(found) == bits).mean()))
    kept = {
        name: f"{np.mean(row):.0%} ({sum(share == 1 for share in row)} of {len(row)})"
        for name, row in rows.items()
    }
    return {"PSNR": f"{10 * np.log10(255**2 / np.mean(noise)):.1f} dB", **kept}


def load_library() -> Any:  # noqa: ANN401 - a library without types
    """Return invisible-watermark, ready to mark.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        library = importlib.import_module("imwatermark")
    except ImportError as error:
        raise MissingExtra(
            f"The benchmark needs invisible-watermark ({error}). Run: pip install --no-deps "
            "invisible-watermark PyWavelets"
        ) from error
    library.WatermarkEncoder.loadModel()
    return library


def main() -> None:
    """Print a table a set of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder with a folder of each thing")
    chosen = parser.parse_args()
    sets = {"mini, 256 px": list(pictures_of_mini())}
    if chosen.photos is not None:
        sets[f"photographs, {LARGE_PX} px"] = list(photographs(chosen.photos))
    for title, pictures in sets.items():
        sys.stdout.write(f"{title}: bits that are right (pictures that keep all {NUM_BITS})\n")
        for method in METHODS:
            row = measure(pictures, method)
            facts = "; ".join(f"{name} {value}" for name, value in row.items())
            sys.stdout.write(f"  {method}: {facts}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
