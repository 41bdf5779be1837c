"""The exported page is whole, small enough, and refers to nothing elsewhere."""

import gzip
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from swiftpie.errors import InputError
from swiftpie.library import subject_library
from swiftpie.mini import site
from swiftpie.photo.outline import CUTOUT_PX
from swiftpie.places.scene_network import scene_relighter

LIMIT_BYTES = 32_000_000
RUNTIME_BYTES = 7_000_000  # its six files, packed
IMPORTED = re.compile(r'(?:from|import\() ?"\./([^"]+)"')
ADDRESS = re.compile(r"https?://[^\s\"'<>)]+")


def test_the_sources_name_no_other_address():
    for path in site.SOURCES.iterdir():
        if path.suffix in {".js", ".html", ".css"}:
            assert not ADDRESS.findall(path.read_text(encoding="utf-8")), path.name


def test_every_subject_is_in_the_library():
    assert len(set(site.SUBJECTS)) == len(site.SUBJECTS)
    assert set(site.SUBJECTS) <= set(subject_library().names())


@pytest.mark.thorough
def test_the_page_is_whole(tmp_path):
    runtime = {name: name.encode() for name in site.RUNTIME_FILES}
    size = site.write_page(tmp_path, runtime)
    listed = json.loads((tmp_path / "files.json").read_text())["files"]
    assert all((tmp_path / name).is_file() for name in listed)
    found = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found - {*listed} == {"files.json", "service-worker.js", "README.md"}
    assert size + RUNTIME_BYTES < LIMIT_BYTES
    for path in tmp_path.glob("*.js"):
        for name in IMPORTED.findall(path.read_text()):
            assert name in listed, f"{path.name} imports {name}"
    sheet = json.loads((tmp_path / "model" / "sheet.json").read_text())
    assert all(subject["file"] in listed for subject in sheet["subjects"])
    words = json.loads((tmp_path / "model" / "words.json").read_text())
    for place in words["places"]:
        with Image.open(tmp_path / f"scenes/{place['file']}-0.webp") as picture:
            width, height = picture.size
        assert width == height
        assert all(f"scenes/{place['file']}-{i}.webp" in listed for i in range(place["pictures"]))
    assert (
        "@" not in re.search(r'VERSION = "(.*)"', (tmp_path / "service-worker.js").read_text())[1]
    )
    assert "sdk: static" in (tmp_path / "README.md").read_text()


def test_another_version_and_what_is_no_archive_are_refused(tmp_path):
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(InputError, match=rf"npm pack onnxruntime-web@{site.VERSION}"):
        site.read_runtime(tmp_path / "text.tgz")
    for place in (tmp_path / "missing.tgz", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            site.read_runtime(place)


def test_a_subject_stands_before_a_scene_with_every_opaque_pixel_of_its_own():
    function = site.scene_functions(scene_relighter())["join"]
    given = {name: torch.zeros_like(sample) for name, sample in function.samples.items()}
    subject = given["subject"]
    subject[..., 64:192, 64:192] = torch.linspace(0.2, 0.9, 128)
    subject[:, 3, 64:192, 64:192] = 1
    subject[..., 20:64, 100] = 1  # thinner than the drawing shows
    given["image"], given["subject_mask"] = 2 * subject[:, :3] - 1, subject[:, 3:].clone()
    given["subject_mask"][..., :64, :] = 0
    finished = function.compute(given)["finished"]
    is_opaque = subject[:, 3:].expand(-1, 3, -1, -1) == 1
    assert (finished - (2 * subject[:, :3] - 1))[is_opaque].abs().max() < 0.02
    assert (finished[~is_opaque] == 0).all()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    site.export_page_parts(folder)
    return folder


def unpacked(folder):
    high, low = (
        np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8).astype(np.uint16)
        for name in (site.HIGH, site.LOW)
    )
    return (high << 8 | low).view(np.float16).astype(np.float32)


def opened(folder, name, weights):
    model = onnx.load_from_string(gzip.decompress((folder / f"{name}.graph").read_bytes()))
    (folder / site.WEIGHTS).write_bytes(weights.tobytes())
    onnx.save(model, folder / f"{name}.onnx")
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


def test_numbers_keep_five_bits_of_their_fraction():
    values = np.concatenate([np.geomspace(1e-4, 6e4, 4001), [0, -1, np.inf, -np.inf, 65504]])
    halves = values.astype(np.float16)
    near = site.rounded(halves.view(np.uint16)).view(np.float16)
    is_whole = ~np.isfinite(halves) | (halves == 65504)  # what has no neighbour above stays
    assert np.array_equal(near[is_whole], halves[is_whole])
    finite = np.isfinite(halves) & (halves != 0)
    assert np.abs(near[finite] / halves[finite].astype(np.float64) - 1).max() <= 2**-6
    assert not np.any(site.rounded(halves.view(np.uint16))[~is_whole] & 0x1F)


@pytest.mark.thorough
def test_a_packed_graph_computes_what_the_original_does(graphs, tmp_path):
    cutout = graphs / "cutout.onnx"
    count = site.pack_graphs({"first": cutout, "second": cutout}, tmp_path)
    weights = unpacked(tmp_path)
    assert len(weights) == count
    alone = tmp_path / "alone"
    alone.mkdir()
    assert site.pack_graphs({"only": cutout}, alone) == count, (
        "the second graph has the same tensors"
    )
    view = {
        "view": np.random.default_rng(7)
        .uniform(-1, 1, (1, 3, CUTOUT_PX, CUTOUT_PX))
        .astype(np.float32)
    }
    (made,) = opened(tmp_path, "second", weights).run(["logits"], view)
    (known,) = onnxruntime.InferenceSession(cutout).run(["logits"], view)
    assert np.corrcoef(made.ravel(), known.ravel())[0, 1] > 0.98
    assert np.abs(made - known).max() < 0.1 * np.abs(known).max()


@pytest.mark.thorough
def test_what_is_no_weight_stays_exact(graphs, tmp_path):
    site.pack_graphs({"join": graphs / "join.onnx", "cutout": graphs / "cutout.onnx"}, tmp_path)
    model = onnx.load_from_string(gzip.decompress((tmp_path / "join.graph").read_bytes()))
    held = onnx.load(graphs / "join.onnx")
    numbers = [onnx.numpy_helper.to_array(tensor) for tensor in held.graph.initializer]
    large = [values.tobytes() for values in numbers if values.size > 1000]
    assert large
    packed = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}
    assert packed.issuperset(large)
