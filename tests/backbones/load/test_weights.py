import shutil
from importlib.resources import as_file, files

import pytest
import torch
from safetensors.torch import load_file, save_file

from swiftpie import WeightsError
from swiftpie.backbones.load.weights import ALIGNMENT_BYTES, fingerprint_of, load_network
from swiftpie.mini.layout_predictor import LayoutPredictor
from swiftpie.models.vision import ConvImageEncoder

NAME = "diffusion_pytorch_model.safetensors"


def build(folder):
    return LayoutPredictor.built(folder)


@pytest.fixture
def folder(tmp_path):
    with as_file(files("swiftpie") / "assets" / "mini" / "layout_predictor") as shipped:
        whole = {name: one.float() for name, one in load_file(shipped / NAME).items()}
        save_file(whole, tmp_path / NAME)
        (tmp_path / "config.json").write_bytes((shipped / "config.json").read_bytes())
    return tmp_path


def test_a_network_holds_exactly_the_tensors_of_its_file(folder):
    loaded, stored = load_network(build, folder).state_dict(), load_file(folder / NAME)
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], one) for name, one in stored.items())


def test_weights_do_not_stay_in_the_file(folder):
    network = load_network(build, folder)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    with (folder / NAME).open("r+b") as file:
        file.write(bytes((folder / NAME).stat().st_size))
    after = network.state_dict()
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert all(fingerprint.data_ptr() % ALIGNMENT_BYTES == 0 for fingerprint in after.values())


def test_loading_draws_nothing_at_random(folder):
    before = torch.random.get_rng_state()
    network = load_network(build, folder)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_fingerprint_tells_contents_and_places_apart(tmp_path):
    seen = set()
    for place, value in (("a", 0.0), ("a", 1.0), ("b", 1.0)):
        root = tmp_path / f"{place}{value}"
        (root / place).mkdir(parents=True)
        save_file({"weight": torch.full((3,), value)}, root / place / NAME)
        assert fingerprint_of(root) == fingerprint_of(root)
        seen.add(fingerprint_of(root))
    assert len(seen) == 3


@pytest.fixture
def encoder(tmp_path):
    with as_file(files("swiftpie") / "assets" / "mini" / "image_encoder") as folder:
        return shutil.copytree(folder, tmp_path / "image_encoder")


def build_encoder(folder):
    return ConvImageEncoder.built(folder)


@pytest.mark.parametrize(
    "config",
    [
        *("", "[", "[]", "3", '"sd-turbo"', "null", "[" * 5000, '{"width": "x"}', '{"grid": 0}'),
        *('{"width": -1}', '{"width": 1e400}', '{"blocks": 1000000000}'),
    ],
)
def test_configs_of_a_wrong_kind_are_refused(encoder, config):
    load_network(build_encoder, encoder)
    (encoder / "config.json").write_text(config)
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(build_encoder, encoder)


def test_weights_that_are_no_numbers_are_not_loaded(encoder):
    tensors = load_file(encoder / NAME)
    name, tensor = tensors.popitem()
    save_file(tensors | {name: torch.full_like(tensor, float("nan"))}, encoder / NAME)
    with pytest.raises(WeightsError, match="finite"):
        load_network(build_encoder, encoder)
