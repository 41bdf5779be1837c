"""ImageReward's network, against what its own package says of the same random weights."""

import pytest
import torch
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie_lab.evaluation.image_reward import image_reward_of
from swiftpie_lab.evaluation.judges import load_image_reward
from swiftpie_lab.evaluation.metrics.perceptual import reward
from tests.lab.evaluation.tiny_reward import released

# What the modules of image-reward 1.5 (its vit.py and med.py) print for these weights and inputs.
THEIRS = {5: 21.442938, 35: 21.443431}  # by words in the prompt
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "at", "sea"]


class Words:
    """A tokenizer whose prompt is a number of words, each another token."""

    def __call__(self, prompt, *, max_length, **_):
        count = int(prompt)
        ids = torch.arange(max_length)[None] % 47 + 3
        return {"input_ids": ids, "attention_mask": (ids - 3 < count).long()}


def picture():
    return torch.linspace(-2, 2, 3 * 32 * 32).sin().view(1, 3, 32, 32) * 1.5


@pytest.mark.parametrize("count", THEIRS)
def test_the_reward_is_that_of_its_own_package(count):
    found = image_reward_of(released(), Words())(picture(), str(count))
    assert found == pytest.approx(THEIRS[count], rel=5e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    torch.save(released(), folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return folder


def test_a_folder_judges_pictures_by_prompts(folder):
    network = load_image_reward(folder, allow_pickle=True)
    red, blue = (Image.new("RGB", (48, 40), colour) for colour in ("red", "blue"))
    found = [reward(network, red, "a dog at sea"), reward(network, blue, "a dog at sea")]
    assert found[0] == reward(network, red, "A dog at sea")  # small letters, as BERT reads them
    assert len({*found, reward(network, red, "a cat at sea")}) == 3


def test_what_is_no_image_reward_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"no ImageReward.pt"):
        load_image_reward(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    torch.save({"blip.visual_encoder.cls_token": torch.ones(1)}, tmp_path / "ImageReward.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_image_reward(tmp_path, allow_pickle=True)
