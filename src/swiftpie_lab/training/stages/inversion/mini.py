"""The inversion network of the mini model: SwiftEdit's first stage, with exact noise."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.load.weights import load_network
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import iou, resize_mask
from swiftpie.mini.denoiser import PromptDifference, TinyInversion
from swiftpie.mini.fields import coarse_fields
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.inversion import InversionOutput
from swiftpie.noise import LAYOUT_FIELD, add_noise, layout_uniforms, scaled_linear_step
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_lab.training.losses import LAST_TIMESTEP, psnr_db, robust_and_squared
from swiftpie_lab.training.stages.inversion.prompt_pairs import Changes, draw_changes
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage, fast_precision
from swiftpie_lab.training.stages.one_step.tasks import Drops, absent_subject, condition_of
from swiftpie_world.changes import WorldChange
from swiftpie_world.sampler import World, WorldBatch
from swiftpie_world.shapes import pool

SHOWN = 12  # columns of the picture of progress
# Often without a reference: then all that the generator knows of the picture is noise and text.
DROPS = Drops(everything=0.5, semantic=0.1, detail=0.3, aligned=0.5)
ONLY_TEXT = Drops(everything=1.0)
WRONG_PROMPT_WEIGHT = 0.5  # of the noise under a wrong prompt, which is the same noise
DOUBT_WEIGHT = 0.5  # of the coarse map within the noise; the fine mask has 1
SAME_WEIGHT = 0.2  # of telling whether the subject stays
OVERLAP_WEIGHT = 0.5  # of what found and true masks share; the comparison by cells has 1
LATTICES = (2, 4, 8)  # grain cells a side of the flat cells that stars and flowers are read from
# Height and width of the boxes that the world reads its textures from, often drawn out.
WINDOWS = ((3, 3), (3, 5), (3, 7), (3, 9), (1, 5), (1, 9), (5, 1), (9, 1))
UNIFORM_VARIANCE = 1 / 12
RAW_WEIGHT = 0.25  # single values of noise hardly show in a picture


@dataclass(frozen=True)
class MiniInversionConfig:
    """Settings of the stage; a weight of 0 leaves a term out, and what it costs."""

    generator: str = "mini_world"  # what is inverted: a run, a folder, or `mini`
    start_from: str = ""  # the run or the folder whose network is trained further
    num_subjects: int = 6
    views: int = 4  # pictures that share one reference
    drops: Drops = DROPS
    size_px: int = 128
    generated_share: float = 0.2  # of the batches show what the generator drew
    reconstruct_every: int = 4  # batches; each costs a pass through the generator and back
    noise_weight: float = 0.5
    edits_weight: float = 1.0  # of telling where prompts disagree
    subject_weight: float = 0.5  # of the subject's mask
    latents_weight: float = 1.0
    validation_pictures: int = 48  # of held-out subjects, for figures

    def build(self, context: Context) -> "MiniInversionStage":
        """Return the stage for the given data and device."""
        model = OneStepConfig(
            start=self.generator,
            num_subjects=self.num_subjects,
            views=self.views,
            drops=self.drops,
            size_px=self.size_px,
        ).build(context)
        networks = model.initial.eval().requires_grad_(requires_grad=False)
        start = context.export_of(self.start_from) / "inversion" if self.start_from else None
        return MiniInversionStage(model, networks, config=self, start=start)


class NoiseError(NamedTuple):
    """How far inverted noise is from the true one; 1 is no better than guessing its mean."""

    layout: Tensor  # numbers that place things
    texture: Tensor  # means over the windows that textures are read from
    raw: Tensor  # single values

    @property
    def total(self) -> Tensor:
        """All three, weighed by how much of each can be seen in a picture."""
        return self.layout + self.texture + RAW_WEIGHT * self.raw


class Encoded(NamedTuple):
    """What the generator reads besides noise."""

    text: TextCondition
    subject: SubjectCondition


class InvertedBatch(NamedTuple):
    """A batch of pictures and what the network reads in them."""

    batch: WorldBatch
    changes: Changes
    source: InversionOutput  # under the first prompts
    target: InversionOutput  # under the second


@dataclass(frozen=True)
class MiniInversionStage:
    """Invert pictures to the noise that the renderer, and so the generator, drew them from.

    The renderer gives what the paper has to make: pictures and their exact noise. The generator
    is frozen whole, as its own training teaches it to keep a given picture.
    """

    model: OneStepStage  # what the generator belongs to
    networks: OneStepNetworks  # the generator, frozen
    config: MiniInversionConfig
    start: Path | None = None

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.config.num_subjects * self.config.views

    @property
    def world(self) -> World:
        """Where pictures are from: the world that the generator draws."""
        return self.model.world

    def network(self) -> TinyInversion:
        """Return a network with a fixed initialisation, or the one to train further."""
        torch.manual_seed(4)
        network = TinyInversion(text_width=self.networks.denoiser.config.text_width)
        if self.start is not None:
            network = load_network(TinyInversion.built, self.start)
        return network.to(self.world.tiles.device).to(memory_format=torch.channels_last)

    def losses(self, network: TinyInversion, draw: int) -> dict[str, Tensor]:
        """Return noise and edit terms and, if weighted, the one through the generator."""
        config, autoencoder = self.config, self.model.autoencoder
        chance = torch.Generator().manual_seed(draw)
        is_generated = float(torch.rand((), generator=chance)) < config.generated_share
        returns = draw % config.reconstruct_every == 0 and config.latents_weight > 0
        batch = self.world.batch(config.num_subjects, config.views, seed=draw)
        with fast_precision(batch.noise.device):
            with torch.no_grad():
                encoded = None
                if returns or is_generated:
                    encoded = self._encode(batch, config.drops, seed=draw)
                latents = autoencoder.encode(batch.pixels).float()
                if encoded is not None and is_generated:
                    latents = self._generate(batch.noise, encoded)
            now = self.read(network, batch, latents, seed=draw)
            difference = network.compare(now.source, now.target)
        # The noise is the same whatever the prompt says.
        prompted = noise_error(now.source.noise, batch.noise).total
        misled = noise_error(now.target.noise, batch.noise).total
        noise_term = (prompted + WRONG_PROMPT_WEIGHT * misled) / (1 + WRONG_PROMPT_WEIGHT)
        terms = {
            "noise": config.noise_weight * noise_term,
            "edits": config.edits_weight * _edits_term(now, difference),
            "subject": config.subject_weight * _mask_term(now.source.subject, batch.mask),
        }
        if encoded is not None and returns:
            with fast_precision(latents.device):
                again = self._generate(start_of(latents, now.source.noise), encoded)
            error = robust_and_squared(again, latents, autoencoder.channel_weights())
            terms["latents"] = config.latents_weight * error
        return terms

    def read(
        self, network: TinyInversion, batch: WorldBatch, latents: Tensor, *, seed: int
    ) -> InvertedBatch:
        """Read pictures, given as `latents` (B, C, h, w), under two prompts each."""
        changes = draw_changes(self.world, batch, seed=seed)
        with torch.no_grad():
            text = self.model.encode_text(self.networks, changes.source + changes.target)
        reading, count = network.read(latents.repeat(2, 1, 1, 1), text), len(latents)
        return InvertedBatch(
            batch=batch,
            changes=changes,
            source=InversionOutput(*(part[:count] for part in reading)),
            target=InversionOutput(*(part[count:] for part in reading)),
        )

    def _encode(self, batch: WorldBatch, drops: Drops, *, seed: int) -> Encoded:
        """Return the generator's conditions for `batch`, of one subject with its true layout."""
        generator = torch.Generator().manual_seed(seed)
        missing, mask_chance = torch.rand(2, generator=generator).tolist()
        text = self.model.encode_text(self.networks, batch.captions)
        if missing < drops.everything:
            return Encoded(text, absent_subject(batch.noise, width=text.pooled.shape[1]))
        shown = self.model.subject_input(
            self.networks,
            batch,
            generator,
            text=text,
            noise=batch.noise,
            layout=batch.layout,
            drops=drops,
            mask_chance=mask_chance,
        )
        subject = condition_of([shown], batch.noise, autoencoder=self.model.autoencoder)
        return Encoded(text, subject)

    def _generate(self, start: Tensor, encoded: Encoded) -> Tensor:
        denoiser = self.networks.denoiser
        sample: Tensor = denoiser(start, LAST_TIMESTEP, encoded.text, encoded.subject, {}).sample
        return sample.float()

    @torch.no_grad()
    def sample(self, network: TinyInversion, path: Path) -> dict[str, float]:
        """Save pictures, what comes back, and true and found masks; return figures.

        Pictures come back through text and noise alone, so that no reference hides an error.
        """
        stage, count = self.model, self.config.validation_pictures
        batch = stage.held_out.batch(count, 1, seed=VALIDATION_SEED, augment=False)
        latents = stage.autoencoder.encode(batch.pixels).float()
        now = self.read(network, batch, latents, seed=VALIDATION_SEED)
        difference = network.compare(now.source, now.target)
        found, subject = (
            resize_mask(torch.sigmoid(logits), (batch.mask.shape[2], batch.mask.shape[3]))
            for logits in (difference.mask, now.source.subject)
        )
        encoded = self._encode(batch, ONLY_TEXT, seed=0)
        back, bound = (
            stage.autoencoder.decode(self._generate(start_of(latents, noise), encoded)).clamp(-1, 1)
            for noise in (now.source.noise, batch.noise)
        )
        masks = [2 * mask.expand_as(back) - 1 for mask in (now.changes.mask, found, subject)]
        rows = [to_pil(row[:SHOWN]) for row in (batch.pixels, back, *masks)]
        contact_sheet(rows, cell_px=128).save(path)
        error = noise_error(now.source.noise, batch.noise)
        kinds = enumerate(now.changes.kinds)
        changed = [row for row, kind in kinds if kind is not WorldChange.NOTHING]
        return {
            "noise_error": float(error.total),
            "psnr_db": psnr_db(back, batch.pixels),
            "psnr_of_true_noise_db": psnr_db(bound, batch.pixels),
            "iou_of_subjects": float(iou(subject, batch.mask).mean()),
            "iou_located": float(iou(found, now.changes.mask)[changed].mean()),
        }

    def export(self, network: TinyInversion, folder: Path) -> None:
        """Write the network in eight bits a weight, into the folder that a tiny preset reads."""
        network.save_in_eight_bits(folder / "inversion")


def start_of(latents: Tensor, noise: Tensor) -> Tensor:
    """Return what the generator starts from, all (B, C, h, w); the convention of `pipelines.edit`.

    The `noise` was inverted from the latents of a picture.
    """
    return add_noise(latents, noise, scaled_linear_step(LAST_TIMESTEP))


def _edits_term(now: InvertedBatch, difference: PromptDifference) -> Tensor:
    mask, stays = now.changes.mask, now.changes.same_subject.to(difference.same_subject)
    doubt = torch.cat([now.source.doubt, now.target.doubt])
    within = _mask_term(doubt, torch.cat([torch.zeros_like(mask), mask]))
    same = F.binary_cross_entropy_with_logits(difference.same_subject, stays)
    return _mask_term(difference.mask, mask) + DOUBT_WEIGHT * within + SAME_WEIGHT * same


def _mask_term(logits: Tensor, mask: Tensor) -> Tensor:
    """Compare `logits` (B, 1, h, w) with a `mask` (B, 1, H, W) in [0, 1].

    Cells one by one, and the overlap as a whole, to which a small hat counts as much as a scene.
    """
    truth = resize_mask(mask, (logits.shape[2], logits.shape[3]))
    found = torch.sigmoid(logits)
    overlap = (found * truth).sum((1, 2, 3))
    total = found.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    apart = 1 - (2 * overlap + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + OVERLAP_WEIGHT * apart.mean()


def noise_error(guess: Tensor, truth: Tensor) -> NoiseError:
    """Compare what pictures are drawn from in two batches of noise (B, 32, h, w).

    Channels that no picture depends on are left out.
    """
    pairs = (window_means(noise) for noise in (guess, truth))
    first, second = (_textures(noise) for noise in (guess, truth))
    layout = F.mse_loss(layout_uniforms(guess), layout_uniforms(truth)) / UNIFORM_VARIANCE
    return NoiseError(
        layout=layout,
        texture=torch.stack([F.mse_loss(a, b) for a, b in zip(*pairs, strict=True)]).mean(),
        raw=F.mse_loss(first, second),
    )


def window_means(noise: Tensor) -> list[Tensor]:
    """Return means of the grain of `noise` (B, 32, h, w) over many windows.

    Their variance is about 1; windows over the edge see some values twice, so it is 1.2 there.
    """
    fields = _textures(noise)
    means = [fields.mean(dim) * math.sqrt(fields.shape[dim]) for dim in (2, 3)]
    means += [F.avg_pool2d(fields, side) * side for side in LATTICES]
    return means + [pool(fields, *window) for window in WINDOWS]


def _textures(noise: Tensor) -> Tensor:
    """Return the grain (B, 3, 32, 32) that textures are read from."""
    return coarse_fields(noise)[:, :LAYOUT_FIELD]
