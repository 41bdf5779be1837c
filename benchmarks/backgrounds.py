r"""Photographs to insert into, of free packages: `python -m benchmarks.backgrounds FOLDER -o OUT`.

FOLDER holds Debian packages as they are downloaded, and scikit-image's wheel next to them:

    apt-get download enlightenment-data lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \
        lxqt-themes mate-backgrounds plasma-workspace-wallpapers stellarium-data
    pip download --no-deps scikit-image

Files are copied as they are, for their bytes decide which of them training never reads. Only
pictures inside of other files, and panoramas without a sky, are written anew.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

# What is taken of each package, by the stem of the file or its folder: what is a photograph.
CHOSEN = {
    "enlightenment": "Bamboo Foggy-Trees God-Rays Green-Maple Lichen-Branches Mountain Peaks "
    "Red-Maple Sea-of-Lanterns Snow-Trees Spruce-Needles Sunset-Clouds White-Flower Yellow-Flower",
    "lomiri": "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Kleiber_by_Lukas_Baubkus "
    "Picture_0B_by_freespace Picture_1A_by_freespace Wine_by_Jakkub_Mede "
    "aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich friends_by_Aitzol_Berasategi "
    "greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
    "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi",
    "lxqt": "Butterfly-Kenneth-Wimer Valendas after-the-rain appleflower beam butterfly cloud drop "
    "flowers fog this-is-not-windows",
    "mate": "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings "
    "Wood YellowFlower",
    "plasma": "BytheWater ColdRipple DarkestHour EveningGlow FallenLeaf Kite OneStandsOut Path "
    "Volna summer_1am",
    "stellarium": "garching-gl1 garching-gl3 garching-ground3 guereins1 guereins3 guereins8 "
    "guereinsb hurricane1 hurricane2 hurricane4 hurricane6 hurricane8 hurricaneb ocean2 ocean9",
    "skimage": "astronaut brick camera chelsea coffee grass gravel rocket",
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".edj"}
LONGEST_PX = 2560  # of pictures that are written anew
ZENITH, HORIZON = (110, 160, 215), (205, 225, 240)  # of the sky that panoramas lack


def find(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield package, name and file of every photograph that is chosen."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        package = re.split(r"[-_]", inside.parts[0])[0]
        if path.suffix not in SUFFIXES or path.is_symlink() or path.stem == "screenshot":
            continue
        names = {path.stem}
        if package == "plasma":  # wallpapers/NAME/contents/images/WIDTHxHEIGHT.jpg
            width, height = (int(side) for side in re.findall(r"\d+", path.stem)[:2] or (0, 0))
            names = {inside.parts[-4]} if width > height and inside.parts[-2] == "images" else set()
        for name in names & {*CHOSEN.get(package, "").split()}:
            yield package, name, path


def largest_jpeg(path: Path) -> Image.Image:
    """Return the largest picture that a file of several holds."""
    data, found = path.read_bytes(), []
    for start in re.finditer(b"\xff\xd8\xff[\xe0\xe1\xdb]", data):
        try:
            picture = Image.open(io.BytesIO(data[start.start() :]))
            picture.load()
        except OSError:
            continue
        found.append(picture)
    largest = max(found, key=lambda one: one.width).convert("RGB")
    largest.thumbnail((LONGEST_PX, LONGEST_PX))
    return largest


def under_sky(path: Path) -> Image.Image:
    """Return a panorama with a sky where it has none."""
    panorama = Image.open(path).convert("RGBA")
    down = np.linspace(0, 1, panorama.height)[:, None, None]
    colours = (1 - down) * np.array(ZENITH) + down * np.array(HORIZON)
    rows = np.broadcast_to(colours.round().astype(np.uint8), (*panorama.size[::-1], 3))
    sky = Image.fromarray(rows.copy())
    sky.paste(panorama, (0, 0), panorama)
    return sky


def unpack(downloads: Path, folder: Path) -> None:
    """Unpack packages and wheels, each into a folder of its own name."""
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / package.stem], check=True)
    for wheel in downloads.glob("scikit_image-*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "skimage")


def main() -> None:
    """Collect what is chosen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="downloaded packages")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as room:
        unpack(given.folder, Path(room))
        for package, name, path in find(Path(room)):
            target = given.out / f"{package}-{name}{path.suffix}"
            if package == "stellarium":
                under_sky(path).save(target)
            elif path.suffix == ".edj":
                largest_jpeg(path).save(target.with_suffix(".jpg"), quality=95)
            else:
                shutil.copy(path, target)
    count = len([*given.out.iterdir()])
    wanted = sum(len(names.split()) for names in CHOSEN.values())
    sys.stdout.write(f"wrote {count} of {wanted} photographs to {given.out}\n")


if __name__ == "__main__":
    main()
