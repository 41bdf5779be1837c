from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel

from swiftpie.errors import WeightsError
from swiftpie.evaluation.fastface.networks import (
    AESTHETIC_LAYERS,
    Networks,
    load_aesthetic,
    load_clip,
)
from tests.backbones.tiny_models import tiny_tokenizer, vocabulary

WIDTH = 12


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2, "projection_dim": WIDTH}
    words = len(vocabulary())
    text = small | {"vocab_size": words, "bos_token_id": words - 2, "eos_token_id": words - 1}
    vision = small | {"image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    CLIPModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_clip(clip_folder)


def test_the_cosine_is_that_of_the_whole_model(clip, portrait_like):
    words = clip.tokenizer("a person", return_tensors="pt")
    side = portrait_like.resize((32, 32), Image.Resampling.BICUBIC)
    square = clip.picture(side)
    whole = clip.model(
        input_ids=words["input_ids"],
        attention_mask=words["attention_mask"],
        pixel_values=pixels_of(side),
    )
    wanted = nn.functional.cosine_similarity(whole.image_embeds, whole.text_embeds)
    assert clip.similarity(side, "a person") == pytest.approx(float(wanted), abs=1e-6)
    assert torch.allclose(square.norm(dim=-1), torch.ones(1))


@pytest.fixture
def portrait_like():
    return Image.effect_noise((48, 48), 60).convert("RGB")


def pixels_of(image):
    values = torch.tensor(np.array(image), dtype=torch.float32).permute(2, 0, 1) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    return ((values - mean) / deviation)[None]


def test_a_long_text_is_cut_off(clip, portrait_like):
    assert -1 <= clip.similarity(portrait_like, "word " * 200) <= 1


def test_the_aesthetic_score_is_that_of_a_stack_of_layers(tmp_path, clip, portrait_like):
    torch.manual_seed(1)
    sizes = [WIDTH, 8, 6, 5, 4, 1]
    layers = [nn.Linear(first, second) for first, second in pairwise(sizes)]
    tensors = {}
    for name, layer in zip(AESTHETIC_LAYERS, layers, strict=True):
        tensors |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
    save_file(tensors, tmp_path / "aesthetic.safetensors")
    predictor = load_aesthetic(tmp_path / "aesthetic.safetensors", width=WIDTH)
    vector = clip.picture(portrait_like)
    wanted = nn.Sequential(*layers)(vector).detach()
    assert predictor(vector) == pytest.approx(float(wanted), abs=1e-6)
    with pytest.raises(WeightsError, match="99 numbers"):
        load_aesthetic(tmp_path / "aesthetic.safetensors", width=99)


def test_a_folder_without_clip_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="CLIP"):
        load_clip(tmp_path)


def test_what_is_missing_is_named_with_what_would_bring_it(clip):
    nothing = Networks().not_computed(has_judge=False)
    assert {*nothing} == {
        *("identity", "clip-large", "clip-small", "style", "aesthetic", "image-reward")
    }
    assert all("--" in why for name, why in nothing.items() if name != "image-reward")
    some = Networks(clip=clip).not_computed(has_judge=True)
    assert {*some} == {"clip-small", "aesthetic", "image-reward"}
