"""Learns the mini model's byte-level BPE vocabulary from the words of its world, and keeps it."""

import json
import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from swiftpie.data.captions import draw_attributes, draw_caption
from swiftpie.data.scenes import SCENES
from swiftpie.data.subjects import Subjects
from swiftpie.errors import WeightsError, short_reason

VOCABULARY = 2048
MAX_TOKENS = 32
START, END, PADDING = "<start>", "<end>", "<pad>"
CAPTIONS_A_SUBJECT = 8


def train_tokenizer(subjects: Subjects) -> PreTrainedTokenizerFast:
    """Return a lower-casing tokenizer; the same subjects give the same vocabulary."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(subjects), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    return _wrapped(tokenizer, length=MAX_TOKENS)


def to_text(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return everything that decides about token ids, as JSON; the same before and after use."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps(stored | {"padding": None, "truncation": None}, ensure_ascii=False)


def from_text(text: str, *, length: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `to_text` wrote, for prompts of at most `length` tokens.

    Raises:
        WeightsError: `text` is no such JSON.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(
            f"The stored tokenizer cannot be read ({short_reason(error)}). Weights are of no use "
            "without the token ids that they were trained with. Copy the run's files again, or "
            "start anew with --fresh."
        ) from error
    return _wrapped(tokenizer, length=length)


def _wrapped(tokenizer: Tokenizer, *, length: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
    )


def _corpus(subjects: Subjects) -> Iterator[str]:
    draw = random.Random(0)
    for index in range(len(subjects)):
        for _ in range(CAPTIONS_A_SUBJECT):
            scene, attributes = draw.choice(SCENES), draw_attributes(draw)
            yield draw_caption(
                draw,
                scene,
                attributes,
                name=subjects.names[index],
                synonyms=subjects.synonyms[index],
            )
