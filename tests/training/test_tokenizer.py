"""Tokenizers are learned alike from the same subjects, and kept whole."""

import json

import pytest

from swiftpie.errors import WeightsError
from swiftpie.training.stages.one_step_networks import (
    MAX_TOKENS,
    from_text,
    to_text,
    train_tokenizer,
)

PROMPTS = ["a hamster in the snow", "Ünicode zyzzyva"]


@pytest.fixture(scope="module")
def tokenizer(subjects):
    return train_tokenizer(subjects)


def test_the_same_subjects_give_the_same_tokenizer(tokenizer, subjects):
    assert to_text(train_tokenizer(subjects)) == to_text(tokenizer)


def test_what_is_kept_does_not_depend_on_use(tokenizer):
    before = to_text(tokenizer)
    tokenizer(PROMPTS, padding="max_length", truncation=True)
    assert to_text(tokenizer) == before


def test_a_kept_tokenizer_gives_the_same_ids(tokenizer):
    again = from_text(to_text(tokenizer), length=MAX_TOKENS)
    ask = {"padding": "max_length", "truncation": True}
    assert again(PROMPTS, **ask)["input_ids"] == tokenizer(PROMPTS, **ask)["input_ids"]
    assert to_text(again) == to_text(tokenizer)
    assert again.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("text", ["", "{", json.dumps({"model": "none"})])
def test_a_damaged_one_is_refused(text):
    with pytest.raises(WeightsError, match="stored tokenizer cannot be read"):
        from_text(text, length=MAX_TOKENS)
