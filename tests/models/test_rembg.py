"""The library rembg with tiny models of our own: what it finds, and what is said without it."""

import importlib.util
import shutil

import pytest
from PIL import Image

from swiftpie.errors import ConfigError, MissingExtra, WeightsError
from swiftpie.masks import box_mask, iou
from swiftpie.models import rembg
from swiftpie.models.cutout import Search, cut_out
from swiftpie.types import CutoutMethod
from tests.shapes import HEIGHT, WIDTH, as_mask, ellipse, photo, star

IS_INSTALLED = importlib.util.find_spec("rembg") is not None
needs_rembg = pytest.mark.skipif(not IS_INSTALLED, reason="rembg is not installed")
SIDE_PX = {"u2netp": 320, "birefnet-general-lite": 1024}  # that rembg shows to each network


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where rembg looks for models, empty."""
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    rembg._session.cache_clear()
    yield tmp_path
    rembg._session.cache_clear()


def write_model(home, name):
    """A network that finds what is red: the first channel less the third, as logits."""
    onnx = pytest.importorskip("onnx", reason="needs swiftpie[export]")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    side = SIDE_PX[name]
    weights = helper.make_tensor("weights", kind, (1, 3, 1, 1), [4.0, 0.0, -4.0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["photo", "weights"], ["mask"])],
        "red",
        [helper.make_tensor_value_info("photo", kind, (1, 3, side, side))],
        [helper.make_tensor_value_info("mask", kind, (1, 1, side, side))],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = home / "models" / name / f"{name}.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    return path


def red(truth):
    """A photo of a red subject on blue."""
    image = Image.new("RGB", truth.size, (20, 30, 200))
    image.paste((220, 30, 20), mask=truth)
    return image


@needs_rembg
@pytest.mark.parametrize("name", SIDE_PX)
def test_a_network_of_rembg_cuts_out_what_it_sees(home, name):
    write_model(home, name)
    found = cut_out(red(star()), Search(CutoutMethod.REMBG, model=name))
    assert iou(found.mask, as_mask(star())).item() > 0.9
    assert found.how.way == f"rembg {name}"
    # One of the two gives odds, which rembg squeezes, so that its mask is clear-cut.
    assert (found.how.confidence > 0.8) is (name == "birefnet-general-lite")


@needs_rembg
def test_a_box_shows_it_what_is_inside_of_it(home):
    write_model(home, "u2netp")
    left, right = ellipse((20, 80, 180, 230)), ellipse((240, 80, 400, 230))
    both = red(left)
    both.paste((220, 30, 20), mask=right)
    box = (0.55, 0.2, 0.98, 0.85)
    found = cut_out(both, Search(CutoutMethod.REMBG, model="u2netp", box=box))
    assert iou(found.mask, as_mask(right)).item() > 0.9
    assert not found.mask[box_mask(box, height=HEIGHT, width=WIDTH) == 0].any()


@needs_rembg
def test_nothing_is_fetched_and_a_missing_model_is_an_error_with_the_way_to_get_it(home):
    with pytest.raises(WeightsError, match="birefnet-general") as error:
        cut_out(photo(star()), Search(CutoutMethod.REMBG))
    for words in ("new_session('birefnet-general')", str(home), "MIT"):
        assert words in str(error.value)
    assert not list(home.rglob("*.onnx"))


@needs_rembg
def test_a_damaged_model_is_told(home):
    path = write_model(home, "u2netp")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match="is not the model 'u2netp'"):
        rembg.find(red(star()), "u2netp")
    shutil.rmtree(path.parent)


@needs_rembg
def test_every_model_is_one_of_rembg_and_computes_here():
    from rembg.sessions import sessions

    for model in rembg.MODELS:
        assert sessions[model.name].is_local()


@pytest.mark.skipif(IS_INSTALLED, reason="rembg is installed")
def test_without_rembg_the_extra_is_named():
    with pytest.raises(MissingExtra, match=r"swiftpie\[cutout\]"):
        cut_out(photo(star()), Search(CutoutMethod.REMBG))


def test_models_that_send_pictures_away_are_none():
    for name in ("withoutbg", "atlascloud"):
        with pytest.raises(ConfigError, match="computes on this machine"):
            rembg.named(name)
