"""The adapter stage: both branches learn through the one-step generator itself."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from swiftpie.backbones.adapters import REFERENCE_TIMESTEP
from swiftpie.backbones.checkpoints.adapter_file import save_adapter
from swiftpie.images import contact_sheet, to_pil
from swiftpie.models.projection import Feature
from swiftpie.schedules import add_noise, scaled_linear_step
from swiftpie.training.loop import Update
from swiftpie.training.stages.adapter.base import Base, load_base
from swiftpie.training.stages.adapter.discriminator import features_of, real_and_fake_terms
from swiftpie.training.stages.adapter.examples import Examples, Supply, make_supply
from swiftpie.training.stages.adapter.forward import (
    Outcome,
    draw_chances,
    everything,
    run_student,
)
from swiftpie.training.stages.adapter.losses import (
    identity_cosine,
    latent_term,
    map_term,
    picture_terms,
)
from swiftpie.training.stages.adapter.networks import AdapterNetworks, wear
from swiftpie.training.stages.adapter.perceptual import (
    Compare,
    autoencoder_features,
    feature_distance,
    model_features,
)
from swiftpie.training.stages.adapter.settings import AdapterSettings
from swiftpie.types import TextCondition

ADAPTER_FILE = "adapter.safetensors"
FULL_STRENGTH = {"identity_scale": 1.0, "detail_scale": 1.0}  # not tuned
SHOWN = 4  # examples on the sheet
SHOWN_DRAW = 2**31 - 1
LATEST_JUDGED = 600  # the discriminator sees latents noised up to this timestep


@dataclass(frozen=True, eq=False)
class AdapterStage:
    """Draw the subject of a reference again; only what the adapter adds is trained.

    From arXiv:2605.01510: self-reconstruction with a perceptual loss in pixels and an adversarial
    loss in latents. `compare` may be any perceptual distance.
    """

    base: Base
    supply: Supply
    compare: Compare
    settings: AdapterSettings
    groups: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "adapter": ("projector", "semantic", "detail"),
            "discriminator": ("discriminator",),
        }
    )

    @property
    def samples_per_step(self) -> int:
        """Pictures in one batch."""
        return self.settings.batch_size

    def network(self) -> nn.Module:
        """Return new networks with a fixed initialisation; the frozen base is not among them."""
        return AdapterNetworks(self.base)

    def updates(self, network: nn.Module, step: int, draw: int) -> Iterator[Update]:
        """Yield what the adapter learns, and then what the discriminator learns, if it takes part.

        Both see the same pictures.
        """
        del step
        assert isinstance(network, AdapterNetworks)
        weights = self.settings.loss
        examples = self.supply.batch(self.settings.batch_size, draw)
        chances = draw_chances(len(examples.noise), self.settings.drops, seed=draw)
        with self._autocast():
            outcome = run_student(self.base, network, examples, chances)
        terms = self._terms(outcome, examples)
        if not weights.adversarial:
            yield Update("adapter", terms)
            return
        seen = self._judged(outcome.clean, outcome.text, draw)
        score = network.discriminator(seen, outcome.subject)
        yield Update("adapter", {**terms, "adversarial": -weights.adversarial * score.mean()})
        with torch.no_grad():
            real = self._judged(examples.latents, outcome.text, draw)
        yield Update(
            "discriminator",
            real_and_fake_terms(network.discriminator, real, seen, subject=outcome.subject),
        )

    @torch.no_grad()
    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Save references, what is drawn of them and the targets; return the subjects' cosine."""
        examples = self.supply.batch(SHOWN, SHOWN_DRAW)
        chances = everything(SHOWN, read_at=REFERENCE_TIMESTEP)
        assert isinstance(network, AdapterNetworks)
        with self._autocast():
            outcome = run_student(self.base, network, examples, chances)
            drawn = self.base.autoencoder.decode(outcome.clean).float().clamp(-1, 1)
            judge = self.base.reader(Feature.EMBEDS)
            cosine = identity_cosine(judge, drawn, examples.pixels, mask=examples.mask)
        rows = [to_pil(row) for row in (examples.reference, drawn, examples.pixels)]
        contact_sheet(rows, cell_px=min(256, drawn.shape[-1])).save(path)
        return {"identity_cosine": float(cosine.float().mean())}

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write the adapter as one file, which `--adapter` takes."""
        assert isinstance(network, AdapterNetworks)
        folder.mkdir(parents=True, exist_ok=True)
        wear(self.base, network, reference_timestep=REFERENCE_TIMESTEP)
        save_adapter(
            folder / ADAPTER_FILE,
            installation=self.base.denoiser.installation,
            projector=network.projector,
            family=self.base.components.preset.family.value,
            t_ref=REFERENCE_TIMESTEP,
            defaults=FULL_STRENGTH,
            force=True,
        )

    def _terms(self, outcome: Outcome, examples: Examples) -> dict[str, Tensor]:
        """Return the weighted terms of the adapter, but for the adversarial one."""
        weights = self.settings.loss
        terms: dict[str, Tensor] = {}
        if weights.latents:
            terms["latents"] = weights.latents * latent_term(outcome, examples)
        if weights.maps:
            terms["maps"] = weights.maps * map_term(outcome, examples)
        count = min(self.settings.pixel_samples, len(outcome.clean))
        if count and (weights.subject or weights.whole or weights.identity):
            with self._autocast():
                terms |= picture_terms(
                    self.base.autoencoder.decode(outcome.clean[:count]),
                    examples,
                    weights=weights,
                    compare=self.compare,
                    judge=self.base.reader(Feature.EMBEDS),
                )
        return terms

    def _judged(self, latents: Tensor, text: TextCondition, draw: int) -> list[Tensor]:
        """Return what the discriminator sees of clean latents: features of noised ones."""
        generator = torch.Generator().manual_seed(draw % 2**63)
        timestep = int(torch.randint(LATEST_JUDGED + 1, (), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(latents.float(), noise, scaled_linear_step(timestep))
        unet, width = self.base.denoiser.unet, self.base.projector.width
        with self._autocast():
            features = features_of(unet, noisy, timestep, text, width=width)
        return [one.float() for one in features]

    def _autocast(self) -> AbstractContextManager[object]:
        kind = self.base.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.autocast)


def build_stage(settings: AdapterSettings, device: str) -> AdapterStage:
    """Load everything that `settings` name."""
    base = load_base(settings, device)
    if settings.perceptual is None:
        extract = autoencoder_features(base.autoencoder)
    else:
        extract = model_features(settings.perceptual, base.device)
    return AdapterStage(base, make_supply(base, settings), feature_distance(extract), settings)
