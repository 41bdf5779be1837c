"""LPIPS, the aesthetic predictor and ImageReward, against their own packages and formulas."""

import math
from itertools import pairwise

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from swiftpie.errors import ConfigError, WeightsError
from swiftpie_lab.evaluation.command import open_networks
from swiftpie_lab.evaluation.metrics.aesthetic import PLACES, WIDTH, WIDTHS, aesthetic
from swiftpie_lab.evaluation.metrics.image_reward import image_reward_of, reward
from swiftpie_lab.evaluation.metrics.lpips import Lpips, read_lpips
from tests.tiny.judges import write_clip
from tests.tiny.reward import VOCABULARY, released

# What lpips 0.1.4 and torchmetrics 1.9 print for `lpips_state()` and `waves_of(3, 67, 64)`.
PACKAGES = 0.0605707280
# What the modules of image-reward 1.5 (its vit.py and med.py) print, by words in the prompt.
REWARDS = {5: 21.442938, 35: 21.443431}


def waves(shape, number):
    """Weights that no release of PyTorch draws otherwise."""
    places = torch.arange(math.prod(shape), dtype=torch.float64)
    size = (2 / (math.prod(shape[1:]) or 1)) ** 0.5
    return ((places * (1 + number) ** 0.5 * 0.7).sin() * size).view(shape).float()


def lpips_state():
    """All weights as our network names them; those of differences are positive."""
    state = sorted(Lpips().state_dict().items())
    made = {name: waves(one.shape, number) for number, (name, one) in enumerate(state)}
    return {name: one.abs() if name[0] == "w" else one for name, one in made.items()}


def pair():
    places = torch.arange(3 * 67 * 64)
    return [wave.view(1, 3, 67, 64) for wave in ((places * 0.37).sin(), (places * 0.11 + 1).cos())]


def features(name):
    return name.replace("layers.", "features.")


def head(name):
    return name.replace("weights.", "lin").replace(".weight", ".model.1.weight")


@pytest.mark.parametrize("is_folder", [True, False])
def test_lpips_is_that_of_its_packages(tmp_path, is_folder):
    state, place = lpips_state(), tmp_path / "lpips.pt"
    backbone = {features(n): one for n, one in state.items() if n.startswith("layers.")}
    heads = {head(n): one for n, one in state.items() if n.startswith("weights.")}
    if is_folder:
        place = tmp_path
        torch.save(backbone | {"classifier.1.bias": torch.ones(2)}, tmp_path / "squeezenet1_1.pth")
        torch.save(heads, tmp_path / "squeeze.pth")
    else:
        layers = {n.replace("features.", "net.slice1."): one for n, one in backbone.items()}
        torch.save(layers | {f"lins.{n[3:]}": one for n, one in heads.items()}, place)
    network = read_lpips(place, {}, allow_pickle=True)
    assert network.distance(*pair()) == pytest.approx(PACKAGES, rel=1e-4)
    assert network.distance(pair()[0], pair()[0]) == 0
    with pytest.raises(WeightsError, match="pickle"):
        read_lpips(place, {})


def test_other_weights_than_those_of_lpips_are_refused(tmp_path):
    save_file({"features.0.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "few.safetensors")
    with pytest.raises(WeightsError, match=r"squeezenet1_1-b8a52dc0\.pth.*--lpips"):
        read_lpips(tmp_path / "few.safetensors", {})


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"), width=WIDTH)


def predictor():
    tensors = {}
    for place, (inner, outer) in zip(PLACES, pairwise((WIDTH, *WIDTHS)), strict=True):
        tensors[f"layers.{place}.weight"] = waves((outer, inner), place)
        tensors[f"layers.{place}.bias"] = waves((outer,), place + 10)
    return tensors


def test_the_aesthetic_score_is_five_linear_layers_of_the_vector(tmp_path, clip_folder):
    path, tensors = tmp_path / "aesthetic.safetensors", predictor()
    save_file(tensors, path)
    networks = open_networks({"aesthetic": path, "clip": clip_folder}, {})
    image = Image.radial_gradient("L").convert("RGB")
    vector = networks.clip.picture(image)[0].double()
    for place in PLACES:
        weight, bias = (tensors[f"layers.{place}.{kind}"].double() for kind in ("weight", "bias"))
        vector = weight @ vector + bias
    found = aesthetic(networks.others["aesthetic"], networks.clip, image)
    assert found == pytest.approx(float(vector), rel=1e-4)
    assert {*networks.digests} == {"aesthetic/aesthetic.safetensors", "clip/model.safetensors"}
    assert networks.lacks("aesthetic") is None
    assert "--lpips" in networks.lacks("lpips")


def test_the_aesthetic_score_needs_its_clip_and_its_layers(tmp_path, clip_folder):
    path, tensors = tmp_path / "aesthetic.safetensors", predictor()
    save_file(tensors, path)
    with pytest.raises(ConfigError, match="--clip"):
        open_networks({"aesthetic": path}, {})
    save_file(tensors | {"layers.2.bias": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match="layer 2"):
        open_networks({"aesthetic": path, "clip": clip_folder}, {})


class Words:
    """A tokenizer whose prompt is a number of words, each another token."""

    def __call__(self, prompt, *, max_length, **_):
        ids = torch.arange(max_length)[None] % 47 + 3
        return {"input_ids": ids, "attention_mask": (ids - 3 < int(prompt)).long()}


@pytest.mark.parametrize("count", REWARDS)
def test_the_reward_is_that_of_its_own_package(count):
    pixels = torch.linspace(-2, 2, 3 * 32 * 32).sin().view(1, 3, 32, 32) * 1.5
    found = image_reward_of(released(), Words())(pixels, str(count))
    assert found == pytest.approx(REWARDS[count], rel=1e-4)


def test_a_folder_rewards_pictures_by_prompts(tmp_path):
    torch.save(released(), tmp_path / "ImageReward.pt")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    networks = open_networks({"image_reward": tmp_path}, {"allow_pickle": True})
    network = networks.others["image_reward"]
    red, blue = (Image.new("RGB", (48, 40), colour) for colour in ("red", "blue"))
    found = [reward(network, one, "a dog at sea") for one in (red, blue)]
    assert found[0] == reward(network, red, "A dog at sea")  # small letters, as BERT reads them
    assert len({*found, reward(network, red, "a cat at sea")}) == 3
    torch.save({"blip.visual_encoder.cls_token": torch.ones(1)}, tmp_path / "ImageReward.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        open_networks({"image_reward": tmp_path}, {"allow_pickle": True})


def test_a_folder_without_a_reward_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"--image-reward"):
        open_networks({"image_reward": tmp_path}, {})
