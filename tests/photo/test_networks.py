"""Public networks look as their publishers write, told by tiny random ones of the same layout."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import Sam2Config, Sam2Model

import swiftpie
from swiftpie.backbones.hub import PINS
from swiftpie.backbones.sources import fetch_files, plan_files
from swiftpie.errors import CapabilityError, ConfigError, InputError, WeightsError
from swiftpie.masks import box_mask, iou
from swiftpie.photo.cutout import cut_out
from swiftpie.photo.networks import NETWORKS
from tests.fixtures.mock_hub import Repository, clean_machine, serving
from tests.shapes import as_mask, corner, ellipse, photo
from tests.tiny.faces import tiny_model

SIDE, BOX = 32, "0.2,0.1,0.8,0.95"
HERE = Path(__file__).parent
TABLES = tomllib.loads((HERE / "cutout.toml").read_text(encoding="utf-8"))
NAMES = ("isnet", "birefnet")
MEANS = {"isnet": (0.5, 1.0), "birefnet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
# Random, and red stands out.
WEIGHTS = np.abs(np.random.default_rng(0).normal(2, 0.5, (1, 3, 1, 1)))
WEIGHTS[:, 1:] *= -1


def segmenter():
    """Return a network that weights colours, and has a second output as published ones do."""
    nodes = [helper.make_node("Conv", ["input", "weights"], ["mask"])]
    nodes.append(helper.make_node("Neg", ["mask"], ["side"]))
    shape = [1, 1, SIDE, SIDE]
    source = {"input": [1, 3, SIDE, SIDE]}
    return tiny_model(nodes, {"weights": WEIGHTS}, source, {"mask": shape, "side": shape})


def filler(unit):
    """Return a network that fills holes with blue, and counts colours to `unit`."""
    nodes = [helper.make_node("Where", ["is_hole", "blue", "image"], ["whole"])]
    nodes.insert(0, helper.make_node("Greater", ["mask", "none"], ["is_hole"]))
    nodes.append(helper.make_node("Mul", ["whole", "unit"], ["output"]))
    blue = np.array([0.1, 0.2, 0.9]).reshape(1, 3, 1, 1)
    size = {"image": [1, 3, SIDE, SIDE], "mask": [1, 1, SIDE, SIDE]}
    return tiny_model(
        nodes, {"blue": blue, "none": 0.0, "unit": unit}, size, {"output": size["image"]}
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path))
    (tmp_path / "networks").mkdir()
    for name in NAMES:
        onnx.save(segmenter(), tmp_path / "networks" / f"{name}.onnx")
    return tmp_path


def resized(values, size):
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def seen(picture, name, side):
    channels = np.moveaxis(np.asarray(picture, np.float32) / 255, -1, 0)
    small = np.stack([resized(np.ascontiguousarray(one), (side, side)) for one in channels])
    mean, deviation = (np.reshape(numbers, (-1, 1, 1)) for numbers in MEANS[name])
    return (small - mean) / deviation


def documented(picture, name):
    """Return the mask (H, W) that the publishers' steps make with the tiny weights."""
    mask = (WEIGHTS[0] * seen(picture, name, SIDE)).sum(axis=0).astype(np.float32)
    if name == "isnet":
        mask = (mask - mask.min()) / (mask.max() - mask.min())
    else:
        mask = 1 / (1 + np.exp(-mask))
    return resized(mask, picture.size)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", NAMES)
def test_a_network_sees_and_answers_as_its_publisher_writes(name):
    picture = photo(ellipse(), "gradient").resize((61, 47))
    found = cut_out(picture, name)
    assert found.how == (name, None, False, "")
    np.testing.assert_allclose(found.mask[0, 0], documented(picture, name), atol=2e-5)
    boxed = cut_out(picture, f"{name} {BOX}").mask
    left, top, right, bottom = area = (3, 0, 58, 47)  # the box and a quarter of its sides
    inside = torch.zeros_like(boxed)
    inside[0, 0, top:bottom, left:right] = torch.tensor(documented(picture.crop(area), name))
    outside = box_mask(tuple(map(float, BOX.split(","))), height=47, width=61)
    torch.testing.assert_close(boxed, inside * outside, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("hints", "given"), TABLES["hints"])
def test_a_box_and_points_show_what_transformers_find_there(home, hints, given):
    settings = shutil.copy(HERE / "sam2.json", home / "networks")
    torch.manual_seed(0)
    network = Sam2Model(Sam2Config(**json.loads(Path(settings).read_text()))).eval()
    save_file(network.state_dict(), home / "networks" / "sam2.safetensors")
    picture = photo(ellipse(), "gradient").resize((61, 47))
    pixels = torch.from_numpy(seen(picture, "birefnet", 64))[None].float()
    places = {f"input_{name}": torch.tensor([[numbers]]) for name, numbers in given.items()}
    odds = network(pixels, **places, multimask_output=False).pred_masks[0].detach()
    expected = F.interpolate(odds, (47, 61), mode="bilinear").sigmoid()
    torch.testing.assert_close(cut_out(picture, f"sam2 {hints}").mask, expected, atol=2e-4, rtol=0)


@pytest.mark.usefixtures("home")
def test_a_session_draws_what_a_named_network_sees(session):
    picture = photo(ellipse(), "white")
    named, usual = (session.encode_identity(picture, cutout=way) for way in ("isnet", "auto"))
    assert named.cutouts[0].way == "isnet"
    assert not torch.equal(named.mask, usual.mask)
    picture.putalpha(ellipse())
    assert iou(cut_out(picture, "isnet").mask, as_mask(ellipse())) == 1
    strict = swiftpie.load("mini", size_px=128, commercial_only=True)
    with pytest.raises(ConfigError, match=r"network 'isnet: isnet.onnx'.*Take another"):
        strict.encode_identity(picture, cutout="isnet")
    assert strict.encode_identity(picture, cutout="birefnet")


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_a_hole_is_filled_and_all_else_stays(home, unit):
    onnx.save(filler(unit), home / "networks" / "lama.onnx")
    values = np.random.default_rng(1).uniform(0.2, 0.8, (50, 70, 3)).astype(np.float32)
    hole = np.zeros((50, 70), np.float32)
    hole[10:30, 20:50] = 1
    filled = NETWORKS["lama"].fill(values, hole)
    assert np.array_equal(filled[hole == 0], values[hole == 0])
    np.testing.assert_allclose(filled[15:25, 26:44], [[[0.1, 0.2, 0.9]] * 18] * 10, atol=1e-3)


def test_a_removal_in_doubt_is_filled_by_lama_where_it_is(home, session):
    picture = corner()
    with pytest.raises(InputError, match="Run `swiftpie fetch lama`"):
        session.remove(picture, points=[(0.5, 0.5)], seed=1)
    onnx.save(filler(255.0), home / "networks" / "lama.onnx")
    for way in ({"points": [(0.5, 0.5)]}, {"mask": (0.3, 0.25, 0.7, 0.75)}):
        result = np.asarray(session.remove(picture, seed=1, **way).image)
        assert np.abs(result[120, 160].astype(int) - [26, 51, 230]).max() <= 2
        assert np.array_equal(result[:40], np.asarray(picture)[:40])


def test_what_is_not_here_or_cuts_nothing_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path))
    picture = photo(ellipse(), "white")
    with pytest.raises(CapabilityError, match=r"isnet.onnx\. Run `swiftpie fetch isnet`.*built-in"):
        cut_out(picture, "isnet")
    with pytest.raises(InputError, match="fills holes and cuts nothing out"):
        cut_out(picture, "lama")
    for search, why in (("isnet 0.5,0.5", "reads no points"), ("sam2", "as in 'sam2 0.5,0.4'")):
        with pytest.raises(InputError, match=why):
            cut_out(picture, search)
    with pytest.raises(CapabilityError, match=r"sam2.safetensors\. Run `swiftpie fetch sam2`"):
        cut_out(picture, "sam2 0.5,0.5")
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "isnet.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="not a readable ONNX model"):
        cut_out(picture, "isnet")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_by_its_name_from_a_pinned_commit(tmp_path, name):
    files, repository = NETWORKS[name].files, NETWORKS[name].file.repository
    contents = {file.path: name.encode() for file in files} | {"README.md": b"not needed"}
    pin = {"revision": PINS[repository]} if repository in PINS else {}
    published = {repository: Repository(contents, **pin)}
    with serving(published) as hub, clean_machine(hub, tmp_path):
        parts = plan_files([name], {}).parts
        assert [part.licence for part in parts] == [file.licence for file in files]
        with pytest.raises(WeightsError, match="fetch it elsewhere"):
            fetch_files([name], {"offline": True})
        fetch_files([name])
        assert hub.files == {f"{repository}:{file.path}" for file in files}
        assert {file.place.read_bytes() for file in files} == {name.encode()}
        assert not plan_files([name], {}).parts
