"""The adapter stage: both branches learn through the one-step generator itself."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.adapters import REFERENCE_TIMESTEP
from swiftpie.backbones.load.adapter_file import save_adapter
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.vision import Feature
from swiftpie.noise import add_noise, scaled_linear_step
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import discriminator_terms, features_of, use_low_rank
from swiftpie_lab.training.loop import Stage, Update
from swiftpie_lab.training.losses import Compare, compare_in_autoencoder, loss_of_gradient, map_loss
from swiftpie_lab.training.stages.adapter.check import Branch, figures_of, identity_losses
from swiftpie_lab.training.stages.adapter.examples import Examples, ExampleSource, open_examples
from swiftpie_lab.training.stages.adapter.networks import (
    AdapterBase,
    AdapterNetworks,
    AdapterStageSettings,
    load_adapter_base,
    use_trained_layers,
)
from swiftpie_lab.training.stages.adapter.student import (
    StudentPass,
    draw_chances,
    no_drops,
    picture_terms,
    run_student,
)
from swiftpie_lab.training.stages.adapter.teacher import (
    AdapterTeacher,
    TeacherConditions,
    fake_loss,
    load_teacher,
    noise_generator,
    parts_of,
    score_difference,
)

ADAPTER_FILE = "adapter.safetensors"
FULL_STRENGTH = {"identity_scale": 1.0, "detail_scale": 1.0}  # not tuned
SHOWN = 4  # examples on the sheet, at most
SHOWN_DRAW = 2**31 - 1
LATEST_JUDGED = 600  # the discriminator sees latents noised up to this timestep


@dataclass(frozen=True, eq=False)
class AdapterStage:
    """Draw the subject of a reference again; only what the adapter adds is trained.

    After arXiv:2605.01510, as far as its abstract tells: self-reconstruction with a perceptual loss
    in pixels and an adversarial loss in latents; forms and weights of the terms are ours. `compare`
    may be any perceptual distance. With a teacher, the distribution of pictures is matched to the
    teacher's as well, as in arXiv:2405.14867.
    """

    base: AdapterBase
    example_source: ExampleSource
    compare: Compare
    settings: AdapterStageSettings
    teacher: AdapterTeacher | None = None  # to match

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The adapter, its discriminator, and the fake score if there is a teacher."""
        groups: dict[str, tuple[str, ...]] = {
            "adapter": ("projector", "semantic", "detail"),
            "discriminator": ("discriminator",),
        }
        return groups if self.teacher is None else {**groups, "critic": ("critic",)}

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""
        return self.settings.batch_size

    def network(self) -> AdapterNetworks:
        """Return new networks with a fixed initialisation; the frozen base is not among them."""
        if self.teacher is None:
            return AdapterNetworks(self.base)
        return AdapterNetworks(self.base, self.teacher.low_rank)

    def updates(self, network: AdapterNetworks, step: int, draw: int) -> Iterator[Update]:
        """Yield what the adapter learns, then its discriminator and its fake score, if they do.

        All see the same pictures. With a teacher, the fake score learns at every step and the
        others at some.
        """
        teacher, settings = self.teacher, self.settings
        examples = self.example_source.batch(settings.batch_size, draw)
        chances = draw_chances(len(examples.noise), settings.drops, seed=draw)
        is_its_turn = teacher is None or step % settings.teacher.student_every == 0
        with torch.set_grad_enabled(is_its_turn), self.base.autocast():
            outcome = run_student(self.base, network, examples, chances)
        terms = self._terms(outcome, examples) if is_its_turn else {}
        if teacher is None:
            yield from self._adapter_updates(network, outcome, examples, terms, draw=draw)
            return
        use_low_rank(teacher.denoiser.unet, network.critic_parts())
        generator = noise_generator(draw)
        with self.base.autocast():
            conditions = teacher.conditions(self.base, examples, outcome)
        if is_its_turn:
            terms["matching"] = self._matching(teacher, outcome.clean, conditions, generator)
            yield from self._adapter_updates(network, outcome, examples, terms, draw=draw)
        with self.base.autocast():
            loss = fake_loss(teacher, outcome.clean, conditions, generator)
        yield Update("critic", {"critic": loss})

    def _adapter_updates(
        self,
        network: AdapterNetworks,
        outcome: StudentPass,
        examples: Examples,
        terms: dict[str, Tensor],
        *,
        draw: int,
    ) -> Iterator[Update]:
        weights = self.settings.loss
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
        shown = self.example_source.batch(size, SHOWN_DRAW)
        chances = no_drops(size, read_at=REFERENCE_TIMESTEP)
        with self.base.autocast():
            outcome = run_student(self.base, network, shown, chances)
            drawn = self.base.autoencoder.decode(outcome.clean).float().clamp(-1, 1)
        rows = [to_pil(row[:SHOWN]) for row in (shown.reference, drawn, shown.pixels)]
        contact_sheet(rows, cell_px=min(256, drawn.shape[-1])).save(path)
        batches = []
        for number in range(math.ceil(self.settings.num_judged / size)):
            examples = self.example_source.batch(size, SHOWN_DRAW - number)
            with self.base.autocast():
                batches.append(identity_losses(self.base, network, examples))
        return figures_of(
            {name: torch.cat([batch[name] for batch in batches], 1) for name in Branch}
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
            force=True,
        )

    def _terms(self, outcome: StudentPass, examples: Examples) -> dict[str, Tensor]:
        settings, weights = self.settings, self.settings.loss
        terms: dict[str, Tensor] = {}
        if weights.latents:
            terms["latents"] = weights.latents * F.mse_loss(outcome.clean, examples.latents.float())
        if weights.maps:
            terms["maps"] = weights.maps * map_loss(outcome.maps, examples.mask)
        count = min(settings.pixel_samples, len(outcome.clean))
        if count and (weights.subject or weights.whole or weights.identity):
            with self.base.autocast():
                drawn = self.base.autoencoder.decode(outcome.clean[:count])
                judge = self.base.reader(Feature.EMBEDS)
                terms |= picture_terms(
                    drawn, examples, weights=weights, compare=self.compare, judge=judge
                )
        return terms

    def _matching(
        self,
        teacher: AdapterTeacher,
        generated: Tensor,
        conditions: TeacherConditions,
        generator: torch.Generator,
    ) -> Tensor:
        with self.base.autocast():
            blank = teacher.without_conditions(self.base, conditions)
            gradient = score_difference(teacher, generated.detach(), conditions, blank, generator)
        return self.settings.loss.matching * loss_of_gradient(generated, gradient).float()

    def _discriminator_features(
        self, latents: Tensor, text: TextCondition, draw: int
    ) -> list[Tensor]:
        generator = torch.Generator().manual_seed(draw % 2**63)
        timestep = int(torch.randint(LATEST_JUDGED + 1, (), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(latents.float(), noise, scaled_linear_step(timestep))
        unet, width = self.base.denoiser.unet, self.base.projector.width
        with self.base.autocast():
            features = features_of(unet, noisy, timestep, text, width=width)
        return [feature.float() for feature in features]


@dataclass(frozen=True)
class AdapterConfig(AdapterStageSettings):
    """Settings of the stage."""

    def build(self, context: Context) -> Stage:
        """Return the stage for the given device; only the photos are its data.

        Raises:
            ConfigError: A term lacks what it needs.
        """
        if self.loss.matching:
            parts_of(self.teacher)  # refuses what is not named before anything is loaded
        base = load_adapter_base(self, context.device)
        return AdapterStage(
            base,
            open_examples(base, self),
            compare_in_autoencoder(base.autoencoder),
            self,
            teacher=load_teacher(self, base) if self.loss.matching else None,
        )
