"""The folder of the page: sources, runtime, model, places and subjects, for any host of files."""

import gzip
import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageOps

import swiftpie
from swiftpie import library
from swiftpie.engine.graphs.export import DRAW, Sheet, export_onnx
from swiftpie.engine.load import load
from swiftpie.errors import InputError, short_reason
from swiftpie.imageio.writing import XMP
from swiftpie.mini import scenes, words
from swiftpie.mini.page.graphs import CUTOUT, JOIN, RELIGHT, export_page_parts, pack_graphs

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
GROUP = re.compile(r"\(\?P<")
SCENE_PX, SCENE_QUALITY = (512, 512), 80  # of photographs, as WebP
# ONNX Runtime Web, 7 MB that only an export of a page needs, so the wheel does not carry it.
VERSION = "1.25.1"
FOLDER = "package/dist"  # inside of the archive
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
REMEDY = (
    f"Give what `npm pack onnxruntime-web@{VERSION}` writes, or "
    f"https://registry.npmjs.org/onnxruntime-web/-/{PACKAGE}."
)
RUNTIME_FILES: Mapping[str, str] = MappingProxyType(
    {
        "ort.wasm.min.mjs": "71cb6a78b3989d8ef4f6f9cff7f88f72302590df8ef6fcefd48b5a01a14bf90f",
        "ort-wasm-simd-threaded.mjs": (
            "ad9ee5889344e212b8b83daf778fc75bc3a2293ca640ab5e54f756a25cef1fa6"
        ),
        "ort-wasm-simd-threaded.wasm": (
            "3cbf90f74a919ff82acd1c0171ff40d1170d928e9634a430e9f3fa6f35674464"
        ),
    }
)
"""The files that the page needs, with their SHA-256."""


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
    known = words_of_prompts()
    for number, place in enumerate(known["places"]):
        place["file"] = number
    _write_json(folder / "words.json", known)


def _facts(sheet: Sheet) -> dict[str, Any]:
    known = library.subject_library()
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
    places = scenes.scene_library()
    credited = {name: places.credits_of(name) for name in places.names()}
    _write_json(folder / "credits.json", {name: row for name, row in credited.items() if row})
    for number, place in enumerate(places.to_json()["places"]):
        for picture in range(place["pictures"]):
            path = folder / f"{number}-{picture}.webp"
            if place["isPhoto"]:
                photo = places.image(place["name"], picture)
                square = ImageOps.fit(photo, SCENE_PX, Image.Resampling.BICUBIC, centering=(0.5, 1))
                square.save(path, quality=SCENE_QUALITY)
            else:
                path.write_bytes(places.picture(place["name"], picture))


def _write_subjects(folder: Path) -> None:
    folder.mkdir()
    known = library.subject_library()
    for name in SUBJECTS:
        (folder / f"{known.entry(name).code}.webp").write_bytes(known.picture(name))


def _fill(path: Path, mark: str, value: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(mark, value), encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def read_runtime(place: Path) -> dict[str, bytes]:
    """Return the runtime's files by name, from npm's archive or the folder of an installed package.

    Raises:
        InputError: `place` is of another version, or cannot be read.
    """
    try:
        found = dict(_members(place))
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"'{place}' cannot be read as ONNX Runtime Web ({short_reason(error)}). {REMEDY}"
        ) from error
    for name, known in RUNTIME_FILES.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != known:
            raise InputError(
                f"'{place}' holds no {name!r} of version {VERSION}, which the page needs. {REMEDY}"
            )
    return found


def _members(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for name in RUNTIME_FILES:
            yield name, (place / "dist" / name).read_bytes()
        return
    wanted = {f"{FOLDER}/{name}": name for name in RUNTIME_FILES}
    with tarfile.open(place, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted else None
            if content is not None:
                yield wanted[member.name], content.read()


def words_of_prompts() -> dict[str, Any]:
    """Return the lists and patterns that `static/words.js` reads prompts by.

    Patterns are those of Python in the spelling of JavaScript, and ignore case.
    """
    return {
        "settings": [
            list(values.values()) for values in (words.TIMES, words.WEATHERS, words.SEASONS)
        ],
        "cloudy": words.CLOUDY,
        "snowfall": words.SNOWFALL,
        "winter": words.WINTER,
        "prepositions": sorted(words.PREPOSITIONS),
        "ofAThing": sorted(scenes.OF_A_THING),
        "adverbs": sorted(scenes.ADVERBS),
        "articles": sorted(words.ARTICLES),
        "mostBetween": scenes.MOST_BETWEEN,
        "photos": sorted(scenes.PHOTOS),
        "outdoors": scenes.OUTDOORS,
        "backdrops": scenes.BACKDROPS,
        "withoutIt": words.WITHOUT_IT,
        "turning": sorted(words.TURNING),
        "patterns": {
            "inTheAir": _spelled(words.IN_THE_AIR),
            "artAtEnd": _spelled(words.ART_AT_END),
            "worn": _spelled(words.WORN_PHRASE),
            "looksEnd": _spelled(words.LOOKS_END),
        },
        "renditions": [phrase for phrases in words.RENDITIONS.values() for phrase in phrases],
        "textures": [
            phrase
            for name in words.TEXTURED
            for phrase in (*words.MATERIAL_PHRASES[name], *words.MATERIAL_WORDS[name])
        ],
        **scenes.scene_library().to_json(),
    }


def _spelled(pattern: re.Pattern[str]) -> str:
    """Return a pattern as JavaScript spells it."""
    return GROUP.sub("(?<", pattern.pattern)
