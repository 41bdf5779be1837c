"""The adapter stage: both branches learn through the one-step generator itself."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import silent_condition
from swiftpie.backbones.adapters import save_adapter
from swiftpie.backbones.load.ip_adapter import REFERENCE_TIMESTEP
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.denoiser import added_conditions
from swiftpie.models.vision import Feature
from swiftpie.noise import add_noise, scaled_linear_step
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.dists import Dists
from swiftpie_lab.training.loop import Stage, Update
from swiftpie_lab.training.losses import Compare, compare_in_autoencoder, map_loss
from swiftpie_lab.training.stages.adapter.check import TrainedBranch, figures_of, identity_losses
from swiftpie_lab.training.stages.adapter.networks import (
    NUM_SCALES,
    AdapterBase,
    AdapterNetworks,
    AdapterStageSettings,
    Discriminator,
    load_adapter_base,
    use_trained_layers,
)
from swiftpie_lab.training.stages.adapter.student import (
    Examples,
    PhotoExamples,
    StudentPass,
    draw_chances,
    no_drops,
    open_examples,
    picture_terms,
    run_student,
)
from swiftpie_lab.training.stages.adapter.teachers import Teacher, open_dists, open_teacher

ADAPTER_FILE = "adapter.safetensors"
FULL_STRENGTH = {"identity_scale": 1.0, "detail_scale": 1.0}  # not tuned
SHOWN = 4  # examples on the sheet, at most
SHOWN_DRAW = 2**31 - 1
R1 = 1e-5  # weight of the squared gradient at photos
LATEST_JUDGED = 600  # the discriminator sees latents noised up to this timestep


@dataclass(frozen=True, eq=False)
class AdapterStage:
    """Draw the subject of a reference again; only what the adapter adds is trained.

    After arXiv:2605.01510, as far as its abstract tells: self-reconstruction with a perceptual loss
    in pixels and an adversarial loss in latents; forms and weights of the terms are ours. `compare`
    may be any perceptual distance.
    """

    base: AdapterBase
    examples: PhotoExamples
    compare: Compare
    settings: AdapterStageSettings
    teacher: Teacher | None = None
    dists: Dists | None = None  # in place of `compare`

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The adapter and its discriminator."""
        return {"adapter": ("projector", "semantic", "detail"), "discriminator": ("discriminator",)}

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""
        return self.settings.batch_size

    def network(self) -> AdapterNetworks:
        """Return new networks with a fixed initialisation; the frozen base is not among them."""
        return AdapterNetworks(self.base)

    def updates(
        self,
        network: AdapterNetworks,
        step: int,  # noqa: ARG002  both learn at every one
        draw: int,
    ) -> Iterator[Update]:
        """Yield what the adapter learns, then its discriminator from the same pictures."""
        settings, weights = self.settings, self.settings.loss
        examples = self.examples.batch(settings.batch_size, draw)
        chances = draw_chances(len(examples.noise), settings.drops, seed=draw)
        with self.base.autocast():
            outcome = run_student(self.base, network, examples, chances)
        terms = self._terms(outcome, examples)
        if self.teacher is not None:
            with self.base.autocast():
                off = self.teacher.loss(outcome.clean, outcome.text, self.base.empty_text, draw)
            terms["teacher"] = weights.teacher * off
        if not weights.adversarial:
            yield Update("adapter", terms)
            return
        seen = self._discriminator_features(outcome.clean, outcome.text, draw)
        score = network.discriminator(seen, outcome.subject)
        yield Update("adapter", {**terms, "adversarial": -weights.adversarial * score.mean()})
        with torch.no_grad():
            real = self._discriminator_features(examples.latents, outcome.text, draw)
        yield Update(
            "discriminator",
            discriminator_terms(network.discriminator, real, seen, subject=outcome.subject),
        )

    @torch.no_grad()
    def sample(self, network: AdapterNetworks, path: Path) -> dict[str, float]:
        """Save references, what is drawn of them and the targets; return what `verdicts` reads."""
        size = max(2, self.settings.batch_size)  # references are swapped inside of a batch
        shown = self.examples.batch(size, SHOWN_DRAW)
        chances = no_drops(size, read_at=REFERENCE_TIMESTEP)
        with self.base.autocast():
            outcome = run_student(self.base, network, shown, chances)
            drawn = self.base.autoencoder.decode(outcome.clean).float().clamp(-1, 1)
        rows = [to_pil(row[:SHOWN]) for row in (shown.reference, drawn, shown.pixels)]
        contact_sheet(rows, cell_px=min(256, drawn.shape[-1])).save(path)
        batches = []
        for number in range(math.ceil(self.settings.num_judged / size)):
            examples = self.examples.batch(size, SHOWN_DRAW - number)
            with self.base.autocast():
                batches.append(identity_losses(self.base, network, examples))
        return figures_of(
            {name: torch.cat([batch[name] for batch in batches], 1) for name in TrainedBranch}
        )

    def export(self, network: AdapterNetworks, folder: Path) -> None:
        """Write the adapter as one file, which `--adapter` takes."""
        folder.mkdir(parents=True, exist_ok=True)
        use_trained_layers(self.base, network, reference_timestep=REFERENCE_TIMESTEP)
        save_adapter(
            folder / ADAPTER_FILE,
            installation=self.base.denoiser.installation,
            projector=network.projector,
            family=self.base.components.preset.family,
            t_ref=REFERENCE_TIMESTEP,
            defaults=FULL_STRENGTH,
            reference=self.base.denoiser.reference,
            force=True,
        )

    def _terms(self, outcome: StudentPass, examples: Examples) -> dict[str, Tensor]:
        settings, weights = self.settings, self.settings.loss
        terms: dict[str, Tensor] = {}
        if weights.maps:
            terms["maps"] = weights.maps * map_loss(outcome.maps, examples.mask)
        count = min(settings.pixel_samples, len(outcome.clean))
        if count and (weights.subject or weights.whole or weights.identity):
            with self.base.autocast():
                drawn = self.base.autoencoder.decode(outcome.clean[:count])
                judge = self.base.reader(Feature.EMBEDS)
                terms |= picture_terms(
                    drawn,
                    examples,
                    weights=weights,
                    compare=self.dists or self.compare,
                    judge=judge,
                )
        return terms

    def _discriminator_features(
        self, latents: Tensor, text: TextCondition, draw: int
    ) -> list[Tensor]:
        generator = torch.Generator().manual_seed(draw % 2**63)
        timestep = int(torch.randint(LATEST_JUDGED + 1, (), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(latents.float(), noise, scaled_linear_step(timestep))
        unet, width = self.base.denoiser.unet, self.base.projector.width
        with self.base.autocast(unet):
            features = features_of(unet, noisy, timestep, text, width=width)
        return [feature.float() for feature in features]


@dataclass(frozen=True)
class AdapterConfig(AdapterStageSettings):
    """Settings of the stage."""

    def build(self, context: Context) -> Stage:
        """Return the stage for the given device; only the photos are its data."""
        base = load_adapter_base(self, context.device)
        dtype = torch.bfloat16 if self.mixed_precision else torch.float32
        return AdapterStage(
            base,
            open_examples(base, self),
            compare_in_autoencoder(base.autoencoder),
            self,
            open_teacher(self, NetworkReader(context.device, dtype, allow_pickle=False)),
            open_dists(self, context.device),
        )


def features_of(
    unet: UNet2DConditionModel, latents: Tensor, timestep: int, text: TextCondition, *, width: int
) -> list[Tensor]:
    """Run the way down and the middle of an installed U-Net, its identity branches silent.

    Takes noisy latents (B, C, h, w) and the `width` of an identity token; returns features
    (B, C, h, w) of the coarsest scales, fine to coarse.
    """
    states = text.hidden_states.to(latents)
    embedded = unet.time_embedding(
        unet.get_time_embed(sample=latents, timestep=timestep).to(latents.dtype)
    )
    added = unet.get_aug_embed(embedded, states, added_conditions(unet, latents, text) or {})
    embedded = embedded if added is None else embedded + added
    kwargs = {"condition": silent_condition(latents, width=width), "notes": {}}
    attends = {"encoder_hidden_states": states, "cross_attention_kwargs": kwargs}
    hidden = unet.conv_in(latents)
    features = []
    for block in unet.down_blocks:
        crosses = getattr(block, "has_cross_attention", False)
        hidden, _ = block(hidden, embedded, **(attends if crosses else {}))
        features.append(hidden)
    features.append(unet.mid_block(hidden, embedded, **attends))
    return features[-NUM_SCALES:]


def discriminator_terms(
    discriminator: Discriminator, real: Sequence[Tensor], fake: Sequence[Tensor], *, subject: Tensor
) -> dict[str, Tensor]:
    """Return the hinge loss and R1, the squared gradient with respect to a photo's features.

    R1 is taken at the features, not at the latents: fused attention has no second derivative.
    """
    leaves = [features.detach().requires_grad_(True) for features in real]
    on_real = discriminator(leaves, subject)
    on_fake = discriminator([features.detach() for features in fake], subject)
    slopes = torch.autograd.grad(on_real.sum(), leaves, create_graph=True)
    steepness = torch.stack([slope.square().sum((1, 2, 3)) for slope in slopes]).sum(0)
    return {
        "hinge": F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean(),
        "r1": R1 / 2 * steepness.mean(),
    }
