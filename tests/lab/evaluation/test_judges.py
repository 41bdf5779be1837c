import logging

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, ViTModel

from swiftpie.backbones.load.safe import write_tensors
from swiftpie.errors import WeightsError
from swiftpie_lab.evaluation.judges import (
    FIRES,
    LPIPS_SCALE,
    LPIPS_SHIFT,
    PUBLISHED,
    TAPS,
    load_judge,
    load_lpips,
)
from tests.lab.evaluation.benchmarks.pie_folder import random_picture
from tests.lab.evaluation.tiny_networks import SMALL, write_dino
from tests.pipelines.tiny_editor import text_tower

SLICES = {1: (0, 1), 2: (2, 3, 4), 3: (5, 6, 7), 4: (8, 9), 5: (10,), 6: (11,), 7: (12,)}


@pytest.fixture(scope="module")
def stored():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else 100
        return torch.randn(*shape, generator=generator) * fan_in**-0.5

    tensors = {"net.slice1.0.weight": draw(64, 3, 3, 3), "net.slice1.0.bias": draw(64)}
    for slice_, places in SLICES.items():
        for place in (number for number in places if number in FIRES):
            channels, squeezed, half = FIRES[place]
            shapes = {
                "squeeze": (squeezed, channels, 1, 1),
                "expand1x1": (half, squeezed, 1, 1),
                "expand3x3": (half, squeezed, 3, 3),
            }
            for name, shape in shapes.items():
                tensors[f"net.slice{slice_}.{place}.{name}.weight"] = draw(*shape)
                tensors[f"net.slice{slice_}.{place}.{name}.bias"] = draw(shape[0])
    for number, width in enumerate(TAPS.values()):
        weight = draw(1, width, 1, 1).abs()
        tensors[f"lin{number}.model.1.weight"] = weight
        tensors[f"lins.{number}.model.1.weight"] = weight.clone()
    tensors["scaling_layer.shift"] = torch.tensor(LPIPS_SHIFT).view(1, 3, 1, 1)
    tensors["scaling_layer.scale"] = torch.tensor(LPIPS_SCALE).view(1, 3, 1, 1)
    return tensors


def plain_distance(stored, first, second):
    features = []
    for pixels in (first, second):
        hidden, found = (pixels - stored["scaling_layer.shift"]) / stored["scaling_layer.scale"], []
        for slice_, places in SLICES.items():
            for place in places:
                name = f"net.slice{slice_}.{place}"
                if place == 0:
                    hidden = F.conv2d(
                        hidden, stored[f"{name}.weight"], stored[f"{name}.bias"], stride=2
                    )
                elif place == 1:
                    hidden = hidden.relu()
                elif place in FIRES:
                    w = {k.removeprefix(name + "."): v for k, v in stored.items() if name in k}
                    small = F.conv2d(hidden, w["squeeze.weight"], w["squeeze.bias"]).relu()
                    one = F.conv2d(small, w["expand1x1.weight"], w["expand1x1.bias"])
                    three = F.conv2d(small, w["expand3x3.weight"], w["expand3x3.bias"], padding=1)
                    hidden = torch.cat([one, three], dim=1).relu()
                else:
                    hidden = F.max_pool2d(hidden, 3, stride=2, ceil_mode=True)
            found.append(hidden / (hidden.norm(dim=1, keepdim=True) + 1e-10))
        features.append(found)
    return sum(
        float((stored[f"lin{number}.model.1.weight"] * (a - b) ** 2).sum(dim=1).mean())
        for number, (a, b) in enumerate(zip(*features, strict=True))
    )


def test_the_distance_is_that_of_the_stored_network(stored, tmp_path):
    write_tensors(tmp_path / "lpips.safetensors", stored, metadata={})
    network = load_lpips(tmp_path / "lpips.safetensors")
    first, second = (2 * torch.rand(2, 1, 3, 67, 64, generator=torch.Generator()) - 1).unbind()
    expected = plain_distance(stored, first, second)
    assert expected > 0
    assert network.distance(first, second) == pytest.approx(expected, rel=1e-4)
    assert network.distance(first, first) == 0


def test_either_name_of_the_last_layers_will_do(stored, tmp_path):
    for number, left_out in enumerate(("lin0.", "lins.0.")):
        path = tmp_path / f"{number}.safetensors"
        few = {name: tensor for name, tensor in stored.items() if not name.startswith(left_out)}
        write_tensors(path, few, metadata={})
        assert torch.equal(load_lpips(path).weights[0].weight, stored["lin0.model.1.weight"]), (
            left_out
        )


def test_other_weights_than_those_of_lpips_are_refused(stored, tmp_path):
    path = tmp_path / "other.safetensors"
    few = {name: tensor for name, tensor in stored.items() if "slice7" not in name}
    write_tensors(path, few, metadata={})
    with pytest.raises(WeightsError, match="SqueezeNet"):
        load_lpips(path)
    with pytest.raises(WeightsError):
        load_lpips(tmp_path / "nowhere.safetensors")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = text_tower().tokenizer
    words = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(
            text_config={**SMALL, **words, "max_position_embeddings": 8},
            vision_config={**SMALL, "image_size": 32, "patch_size": 16},
            projection_dim=8,
        )
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
        cosine = float((output.image_embeds * output.text_embeds).sum())
        expected.append(cosine)
        found.append(clip.similarity(image, prompt))
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found) > 0
    assert clip.picture(image).norm(dim=-1) == pytest.approx(1)


def test_long_prompts_are_cut_and_pictures_of_any_shape_are_taken(clip_folder):
    clip = load_judge("clip", clip_folder)
    image = random_picture(0, side=50).resize((90, 50))
    assert clip.similarity(image, "cat " * 40) == clip.similarity(image, "cat " * 30)


def test_other_networks_are_taken_with_a_warning(clip_folder, dino_folder, caplog):
    with caplog.at_level(logging.WARNING, logger="swiftpie"):
        load_judge("clip", clip_folder)
        load_judge("dino", dino_folder)
    assert "ViT-L/14" in caplog.text
    assert "ViT-B/8" in caplog.text


def test_a_folder_without_a_network_is_refused(tmp_path):
    for name in PUBLISHED:
        with pytest.raises(WeightsError, match="leave the option out"):
            load_judge(name, tmp_path)


def test_a_network_of_another_kind_is_refused(clip_folder, dino_folder):
    with pytest.raises(WeightsError, match="kind 'vit', not 'clip'"):
        load_judge("clip", dino_folder)
    with pytest.raises(WeightsError, match="kind 'clip', not 'siglip2'"):
        load_judge("siglip2", clip_folder)
