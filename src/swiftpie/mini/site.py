"""The folder of the page: sources, runtime, graphs, places and subjects, for any host of files.

A graph that is sent to a browser pays for its size, and for what is computed of it at each start.
So constants are folded, weights that several graphs read are packed once, and their numbers keep
five bits of their fraction. Bytes with exponents are packed apart from bytes with fractions,
because the former repeat and the latter hardly do. What is no weight stays exact in its graph.
"""

import gzip
import hashlib
import json
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn import functional as F

import swiftpie
from swiftpie import lexicon, library, scenes
from swiftpie.engine.graphs.export import DRAW, PIXELS, SEED, SUBJECT_MASK, Sheet, export_onnx
from swiftpie.engine.graphs.runtime import Untyped
from swiftpie.engine.graphs.runtime import load as load_package
from swiftpie.engine.graphs.to_onnx import (
    EXTRA,
    Named,
    NamedFunction,
    folded,
    write_onnx,
    write_weights,
)
from swiftpie.engine.load import load
from swiftpie.errors import InputError, short_reason
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.writing import mark_of
from swiftpie.lexicon import NIGHT
from swiftpie.mini.layout_predictor import SHADOW, SUBJECT
from swiftpie.mini.scene import at_night
from swiftpie.noise import draw_noise
from swiftpie.photo.cutout import cutout_network
from swiftpie.photo.outline import CUTOUT_PX
from swiftpie.places.fields import PixelRows, draw_weather
from swiftpie.places.own_pixels import gains_between
from swiftpie.places.relight import DRAWN_WEATHERS, NOISE_SHAPE
from swiftpie.places.relight import SIDE_PX as SCENE_PX
from swiftpie.places.scene_network import Relighter, SceneCondition, scene_relighter

SOURCES = Path(__file__).parent / "page"
WORKER, CARD, FILES = "service-worker.js", "README.md", "files.json"
SUBJECTS = tuple(lexicon.LISTS["on_page"])  # names of the library of subjects
GROUP = re.compile(r"\(\?P<")
PHOTO_PX, PHOTO_QUALITY = (512, 512), 80  # size and WebP quality of photographs of places
# ONNX Runtime Web, 7 MB that only an export of a page needs, so the wheel does not carry it.
VERSION = "1.25.1"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
ARCHIVE_SHA256 = "731e568a1471c6969f6c1bfb7349eff6f88f33fa5d4b46f43104ea35e34aef51"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
REMEDY = (
    f"Give what `npm pack onnxruntime-web@{VERSION}` writes, or "
    f"https://registry.npmjs.org/onnxruntime-web/-/{PACKAGE}."
)
CUTOUT, RELIGHT, JOIN = "cutout", "relight", "join"  # the graphs, by their names
SCENE = "scene"  # the picture that `relight` and `join` read


def write_page(folder: Path, runtime: Mapping[str, bytes]) -> int:
    """Write the page, with files of ONNX Runtime Web, into an empty folder; return its bytes."""
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    for part in ("runtime", "model", "scenes", "subjects"):
        (folder / part).mkdir()
    _write_runtime(folder / "runtime", runtime)
    _write_model(folder / "model")
    _write_scenes(folder / "scenes")
    known = library.subject_library()
    for name in SUBJECTS:
        (folder / "subjects" / f"{known.entry(name).code}.webp").write_bytes(known.picture(name))
    shutil.copy(library.ASSETS / library.LICENCE, folder / "licences" / "subjects.txt")
    shutil.copy(library.ASSETS.with_name("photos") / "dog.jpg", folder / "subjects")
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
    for name, content in runtime.items():
        if name.endswith(".wasm"):  # a plain host sends files as they are, so they are packed here
            (folder / f"{name}.bin").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
        else:
            (folder / name).write_bytes(content)


def _write_model(folder: Path) -> None:
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
        "composite": {SOURCE_TYPE: COMPOSITE},  # what a record says whose place is a photograph
        "marks": [mark_of(None), mark_of({SOURCE_TYPE: COMPOSITE})],
        "subjects": [
            {"name": name, "file": f"subjects/{known.entry(name).code}.webp"} for name in SUBJECTS
        ],
    }


def _write_scenes(folder: Path) -> None:
    places = scenes.scene_library()
    credited = {name: places.credits_of(name) for name in places.names()}
    _write_json(folder / "credits.json", {name: row for name, row in credited.items() if row})
    for number, place in enumerate(places.to_json()["places"]):
        for picture in range(place["pictures"]):
            path = folder / f"{number}-{picture}.webp"
            if place["isPhoto"]:
                photo = places.image(place["name"], picture)
                square = ImageOps.fit(photo, PHOTO_PX, Image.Resampling.BICUBIC, centering=(0.5, 1))
                square.save(path, quality=PHOTO_QUALITY)
            else:
                path.write_bytes(places.picture(place["name"], picture))


def _fill(path: Path, mark: str, value: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(mark, value), encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def read_runtime(place: Path) -> dict[str, bytes]:
    """Return the runtime's files by name, from npm's archive, or raise InputError."""
    try:
        data = place.read_bytes()
    except OSError as error:
        raise InputError(f"'{place}' cannot be read ({short_reason(error)}). {REMEDY}") from error
    if hashlib.sha256(data).hexdigest() != ARCHIVE_SHA256:
        raise InputError(f"'{place}' is not ONNX Runtime Web {VERSION}. {REMEDY}")
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        members = {name: archive.extractfile(f"package/dist/{name}") for name in RUNTIME_FILES}
        return {name: member.read() for name, member in members.items() if member is not None}


def words_of_prompts() -> dict[str, Any]:
    """Return the lists and patterns that `static/words.js` reads prompts by.

    Patterns are those of Python in the spelling of JavaScript, and ignore case.
    """
    return {
        **lexicon.LISTS,
        "patterns": {
            "inTheAir": _spelled(lexicon.IN_THE_AIR),
            "art": _spelled(lexicon.ART_PHRASE),
            "negated": _spelled(lexicon.NEGATED),
            "artAtEnd": _spelled(lexicon.ART_AT_END),
            "worn": _spelled(lexicon.WORN_PHRASE),
            "looksEnd": _spelled(lexicon.LOOKS_END),
        },
        "textures": [phrase for row in lexicon.TEXTURES.values() for phrase in row],
        **scenes.scene_library().to_json(),
    }


def _spelled(pattern: re.Pattern[str]) -> str:
    """Return a pattern as JavaScript spells it."""
    return GROUP.sub("(?<", pattern.pattern)


def export_page_parts(folder: Path) -> None:
    """Write graphs of cut-outs and scenes, and weights, into an empty `folder`, or MissingExtra."""
    cutouts, relighter = cutout_network(), scene_relighter()
    places = write_weights({"network": cutouts, "relighter": relighter}, folder)
    view = {"view": torch.zeros(1, 3, CUTOUT_PX, CUTOUT_PX)}  # of a photo, with subjects to find
    cut = NamedFunction(
        {"network": cutouts}, lambda given: {"logits": cutouts(*given.values())}, view
    )
    functions = {CUTOUT: cut, **scene_functions(relighter)}
    for name, function in functions.items():
        write_onnx(function, places=places, path=folder / f"{name}.onnx")


def scene_functions(relighter: Relighter) -> dict[str, NamedFunction]:
    """Return what shows a scene in other light, and what puts a subject before it."""
    picture, mask = torch.zeros(1, 3, SCENE_PX, SCENE_PX), torch.zeros(1, 1, SCENE_PX, SCENE_PX)
    noise, number = draw_noise([SEED], NOISE_SHAPE), torch.zeros(1, dtype=torch.int64)
    light = {"noise": noise, SCENE: picture, **dict.fromkeys(SceneCondition._fields, number)}
    subject = torch.zeros(1, 4, SCENE_PX, SCENE_PX)
    join = {SCENE: picture, PIXELS: picture, SUBJECT_MASK: mask, SUBJECT: subject, SHADOW: mask}
    return {
        RELIGHT: NamedFunction(
            {"relighter": relighter}, lambda given: {"lit": relighter(*given.values())}, light
        ),
        JOIN: NamedFunction({}, _join, join | {"noise": noise, "weather": number, "time": number}),
    }


def _join(given: Named) -> Named:
    subject = given[SUBJECT]
    is_dark = (given["time"] == NIGHT).view(1, 1, 1, 1)
    drawing = torch.where(is_dark, at_night(given[PIXELS], 1.0), given[PIXELS])
    own, alpha = subject.split((3, 1), dim=1)
    light = gains_between(subject, drawing, given[SUBJECT_MASK])
    own = torch.minimum(own * F.interpolate(light, own.shape[2:], mode="bilinear"), alpha)
    picture = (given[SCENE] + 1) * (1 - given[SHADOW]) * (1 - alpha) + 2 * own - 1
    size = (picture.shape[2], picture.shape[3])
    view, time = PixelRows(size, (0, size[0])), given["time"][0]
    for number, name in DRAWN_WEATHERS.items():
        shown = draw_weather(picture, given["noise"], name=name, time=time, view=view)
        is_shown = (given["weather"] == number).view(1, 1, 1, 1)
        picture = torch.where(is_shown, shown, picture)
    return {"finished": picture, "finished_mask": alpha}


HALF_FRACTION_BITS = 10
FRACTION_BITS = 5  # bits kept; pictures of `mini` stay above 45 dB with 5 bits, but not with 4
WEIGHTS = "weights"  # what graphs call the pack once it is unpacked
HIGH, LOW = "weights-high.bin", "weights-low.bin"

Halves = NDArray[np.uint16]


def rounded(halves: Halves) -> Halves:
    """Return halves, as their bits, with the nearest fractions of `FRACTION_BITS` bits."""
    spare = HALF_FRACTION_BITS - FRACTION_BITS
    wide = halves.astype(np.uint32)
    near = (((wide + (1 << (spare - 1))) >> spare) << spare).astype(np.uint16)
    return np.where(np.isfinite(near.view(np.float16)), near, halves)


def pack_graphs(graphs: Mapping[str, Path], folder: Path) -> int:
    """Write each graph as NAME.graph, gzipped, and the pack of their weights; return its size."""
    onnx = load_package("onnx", extra=EXTRA)
    pack: dict[bytes, int] = {}  # where each tensor begins, once for all graphs
    for name, path in graphs.items():
        model, known = onnx.load_from_string(folded(path)), _weights_of(onnx, path)
        for tensor in model.graph.initializer:
            _move(onnx, tensor, pack, known)
        packed = gzip.compress(model.SerializeToString(), compresslevel=9, mtime=0)
        (folder / f"{name}.graph").write_bytes(packed)
    numbers = rounded(np.frombuffer(b"".join(pack), np.uint16))
    for name, plane in ((HIGH, numbers >> 8), (LOW, numbers & 0xFF)):
        # A code for single bytes: nothing repeats among weights.
        coder = zlib.compressobj(9, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
        coded = coder.compress(plane.astype(np.uint8).tobytes())
        (folder / name).write_bytes(coded + coder.flush())
    return numbers.size


def _weights_of(onnx: Untyped, path: Path) -> Collection[bytes]:
    """Return the weights that a graph refers to, each by its numbers in their order."""
    raw = onnx.load(path, load_external_data=False)
    names = {
        tensor.name
        for tensor in raw.graph.initializer
        if onnx.external_data_helper.uses_external_data(tensor)
    }
    tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name in names]
    return {_key(onnx.numpy_helper.to_array(tensor)) for tensor in tensors}


def _key(values: NDArray[Any]) -> bytes:
    """Return what tensors share that differ by an order of axes, which folding may change."""
    return np.sort(values.astype(np.float32).ravel()).tobytes()


def _move(onnx: Untyped, tensor: Untyped, pack: dict[bytes, int], known: Collection[bytes]) -> None:
    """Let a tensor of a graph refer to the pack, if its numbers are weights."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    values = onnx.numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if _key(values) not in known or not np.array_equal(halves.astype(np.float32), values):
        return
    tensor.ClearField("float_data")
    tensor.raw_data = b""  # the function below accepts no other tensor
    start = pack.setdefault(halves.tobytes(), sum(map(len, pack)) // halves.itemsize)
    onnx.external_data_helper.set_external_data(
        tensor, WEIGHTS, offset=values.itemsize * start, length=values.nbytes
    )
    tensor.ClearField("raw_data")
