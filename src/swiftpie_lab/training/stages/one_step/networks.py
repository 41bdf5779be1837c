"""The trained networks of the one-step model, their tokenizer, and where they look."""

import copy
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, split_heads, token_grid
from swiftpie.backbones.components import load_components
from swiftpie.errors import ConfigError, WeightsError, short_reason
from swiftpie.geometry.layout import cell_positions, to_reference
from swiftpie.lexicon import SIZES, words_in
from swiftpie.masks import resize_mask
from swiftpie.mini import MINI
from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie.mini.layout_predictor import LayoutPredictor
from swiftpie.mini.networks import VocabularyTextEncoder
from swiftpie.mini.text_encoder import TAUGHT, TextEncoder, WordTokenizer
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.places.vocabulary import Vocabulary, runs_between
from swiftpie_world.nouns import EMPTY_PREFIXES, GENERIC_NAMES

START, END, PADDING = "<start>", "<end>", "<pad>"
EMPTY_WORDS = ("nothing", "nobody", "scene")  # words in captions of scenes without a subject


@dataclass(frozen=True)
class Sizes:
    """How large new networks are; by default as those of the package."""

    width: int = 160  # numbers in text and identity tokens
    text_layers: int = 3
    text_length: int = 48  # tokens of a prompt
    vocabulary: int = 3072
    widths: tuple[int, ...] = (128, 192)  # channels of the U-Net's levels
    heads: tuple[int, ...] = (2, 3)
    identity_grid: int = 8  # identity tokens a side
    identity_blocks: int = 1


class OneStepNetworks(nn.Module):
    """All trained parts, as one module, with the tokenizer that their token ids belong to.

    The tokenizer is part of the state: a run that goes on reads prompts as it did before, even if
    the captions that a new tokenizer would be learned from have changed since.
    """

    def __init__(
        self,
        tokenizer: WordTokenizer,
        *,
        text_encoder: TextEncoder,
        image_encoder: ConvImageEncoder,
        layout_predictor: LayoutPredictor,
        denoiser: TinyDenoiser,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        self.layout_predictor = layout_predictor
        self.denoiser = denoiser

    def get_extra_state(self) -> Tensor:
        """Return the tokenizer as bytes (N,), because states on disk hold tensors only."""
        return torch.frombuffer(bytearray(to_text(self.tokenizer).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        text = bytes(state.tolist()).decode(errors="replace")
        tokenizer = from_text(text, length=self.tokenizer.length)
        check_vocabulary(tokenizer, self.text_encoder)
        self.tokenizer = tokenizer


def new_networks(tokenizer: WordTokenizer, sizes: Sizes) -> OneStepNetworks:
    """Return networks that know nothing yet, with a fixed initialisation."""
    torch.manual_seed(1)
    width = sizes.width
    text_encoder = TextEncoder(
        vocab_size=max(sizes.vocabulary, len(tokenizer)),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=5,
        max_position_embeddings=tokenizer.length,
    )
    return OneStepNetworks(
        tokenizer,
        text_encoder=text_encoder,
        image_encoder=ConvImageEncoder(
            width=width, grid=sizes.identity_grid, blocks=sizes.identity_blocks
        ),
        layout_predictor=LayoutPredictor(text_width=width),
        denoiser=TinyDenoiser(widths=sizes.widths, heads=sizes.heads, text_width=width),
    )


def load_trained(folder: Path | None, *, device: str) -> tuple[OneStepNetworks, PatchAutoencoder]:
    """Read an export, by default the weights inside the package; WeightsError if it is none."""
    loaded = load_components(MINI, device=device, weights=folder)
    assert isinstance(loaded.text, VocabularyTextEncoder)
    assert isinstance(loaded.text.tokenizer, WordTokenizer)
    assert isinstance(loaded.image_encoder, ConvImageEncoder)
    assert isinstance(loaded.own.layout_predictor, LayoutPredictor)
    assert isinstance(loaded.denoiser, TinyDenoiser)
    assert isinstance(loaded.autoencoder, PatchAutoencoder)
    check_vocabulary(loaded.text.tokenizer, loaded.text.encoder)
    networks = OneStepNetworks(
        loaded.text.tokenizer,
        text_encoder=loaded.text.encoder,
        image_encoder=loaded.image_encoder,
        layout_predictor=loaded.own.layout_predictor,
        denoiser=loaded.denoiser,
    )
    return networks, loaded.autoencoder


def check_vocabulary(tokenizer: WordTokenizer, encoder: TextEncoder) -> None:
    """Refuse a tokenizer that the text encoder was not trained with, as far as sizes tell."""
    if len(tokenizer) > encoder.config.vocab_size:
        raise WeightsError(
            f"The stored tokenizer has {len(tokenizer)} tokens, and the text encoder knows "
            f"{encoder.config.vocab_size}. Both have to come from one run. Copy its files again."
        )


def trainable(networks: OneStepNetworks, parts: Sequence[str] = ()) -> OneStepNetworks:
    """Return a copy to train, of all weights or those with a name of `parts`, or ConfigError."""
    copied = copy.deepcopy(networks).train()
    names = [name for name, _ in copied.named_parameters()]
    for part in parts:
        if not any(part in name for name in names):
            raise ConfigError(
                f"stage.trained has {part!r}, which no weight has in its name. Weights are named "
                f"like {names[0]!r} and {names[-1]!r}. Give a part of such names, or leave it out "
                "to train all."
            )
    for name, parameter in copied.named_parameters():
        parameter.requires_grad_(not parts or any(part in name for part in parts))
    copied.denoiser.to(memory_format=torch.channels_last)
    return copied


def train_tokenizer(captions: Iterable[str], sizes: Sizes) -> WordTokenizer:
    """Return a lower-casing tokenizer; the same captions give the same vocabulary."""
    captions = list(captions)
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=sizes.vocabulary,
        special_tokens=[START, END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    taught = vocabulary_in([*captions, *EMPTY_PREFIXES], generic=(*GENERIC_NAMES, *EMPTY_WORDS))
    return _wrapped(tokenizer, length=sizes.text_length, taught=taught.to_json())


def to_text(tokenizer: WordTokenizer) -> str:
    """Return everything that decides about token ids, as JSON; the same before and after use."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    stored |= {"padding": None, "truncation": None, TAUGHT: tokenizer.taught}
    return json.dumps(stored, ensure_ascii=False)


def from_text(text: str, *, length: int) -> WordTokenizer:
    """Return the tokenizer that `to_text` wrote, for prompts of at most `length` tokens."""
    try:
        stored = json.loads(text)
        taught = stored.pop(TAUGHT, None)
        tokenizer = Tokenizer.from_str(json.dumps(stored, ensure_ascii=False))
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(
            f"The stored tokenizer cannot be read ({short_reason(error)}). Weights are of no use "
            "without the token ids that they were trained with. Copy the run's files again, or "
            "start anew with --fresh."
        ) from error
    return _wrapped(tokenizer, length=length, taught=taught)


def _wrapped(tokenizer: Tokenizer, *, length: int, taught: object) -> WordTokenizer:
    return WordTokenizer(tokenizer, length=length, padding=PADDING, taught=taught)


@contextmanager
def noted_queries(denoiser: TinyDenoiser) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that gets the queries (B, N, D) of each semantic layer, by its path."""
    queries: dict[str, Tensor] = {}

    def note(name: str) -> torch.utils.hooks.RemovableHandle:
        layer = denoiser.unet.get_submodule(name).to_q
        assert isinstance(layer, nn.Linear)
        return layer.register_forward_hook(
            lambda _layer, _inputs, output: queries.__setitem__(name, output)
        )

    handles = [note(name) for name in denoiser.installation.semantic]
    try:
        yield queries
    finally:
        for handle in handles:
            handle.remove()


def lookup_loss(
    denoiser: TinyDenoiser,
    queries: dict[str, Tensor],
    condition: AttentionCondition,
    mask: Tensor,
    *,
    grid: int,
) -> Tensor | None:
    """Return how little attention goes to the token that shows a cell's part of the subject.

    It is the cross entropy of the first subject's identity attention with the tokens around the
    cell's place in the reference frame, over all layers and heads. The pictures alone teach it
    slowly, because a blur is right on average wherever a layer looks.

    Args:
        denoiser: Whose layers look.
        queries: Of `noted_queries`.
        condition: What the layers read.
        mask: Where the subject is visible, (B, 1, H, W) in [0, 1].
        grid: Identity tokens a side; the first token, which summarises them, is no place.

    Returns:
        None where several references are read together: then several tokens are right.
    """
    tokens = condition.identity_tokens[:, 0]
    if tokens.shape[1] != grid**2 + 1:
        return None
    terms = []
    for name, query in queries.items():
        rows, columns = token_grid(query.shape[1], *condition.region.shape[-2:])
        points = cell_positions(rows, columns, like=condition.affine)
        places = to_reference(condition.affine[:, 0].float(), points.float())
        right = nearest_tokens(places, grid)
        layer: Any = denoiser.unet.get_submodule(name)
        heads = layer.heads
        key = split_heads(denoiser.installation.semantic[name].to_k_ip(tokens).float(), heads)
        logits = split_heads(query.float(), heads) @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
        chances = logits.log_softmax(dim=-1)[..., 1:]
        missed = -(right[:, None] * chances).sum(dim=-1).mean(dim=1)  # (B, N)
        is_inside = places.abs().amax(dim=-1) < 1
        weight = is_inside * resize_mask(mask, (rows, columns)).flatten(1)
        terms.append((missed * weight).sum() / weight.sum().clamp_min(1))
    return torch.stack(terms).mean()


def nearest_tokens(places: Tensor, grid: int) -> Tensor:
    """Return the shares (B, N, grid²) of the tokens around places (B, N, 2) in [-1, 1]."""
    centres = torch.arange(grid, device=places.device)
    away = ((places + 1) / 2 * grid - 0.5)[..., None] - centres  # (B, N, 2, grid)
    across, down = (1 - away.abs()).clamp_min(0).unbind(dim=2)
    shares = (down[..., :, None] * across[..., None, :]).flatten(-2)
    return shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-6)


def vocabulary_in(captions: Sequence[str], *, generic: Collection[str]) -> Vocabulary:
    """Return the vocabulary of `captions`, some of which name a subject by a `generic` word."""
    rows = [words_in(caption) for caption in captions]
    words = {word for row in rows if not {*generic}.isdisjoint(row) for word in row}
    names = {" ".join(run) for row in rows for _, run in runs_between(row, words)}
    looks = {word for row in rows for word in _looks_in(row, generic)}
    return Vocabulary(frozenset(words), frozenset(names), frozenset(looks))


def _looks_in(row: Sequence[str], generic: Collection[str]) -> Sequence[str]:
    """Return the words between an article or a size and the generic name of a subject."""
    end = next((place for place, word in enumerate(row) if word in generic), 0)
    starts = [place for place in range(end) if row[place] in SIZES]
    found = row[starts[-1] + 1 : end] if starts else ()
    return () if "of" in found else found  # "a photo of nothing" has no looks
