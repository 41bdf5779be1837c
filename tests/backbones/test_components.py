import pickle
import shutil
from pathlib import Path

import pytest

import swiftpie
from swiftpie import WeightsError

ASSETS = Path(swiftpie.__file__).parent / "assets" / "mini"


@pytest.fixture
def weights(tmp_path):
    return shutil.copytree(ASSETS, tmp_path / "weights")


def test_missing_weights_are_named(weights):
    shutil.rmtree(weights / "autoencoder")
    with pytest.raises(WeightsError, match=r"has no folder 'autoencoder'"):
        swiftpie.load("mini", weights=weights)


def test_what_pickles_look_up_is_seen(lookups):
    pickle.loads(pickle.dumps(print))  # else finding nothing would say nothing
    assert lookups == [("builtins", "print")]


def test_a_pickle_named_safetensors_is_refused_and_never_unpickled(weights, lookups):
    (file,) = (weights / "denoiser").glob("*.safetensors")
    file.write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        swiftpie.load("mini", weights=weights)
    assert lookups == []


def test_weights_of_another_shape_are_refused(weights):
    shutil.copy(
        next((weights / "autoencoder").glob("*.safetensors")),
        next((weights / "layout_predictor").glob("*.safetensors")),
    )
    with pytest.raises(WeightsError, match="do not fit"):
        swiftpie.load("mini", weights=weights)


def test_all_weights_fit_the_budget():
    assert sum(file.stat().st_size for file in ASSETS.rglob("*.safetensors")) <= 32 * 2**20
