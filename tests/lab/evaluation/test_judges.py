import numpy as np
import pytest
import torch
from transformers import ViTModel

from swiftpie.errors import WeightsError
from swiftpie_lab.evaluation.judges import load_judge
from tests.lab.evaluation.benchmarks.pie_folder import random_picture
from tests.tiny.judges import write_clip, write_dino


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"), width=8)


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    return write_dino(tmp_path_factory.mktemp("dino"))


def normalised(image, mean, std):
    values = (np.asarray(image, dtype=np.float64) - mean) / std
    return torch.from_numpy(values).permute(2, 0, 1)[None].float()


@torch.no_grad()
def test_structure_is_compared_by_keys_of_undivided_pixels(dino_folder):
    first, second = (random_picture(seed, side=224) for seed in (0, 1))
    network = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False).eval()
    maps = []
    for image in (first, second):
        pixels = normalised(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        last = network.layers[-1]
        entering = network(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        keys = last.attention.k_proj(last.layernorm_before(entering))[0].double().numpy()
        length = np.linalg.norm(keys, axis=1, keepdims=True)
        maps.append(keys @ keys.T / (length * length.T))
    expected = np.mean((maps[0] - maps[1]) ** 2)
    dino = load_judge("dino", dino_folder)
    assert expected > 0
    assert dino.distance(first, second) == pytest.approx(expected, rel=1e-3)
    assert dino.distance(first, first) == 0


@torch.no_grad()
def test_the_cosine_is_that_of_the_whole_model(clip_folder):
    clip = load_judge("clip", clip_folder)
    image = random_picture(0, side=32)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = normalised(image, 255 * np.array(mean), 255 * np.array(std))
    found, expected = [], []
    for prompt in ("a cat", "a dog on the sofa", "red hat", "photo of the cat"):
        words = clip.tokenizer(prompt, return_tensors="pt")
        output = clip.model(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            pixel_values=pixels,
        )
        expected.append(float((output.image_embeds * output.text_embeds).sum()))
        found.append(clip.similarity(image, prompt))
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found) > 0
    assert clip.picture(image).norm(dim=-1) == pytest.approx(1)


def test_long_prompts_are_cut_and_pictures_of_any_shape_are_taken(clip_folder):
    clip = load_judge("clip", clip_folder)
    image = random_picture(0, side=50).resize((90, 50))
    assert clip.similarity(image, "cat " * 40) == clip.similarity(image, "cat " * 30)


def test_a_network_of_another_kind_is_refused(clip_folder, dino_folder):
    with pytest.raises(WeightsError, match="kind 'vit', not 'clip'"):
        load_judge("clip", dino_folder)
    with pytest.raises(WeightsError, match="kind 'clip', not 'siglip2'"):
        load_judge("siglip2", clip_folder)
