"""Prompts to token states: a tokenizer, a CLIP text tower and a rule for pooling."""

import logging
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)


class Pooling(StrEnum):
    """How one vector is made of a prompt's states."""

    MEAN = "mean"  # over real tokens, times the root of their number
    END = "end"  # the state of the end token, as CLIP does


@dataclass(frozen=True)
class TextTower:
    """Everything that encodes prompts."""

    tokenizer: PreTrainedTokenizerFast
    encoder: CLIPTextModel
    pooling: Pooling

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`; longer ones than the tower can read are cut, with a log.

        Shapes: states (B, T, D), mask (B, T), pooled (B, D), with T the tower's fixed length.
        """
        length = self.encoder.config.max_position_embeddings
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        if bool(tokens["attention_mask"][:, -1].any()):
            logger.warning("A prompt was cut to %s tokens, all that this model reads.", length)
        device = self.encoder.device
        return encode_tokens(
            self.encoder,
            tokens["input_ids"].to(device),
            tokens["attention_mask"].to(device),
            pooling=self.pooling,
        )


def encode_tokens(
    encoder: CLIPTextModel, input_ids: Tensor, attention_mask: Tensor, *, pooling: Pooling
) -> TextCondition:
    """Return the states of tokens (B, T)."""
    output = encoder(input_ids=input_ids, attention_mask=attention_mask)
    states: Tensor = output.last_hidden_state
    weights = attention_mask.to(states.dtype).unsqueeze(-1)
    match pooling:
        case Pooling.MEAN:
            pooled = (states * weights).sum(1) / weights.sum(1).sqrt()
        case Pooling.END:
            pooled = output.pooler_output
    return TextCondition(hidden_states=states, attention_mask=attention_mask, pooled=pooled)
