"""The text encoder and the tokenizer of the embedded model."""

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from swiftpie.attention.condition import attend, merge_heads, split_heads
from swiftpie.models.network import Network, keep_settings
from swiftpie.types import TextCondition

FILES = ("tokenizer.json", "tokenizer_config.json")
TAUGHT = "taught"  # key of the words of the captions in the settings of a tokenizer


class WordTokenizer:
    """A tokenizer that cuts and fills up every prompt to one length, and knows its captions' words.

    It is called as those of transformers are, and stored in the same files.
    """

    def __init__(
        self, backend: Tokenizer, *, length: int, padding: str = "<pad>", taught: object = None
    ) -> None:
        """Wrap `backend`.

        Args:
            backend: What cuts words into tokens, and marks start and end.
            length: Tokens of every prompt.
            padding: The token that prompts are filled up with.
            taught: The words of the captions, as `Vocabulary.to_json` has them.
        """
        self.backend_tokenizer, self.length, self.padding = backend, length, padding
        self.taught = taught
        backend.enable_truncation(length)
        backend.enable_padding(
            length=length, pad_id=backend.token_to_id(padding), pad_token=padding
        )

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())

    def __call__(self, prompts: str | list[str], **_: object) -> dict[str, list[Any]]:
        """Return ids, mask and places in the text of the tokens, a row a prompt in a list."""
        if isinstance(prompts, str):
            return {name: rows[0] for name, rows in self([prompts]).items()}
        rows = self.backend_tokenizer.encode_batch(prompts)
        return {
            "input_ids": [row.ids for row in rows],
            "attention_mask": [row.attention_mask for row in rows],
            "offset_mapping": [row.offsets for row in rows],
        }

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        settings = json.loads((folder / FILES[1]).read_bytes())
        return cls(
            Tokenizer.from_file(str(folder / FILES[0])),
            length=settings["model_max_length"],
            padding=settings["pad_token"],
            taught=settings.get(TAUGHT),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.backend_tokenizer.save(str(place / FILES[0]))
        settings = {
            "model_max_length": self.length,
            "pad_token": self.padding,
            "tokenizer_class": "PreTrainedTokenizerFast",
            TAUGHT: self.taught,
        }
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
        (place / FILES[1]).write_text(f"{text}\n", encoding="utf-8")


class TextStates(NamedTuple):
    """The output of a text encoder, named as transformers names it."""

    last_hidden_state: Tensor  # (B, T, D)
    pooler_output: Tensor  # (B, D) of the end token


class TextEncoder(Network):
    """A transformer whose tokens attend to those before them, as CLIP's text tower.

    Its settings and weights are named as `CLIPTextModel` of transformers names them, whose import
    takes longer than a picture, and it computes the same.
    """

    @keep_settings
    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 160,
        intermediate_size: int = 320,
        num_hidden_layers: int = 3,
        num_attention_heads: int = 5,
        max_position_embeddings: int = 48,
        eos_token_id: int = 1,  # noqa: ARG002 - read from the config
    ) -> None:
        super().__init__()
        tokens = nn.Embedding(vocab_size, hidden_size)
        positions = nn.Embedding(max_position_embeddings, hidden_size)
        nn.init.normal_(tokens.weight, std=0.5)
        nn.init.normal_(positions.weight, std=0.02)
        parts = {"token_embedding": tokens, "position_embedding": positions}
        self.embeddings = nn.ModuleDict(parts)
        layers = [
            TextLayer(hidden_size, intermediate_size, heads=num_attention_heads)
            for _ in range(num_hidden_layers)
        ]
        self.encoder = nn.ModuleDict({"layers": nn.Sequential(*layers)})
        self.final_layer_norm = nn.LayerNorm(hidden_size)
        # The deviation that CLIP begins with.
        narrow = (2 * num_hidden_layers * hidden_size) ** -0.5
        spreads = {"out_proj": hidden_size**-0.5, "fc1": (2 * hidden_size) ** -0.5}
        for name, part in self.encoder.named_modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=spreads.get(name.rpartition(".")[2], narrow))
                nn.init.zeros_(part.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextStates:
        """Return the states of tokens (B, T); those with a mask of 0 are not attended to."""
        length = input_ids.shape[1]
        hidden = self.embeddings["token_embedding"](input_ids)
        places = torch.arange(length, device=input_ids.device)
        hidden = hidden + self.embeddings["position_embedding"](places)
        before = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        seen = before & attention_mask[:, None, None].bool()  # (B, 1, T, T)
        hidden, _ = self.encoder["layers"]((hidden, seen))
        states = self.final_layer_norm(hidden)
        end = (input_ids == self.config.eos_token_id).int().argmax(dim=-1)
        rows = torch.arange(len(states), device=states.device)
        return TextStates(states, states[rows, end])


def encode_tokens(encoder: nn.Module, ids: Tensor, mask: Tensor) -> TextCondition:
    """Return the states of tokens (B, T); pooled are real ones, times the root of their number."""
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask.to(states.dtype).unsqueeze(-1)
    return TextCondition(states, mask, (states * weights).sum(1) / weights.sum(1).sqrt())


class TextLayer(nn.Module):
    """Attention and a perceptron for each token, both added to their input."""

    def __init__(self, width: int, inner_width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.layer_norm1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, inner_width), "fc2": nn.Linear(inner_width, width)}
        )
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Map (B, T, D) to the same shape, and pass on which token sees which, (B, 1, T, T)."""
        hidden, seen = states
        normed = self.layer_norm1(hidden)
        query, key, value = (
            split_heads(self.self_attn[name](normed), self.heads)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        attended = merge_heads(attend(query, key, value, seen))
        hidden = hidden + self.self_attn["out_proj"](attended)
        inner = self.mlp["fc1"](self.layer_norm2(hidden))
        return hidden + self.mlp["fc2"](inner * torch.sigmoid(1.702 * inner)), seen
