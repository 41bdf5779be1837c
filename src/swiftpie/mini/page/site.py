"""The folder of the page: sources, runtime, model, places and subjects, for any host of files."""

import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

import swiftpie
from swiftpie import library
from swiftpie.engine.graphs.export import DRAW, Sheet, export_onnx
from swiftpie.engine.load import load
from swiftpie.imageio.writing import XMP
from swiftpie.mini import scenes
from swiftpie.mini.page.compact import pack_graphs
from swiftpie.mini.page.graphs import CUTOUT, JOIN, RELIGHT, export_page_parts
from swiftpie.mini.page.words import words_of_prompts

SOURCES = Path(__file__).with_name("static")
VOCABULARY = Path(swiftpie.__file__).parent / "server" / "static" / "vocabulary.js"
WORKER, CARD, FILES = "service-worker.js", "README.md", "files.json"
SUBJECTS = (
    *("crab", "hamster", "robot", "dog", "cat", "tiger", "fox", "rabbit", "panda", "koala", "lion"),
    *("frog", "penguin", "owl", "duck", "elephant", "giraffe", "sauropod", "t rex", "octopus"),
    *("turtle", "whale", "butterfly", "honeybee", "hedgehog", "unicorn", "dragon", "cactus"),
    *("hibiscus", "sunflower", "mushroom", "strawberry", "pineapple", "avocado", "doughnut"),
    *("shortcake", "hamburger", "teapot", "saxophone", "guitar", "backpack", "balloon", "camera"),
    *("teddy bear", "rocket", "automobile", "sailboat", "bicycle", "house", "snowman"),
)
"""The subjects of the library that the page brings along, the one that it draws first in front."""
SCENE_PX, SCENE_QUALITY = (512, 512), 80  # of photographs, as WebP


def write_page(folder: Path, runtime: Mapping[str, bytes]) -> int:
    """Write the page into `folder`, which is empty, and return its size in bytes.

    Args:
        folder: Where it goes.
        runtime: Files of ONNX Runtime Web by name.

    Raises:
        MissingExtra: A package that prepares graphs is not installed.
    """
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    shutil.copy(VOCABULARY, folder)
    _write_runtime(folder / "runtime", runtime)
    _write_model(folder / "model")
    _write_scenes(folder / "scenes")
    _write_subjects(folder / "subjects")
    shutil.copy(library.ASSETS / library.LICENCE, folder / "licences" / "subjects.txt")
    _fill(folder / CARD, "@SWIFTPIE@", swiftpie.__version__)
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    version = hashlib.sha256()
    for name in names:
        version.update(f"{name}\0".encode() + (folder / name).read_bytes())
    _fill(folder / WORKER, "@VERSION@", version.hexdigest()[:16])
    _write_json(folder / FILES, {"files": [name for name in names if name not in {WORKER, CARD}]})
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write_runtime(folder: Path, runtime: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in runtime.items():
        if name.endswith(".wasm"):  # a plain host sends files as they are, so they are packed here
            (folder / f"{name}.bin").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
        else:
            (folder / name).write_bytes(content)


def _write_model(folder: Path) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory() as mini, tempfile.TemporaryDirectory() as parts:
        sheet = export_onnx(load("mini", device="cpu").components, Path(mini))
        export_page_parts(Path(parts))
        graphs = {name: Path(mini) / graph.file for name, graph in sheet.graphs.items()}
        graphs |= {name: Path(parts) / f"{name}.onnx" for name in (CUTOUT, JOIN, RELIGHT)}
        pack_graphs(graphs, folder)
        (tokenizer,) = sheet.tokenizers
        packed = gzip.compress((Path(mini) / tokenizer).read_bytes(), compresslevel=9, mtime=0)
        (folder / "tokenizer.bin").write_bytes(packed)
    _write_json(folder / "sheet.json", _facts(sheet))
    words = words_of_prompts()
    for number, place in enumerate(words["places"]):
        place["file"] = number
    _write_json(folder / "words.json", words)


def _facts(sheet: Sheet) -> dict[str, Any]:
    known = library.packaged()
    return {
        "preset": sheet.preset,
        "fingerprint": sheet.fingerprint,
        "frame_px": sheet.frame_px,
        "defaults": sheet.defaults,
        "graphs": {DRAW: {"inputs": sheet.graphs[DRAW].inputs}},
        "taught": sheet.taught,
        "mark": XMP,
        "subjects": [
            {"name": name, "file": f"subjects/{known.entry(name).code}.webp"} for name in SUBJECTS
        ],
    }


def _write_scenes(folder: Path) -> None:
    folder.mkdir()
    packaged = scenes.packaged()
    credited = {name: packaged.credits_of(name) for name in packaged.names()}
    _write_json(folder / "credits.json", {name: row for name, row in credited.items() if row})
    for number, place in enumerate(packaged.to_json()["places"]):
        for picture in range(place["pictures"]):
            path = folder / f"{number}-{picture}.webp"
            if place["isPhoto"]:
                photo = packaged.image(place["name"], picture)
                square = ImageOps.fit(photo, SCENE_PX, Image.Resampling.BICUBIC, centering=(0.5, 1))
                square.save(path, quality=SCENE_QUALITY)
            else:
                path.write_bytes(packaged.picture(place["name"], picture))


def _write_subjects(folder: Path) -> None:
    folder.mkdir()
    known = library.packaged()
    for name in SUBJECTS:
        (folder / f"{known.entry(name).code}.webp").write_bytes(known.picture(name))


def _fill(path: Path, mark: str, value: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(mark, value), encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
