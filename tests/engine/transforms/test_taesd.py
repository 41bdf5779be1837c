"""TAESD changes how latents look, or what they are, and nothing else."""

import huggingface_hub.constants
import pytest
import torch

import swiftpie
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.hub import PINS
from swiftpie.engine.transforms import transform
from swiftpie.errors import WeightsError
from tests.fixtures.mock_hub import Repository, clean_machine, serving
from tests.tiny.editor import tiny_editor
from tests.tiny.folders import make_pipeline
from tests.tiny.networks import tiny_twin

TAESD = FAMILIES.get("sd21").tiny_autoencoder

REVISION = PINS[TAESD]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def tiny(cache):
    repository = cache / f"models--{TAESD.replace('/', '--')}"
    torch.manual_seed(0)
    network = tiny_twin()
    network.save_pretrained(repository / "snapshots" / REVISION)
    return network


def material():
    return torch.randn(1, 4, 16, 16), torch.rand(1, 3, 128, 128) * 2 - 1


@torch.no_grad()
def test_it_takes_over_one_way_and_the_other_stays(tiny):
    components, (latents, pixels) = tiny_editor(), material()
    plain, deviation = components.autoencoder, components.autoencoder.posterior(pixels).deviation
    decoder, encoder = (
        transform(components, [name]).autoencoder for name in ("tiny-decoder", "tiny-encoder")
    )
    assert torch.equal(decoder.encode(pixels), plain.encode(pixels))
    assert torch.equal(decoder.posterior(pixels).deviation, deviation)
    assert torch.equal(encoder.decode(latents), plain.decode(latents))
    assert encoder.posterior(pixels).deviation.eq(0).all()
    assert torch.equal(decoder.decode(latents), tiny.decode(latents).sample)
    assert torch.equal(encoder.encode(pixels), tiny.encode(pixels).latents)
    assert not torch.equal(decoder.decode(latents), plain.decode(latents))
    assert not torch.equal(encoder.encode(pixels), plain.encode(pixels))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["tiny-decoder", "tiny-encoder"])
def test_without_it_on_this_machine_the_remedy_is_named(name):
    with pytest.raises(WeightsError, match=f"{name}.*hf download {TAESD}"):
        transform(tiny_editor(), [name])


def test_loading_fetches_it_where_it_may(tiny, tmp_path):
    folder = tmp_path / f"models--{TAESD.replace('/', '--')}" / "snapshots" / REVISION
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["README.md"] = b"not this"
    weights = tmp_path / "weights"
    make_pipeline(weights, "sd21")
    with (
        serving({TAESD: Repository(files, revision=REVISION)}) as hub,
        clean_machine(hub, tmp_path / "clean"),
    ):
        chosen = {"engine": "tiny-decoder", "weights": weights, "dtype": "float32"}
        with pytest.raises(WeightsError, match="cannot be downloaded"):
            swiftpie.load("sd-turbo", offline=True, **chosen)
        made = swiftpie.load("sd-turbo", **chosen).components.autoencoder
        assert hub.files == {f"{TAESD}:{file}" for file in files if file != "README.md"}
        latents, _ = material()
        assert torch.equal(made.decode(latents), tiny.decode(latents).sample)
        swiftpie.load("sd-turbo", offline=True, **chosen)
