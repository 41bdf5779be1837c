"""Cosines of pictures and prompts by a CLIP of the user."""

import json
import shutil

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPModel

from swiftpie.errors import WeightsError
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie_lab.training.perceptual import (
    feature_distance,
    masked_mean,
    read_judge,
    read_normalisation,
)
from tests.backbones.tiny_models import make_image_encoder
from tests.lab.training.tiny_clip import SIDE_PX, make_clip

PROMPTS = ["a red cup", "a blue vase on a very, very, very long table"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("judge") / "clip")


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, SIDE_PX, SIDE_PX, generator=generator) * 2 - 1


def dense(folder, pixels, *, mean, std):
    """The cosines of one picture and one prompt at a time, without padding."""
    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (mean, std))
    pictures = (pixels / 2 + 0.5 - mean) / std
    cosines = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        words = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=24)
        seen = model.get_image_features(picture[None]).pooler_output
        told = model.get_text_features(**words).pooler_output
        cosines.append(F.cosine_similarity(seen, told))
    return torch.cat(cosines)


def test_cosines_are_those_of_the_model(folder, pixels):
    found = read_judge(folder, CPU).cosine(pixels, PROMPTS)
    assert abs(float(found[0] - found[1])) > 1e-3
    torch.testing.assert_close(found, dense(folder, pixels, mean=CLIP_MEAN, std=CLIP_STD))


def test_the_folder_may_name_another_normalisation(folder, pixels, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(half))
    found = read_judge(tmp_path / "other", CPU).cosine(pixels, PROMPTS)
    torch.testing.assert_close(found, dense(folder, pixels, mean=(0.5,) * 3, std=(0.5,) * 3))


def test_pixels_of_any_size_get_a_gradient_and_the_model_none(folder):
    judge = read_judge(folder, CPU)
    pixels = torch.zeros(2, 3, 48, 48, requires_grad=True)
    judge.cosine(pixels, PROMPTS).sum().backward()
    assert all(bool(one.any()) for one in pixels.grad)
    assert all(weight.grad is None for weight in judge.model.parameters())


def test_a_folder_without_both_towers_is_refused(folder, tmp_path):
    with pytest.raises(WeightsError, match="no CLIP model"):
        read_judge(tmp_path, CPU)
    tower = make_image_encoder(tmp_path / "tower")
    for path in folder.glob("tokenizer*"):
        shutil.copy(path, tower)
    with pytest.raises(WeightsError, match="does not compare"):
        read_judge(tower, CPU)


def test_only_places_under_the_mask_count():
    distance = feature_distance(lambda pixels: [pixels])
    first = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[..., :4] = -first[..., :4]
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    maps = distance(first, second)
    assert float(masked_mean(maps, left)) == pytest.approx(4)
    assert float(masked_mean(maps, 1 - left)) == 0


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"image_mean": "x"}', '{"image_std": [1]}', '{"image_mean": [[], 1]}']
)
def test_a_normalisation_of_a_wrong_kind_is_refused(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(WeightsError, match="is damaged"):
        read_normalisation(tmp_path, CPU, usual=(CLIP_MEAN, CLIP_STD))
