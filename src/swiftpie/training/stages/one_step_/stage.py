"""Stage 2: the one-step model, by regression on the renderer's own noise-to-picture map."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from swiftpie.attention.condition import AttentionCondition, Notes, silent_condition
from swiftpie.attention.rescale import MAP_PREFIX
from swiftpie.data.stickers import StickerBatch, StickerWorld
from swiftpie.images import contact_sheet, to_pil
from swiftpie.layout import Layout, to_affine
from swiftpie.masks import iou, resize_mask
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.denoiser import Prediction, SubjectCondition
from swiftpie.models.layout_predictor import LayoutPredictor, LayoutScores, subject_extent
from swiftpie.models.reference import ReferenceFeatures, read_references
from swiftpie.models.text import Pooling, encode_tokens
from swiftpie.models.tiny import CELL_PX, TinyDenoiser, align
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.training.context import Context
from swiftpie.training.losses import gradient_l1, layout_loss, map_loss, robust_and_squared
from swiftpie.training.tokenizer import train_tokenizer
from swiftpie.types import TextCondition

LAST_TIMESTEP = 999  # the only one that the one-step model is asked for
VALIDATION_SEED = 2**31 - 1
TEACHER_FORCED = 0.6  # share of samples that get the true layout, not the predicted one
FREE_PLACES = 0.2  # share of batches placed by chance, as by a user's box, not by the noise
SUBJECT_WEIGHT = 2.0  # extra weight of latent cells that show the subject


@dataclass(frozen=True)
class Drops:
    """How often each condition is withheld, so that none carries identity alone."""

    everything: float = 0.08  # a whole batch without a reference
    semantic: float = 0.10
    detail: float = 0.15
    aligned: float = 0.30


class OneStepNetworks(nn.Module):
    """All trained parts, as one module."""

    def __init__(self, vocabulary: int, text_length: int, width: int = 160) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=5,
            max_position_embeddings=text_length,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
        self.text_encoder = CLIPTextModel(config)
        embedding = self.text_encoder.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        nn.init.normal_(embedding.weight, std=0.5)
        self.image_encoder = ConvImageEncoder(width=width)
        self.layout_predictor = LayoutPredictor(text_width=width)
        self.denoiser = TinyDenoiser(text_width=width)


class References(NamedTuple):
    """The reference side of one batch, G rows."""

    pixels: Tensor  # (G, 3, H, W) grey outside the subject
    mask: Tensor  # (G, 1, H, W)
    features: ReferenceFeatures


class Outcome(NamedTuple):
    """What one forward pass gives the losses."""

    prediction: Prediction
    scores: LayoutScores
    maps: list[Tensor]  # identity attention maps (B, 1, h, w); none without a reference


@dataclass(frozen=True)
class OneStepConfig:
    """Settings of the stage."""

    autoencoder: str = "mini_autoencoder"  # the run whose export is used
    num_subjects: int = 8
    views: int = 4  # pictures that share one reference
    pixel_weight: float = 0.0  # weight of the loss in pixels; costs a decoder pass
    pixel_samples: int = 6
    drops: Drops = field(default_factory=Drops)

    def build(self, context: Context) -> "OneStepStage":
        """Return the stage for the given data and device."""
        autoencoder = PatchAutoencoder.from_pretrained(
            context.export_of(self.autoencoder) / "autoencoder"
        )
        return OneStepStage(
            context.world(),
            context.world("held_out"),
            autoencoder=autoencoder.to(context.device).eval().requires_grad_(False),
            tokenizer=train_tokenizer(context.subjects),
            config=self,
        )


@dataclass(frozen=True)
class OneStepStage:
    """Regress the latents of the picture that the renderer draws from the same noise."""

    world: StickerWorld
    held_out: StickerWorld
    autoencoder: PatchAutoencoder
    tokenizer: PreTrainedTokenizerFast
    config: OneStepConfig

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.config.num_subjects * self.config.views

    def network(self) -> nn.Module:
        """Return new networks with a fixed initialisation."""
        torch.manual_seed(1)
        length = int(self.tokenizer.model_max_length)
        networks = OneStepNetworks(len(self.tokenizer), length).to(self.world.tiles.device)
        networks.denoiser.to(memory_format=torch.channels_last)
        return networks

    def losses(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """Return latent, layout, mask, map and (if weighted) pixel terms."""
        assert isinstance(network, OneStepNetworks)
        generator = torch.Generator().manual_seed(step)
        is_free = float(torch.rand((), generator=generator)) < FREE_PLACES
        batch = self.world.batch(
            self.config.num_subjects, self.config.views, seed=step, free_places=is_free
        )
        device = batch.pixels.device
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            with torch.no_grad():
                target = self.autoencoder.encode(batch.pixels).float()
            forced = 1.0 if is_free else TEACHER_FORCED
            outcome = self.forward(network, batch, generator, forced=forced)
        sample = outcome.prediction.sample.float()
        weight = 1 + SUBJECT_WEIGHT * resize_mask(batch.mask, _cells(batch))
        weight = weight / weight.mean() * self.autoencoder.channel_weights()
        shape = F.interpolate(batch.mask, size=outcome.prediction.mask.shape[-2:], mode="area")
        guess = outcome.prediction.mask.float().clamp(1e-5, 1 - 1e-5)
        terms = {
            "latents": robust_and_squared(sample, target, weight),
            "mask": 0.1 * F.binary_cross_entropy(guess, shape),
        }
        if not is_free:  # where noise does not place the subject, there is nothing to predict
            terms["layout"] = 0.3 * layout_loss(outcome.scores, batch.layout)
        if outcome.maps:
            terms["maps"] = 0.03 * map_loss(outcome.maps, batch.mask)
        if self.config.pixel_weight:
            terms["pixels"] = self.config.pixel_weight * self._pixel_loss(sample, batch)
        return terms

    def _pixel_loss(self, sample: Tensor, batch: StickerBatch) -> Tensor:
        """Compare some decoded pictures, evenly spread over the subjects of the batch."""
        chosen = slice(None, None, max(1, len(sample) // self.config.pixel_samples))
        truth = batch.pixels[chosen]
        with torch.autocast(sample.device.type, torch.bfloat16):
            decoded = self.autoencoder.decode(sample[chosen])
        return F.l1_loss(decoded.float(), truth) + gradient_l1(decoded.float(), truth)

    def forward(
        self,
        network: OneStepNetworks,
        batch: StickerBatch,
        generator: torch.Generator,
        *,
        forced: float = 0.0,
    ) -> Outcome:
        """Predict `batch`, with conditions dropped by `generator`.

        `forced` is the share of samples that get the true layout instead of the predicted one.
        """
        chance = torch.rand(4, generator=generator)
        text = self.encode_text(network, batch.captions)
        if float(chance[0]) < self.config.drops.everything:
            return self._without_reference(network, batch, text)
        mask = _imperfect(batch.reference_mask, float(chance[1]))
        reference = batch.reference * mask
        features = read_references(
            network.denoiser,
            network.image_encoder,
            self.autoencoder,
            pixels=reference,
            mask=mask,
            empty_text=self.encode_text(network, [""]),
        )
        extent = subject_extent(mask).repeat_interleave(self.config.views, dim=0)
        scores = network.layout_predictor(batch.noise, text.pooled, extent)
        known = torch.rand(len(extent), generator=generator) < forced
        layout = _choose(known.to(extent.device), batch.layout, scores.layout)
        frames = References(reference, mask, features)
        condition = self._condition(batch, frames, layout=layout, generator=generator)
        notes: Notes = {}
        prediction = network.denoiser(batch.noise, LAST_TIMESTEP, text, condition, notes)
        maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
        return Outcome(prediction, scores, maps)

    def _without_reference(
        self, network: OneStepNetworks, batch: StickerBatch, text: TextCondition
    ) -> Outcome:
        extent = subject_extent(batch.reference_mask).repeat_interleave(self.config.views, dim=0)
        scores = network.layout_predictor(batch.noise, text.pooled, extent)
        condition = absent_subject(batch.noise, width=text.pooled.shape[1])
        prediction = network.denoiser(batch.noise, LAST_TIMESTEP, text, condition, {})
        return Outcome(prediction, scores, [])

    def _condition(
        self,
        batch: StickerBatch,
        references: "References",
        *,
        layout: Layout,
        generator: torch.Generator,
    ) -> SubjectCondition:
        pixels, mask, features = references

        def spread(rows: Tensor) -> Tensor:
            return rows.repeat_interleave(self.config.views, dim=0)

        def keep(share: float) -> Tensor:
            kept = torch.rand(len(batch.reference), generator=generator) >= share
            return spread(kept.to(batch.noise))[:, None]

        cells = _cells(batch)
        aligned = align(self.autoencoder, spread(pixels), spread(mask), layout=layout, cells=cells)
        attention = silent_condition(batch.noise, width=features.pooled.shape[1])
        kept_detail = keep(self.config.drops.detail)
        attention = attention._replace(
            identity_tokens=spread(features.tokens)[:, None],
            keys={name: spread(rows)[:, None] for name, rows in features.keys.items()},
            values={name: spread(rows)[:, None] for name, rows in features.values.items()},
            coverage=spread(resize_mask(mask, cells))[:, None],
            affine=to_affine(layout).detach()[:, None],
            has_layout=torch.ones_like(kept_detail),
            identity_scale=keep(self.config.drops.semantic),
            detail_scale=torch.ones_like(kept_detail),
            mask=_random_region(batch.mask, cells, generator=generator),
        )
        attention = _silence(attention, kept_detail)
        aligned = aligned[:, None] * keep(self.config.drops.aligned)[:, :, None, None, None]
        return SubjectCondition(
            attention=attention, pooled=spread(features.pooled)[:, None], aligned=aligned
        )

    def encode_text(self, network: OneStepNetworks, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`, with gradients."""
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
        return encode_tokens(
            network.text_encoder,
            tokens["input_ids"].to(self.world.tiles.device),
            tokens["attention_mask"].to(self.world.tiles.device),
            pooling=Pooling.MEAN,
        )

    @torch.no_grad()
    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Save reference, one-step picture and truth of held-out subjects; return figures."""
        assert isinstance(network, OneStepNetworks)
        batch = self.held_out.batch(36, 1, seed=VALIDATION_SEED, augment=False)
        everything = replace(self.config, drops=Drops(0, 0, 0, 0), views=1)
        always = replace(self, config=everything)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            outcome = always.forward(network, batch, torch.Generator().manual_seed(3))
        pixels = self.autoencoder.decode(outcome.prediction.sample.float()).clamp(-1, 1)
        rows = []
        for first in range(0, 36, 12):
            part = slice(first, first + 12)
            rows += [to_pil(x[part]) for x in (batch.reference, pixels, batch.pixels)]
        contact_sheet(rows, cell_px=128).save(path)
        error = (pixels - batch.pixels).square() / 4  # the range of pixels is 2 wide
        subject = (error * batch.mask).sum((1, 2, 3)) / (3 * batch.mask.sum((1, 2, 3)))
        mask = resize_mask(outcome.prediction.mask.float(), (pixels.shape[2], pixels.shape[3]))
        steps = (pixels.diff(dim=-1).abs().mean(), batch.pixels.diff(dim=-1).abs().mean())
        return {
            "psnr_db": float(-10 * error.mean((1, 2, 3)).log10().mean()),
            "subject_psnr_db": float(-10 * subject.log10().mean()),
            "mask_iou": float(iou(mask, batch.mask).mean()),
            "sharpness": float(steps[0] / steps[1]),
        }

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write every part in float16, as diffusers and transformers write theirs.

        The folder is ready to ship: it is what a preset of the tiny family loads.
        """
        assert isinstance(network, OneStepNetworks)
        parts = dict(copy.deepcopy(network).half().named_children())
        parts["autoencoder"] = autoencoder = copy.deepcopy(self.autoencoder).half()
        autoencoder.register_to_config(_name_or_path="")  # where it lay here is nobody's business
        for name, part in parts.items():
            assert isinstance(part, (PreTrainedModel, ModelMixin))
            part.save_pretrained(folder / name)
        self.tokenizer.save_pretrained(folder / "tokenizer")


def absent_subject(noise: Tensor, *, width: int) -> SubjectCondition:
    """Return the condition of a picture from text alone, for noise (B, C, 16, 16)."""
    batch, channels, rows, columns = noise.shape
    return SubjectCondition(
        attention=silent_condition(noise, width=width),
        pooled=noise.new_zeros(batch, 1, width),
        aligned=noise.new_zeros(batch, 1, channels + CELL_PX**2, rows, columns),
    )


def _cells(batch: StickerBatch) -> tuple[int, int]:
    return batch.noise.shape[2], batch.noise.shape[3]


def _silence(attention: AttentionCondition, kept: Tensor) -> AttentionCondition:
    """Turn the detail branch off in samples where `kept` (B, 1) is 0, but not the aligned input."""
    values = {name: rows * kept[:, :, None, None] for name, rows in attention.values.items()}
    return attention._replace(values=values)


def _choose(known: Tensor, truth: Layout, guess: Layout) -> Layout:
    """Take rows of `truth` where `known` (B,), else of `guess`, without gradient."""
    return Layout(
        *(
            torch.where(known.view(-1, *[1] * (a.ndim - 1)), a, b.detach())
            for a, b in zip(truth, guess, strict=True)
        )
    )


def _imperfect(mask: Tensor, chance: float) -> Tensor:
    """Grow, shrink or keep a reference mask (R, 1, H, W), as masks of real photographs are off."""
    if chance < 0.15:
        return F.max_pool2d(mask, 3, stride=1, padding=1)
    if chance < 0.3:
        return 1 - F.max_pool2d(1 - mask, 3, stride=1, padding=1)
    return mask


def _random_region(mask: Tensor, cells: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """Return the region for rescaling: everything, the true mask or a grown one, by sample."""
    exact = F.adaptive_avg_pool2d(mask, cells)
    grown = F.max_pool2d(exact, 3, stride=1, padding=1)
    draw = torch.rand(len(mask), 1, 1, 1, generator=generator).to(mask.device)
    return torch.where(draw < 0.6, torch.ones_like(exact), torch.where(draw < 0.8, exact, grown))
