"""The text encoder and the tokenizer do what those of transformers do, from the same files."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.mini.text_encoder import TextEncoder, WordTokenizer

FOLDER = Path(str(files("swiftpie"))) / "assets" / "mini" / "tokenizer"
PROMPTS = ["a dog on a beach", "", "Ünïcode, 猫 & <pad> " * 30]


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer.from_pretrained(FOLDER)


def test_tokens_are_those_of_transformers(tokenizer):
    theirs = PreTrainedTokenizerFast.from_pretrained(FOLDER)
    options = {"padding": "max_length", "truncation": True, "return_offsets_mapping": True}
    expected, found = theirs(PROMPTS, **options), tokenizer(PROMPTS)
    assert all(found[name] == expected[name] for name in found)
    assert len(tokenizer) == len(theirs)
    assert tokenizer(PROMPTS[0])["input_ids"] == found["input_ids"][0]


def test_a_stored_tokenizer_is_read_by_both(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = WordTokenizer.from_pretrained(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert again(PROMPTS) == tokenizer(PROMPTS)
    assert again.taught == tokenizer.taught
    options = {"padding": "max_length", "truncation": True}
    assert theirs(PROMPTS, **options)["input_ids"] == tokenizer(PROMPTS)["input_ids"]


@torch.no_grad()
def test_states_are_those_of_transformers():
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 6}
    made = TextEncoder(**sizes).eval()
    theirs = CLIPTextModel(CLIPTextConfig(**sizes, eos_token_id=1)).eval()
    theirs.load_state_dict(made.state_dict())
    ids = torch.tensor([[0, 5, 7, 1, 2, 2], [0, 4, 4, 9, 12, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    found, expected = made(ids, mask), theirs(input_ids=ids, attention_mask=mask)
    assert torch.allclose(found.last_hidden_state, expected.last_hidden_state, atol=1e-5)
    assert torch.allclose(found.pooler_output, expected.pooler_output, atol=1e-5)
