"""The subject stage of models that place subjects, as `mini`: two networks around one identity.

What is trained are the subject's tokens, keys and values, as `swiftpie tune` trains them, so that
the networks keep every weight and the result is an identity like any other.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from swiftpie.attention.condition import silent_condition
from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import to_affine, warp
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.pipelines.identity_file import save_identity
from swiftpie.schedules import PredictionType
from swiftpie.tuning.change import Features, features_of
from swiftpie.tuning.examples import clean_latents, conditioned, subject_psnr
from swiftpie.tuning.fit import digest_of
from swiftpie.tuning.methods.tokens import Tokens
from swiftpie.types import Identity
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import Discriminator, coarse_features, widths_of
from swiftpie_lab.training.losses import add_noise_at, draw_levels
from swiftpie_lab.training.perceptual import Compare, compare_in_autoencoder
from swiftpie_lab.training.stages.subject.echo import (
    NOISE_SEED,
    Echo,
    EchoNetworks,
    EchoStage,
    SubjectBatch,
    noise_loss,
    noised_for_judging,
)
from swiftpie_lab.training.stages.subject.scenes import (
    PlacedBase,
    PlacedSubjectSettings,
    load_pair,
    placed_base,
    read_subject,
)

IDENTITY_FILE = "subject.spid"
TUNED = "echo-distill"


class PlacedNetworks(EchoNetworks):
    """Tokens, keys and values of the subject for each network; the tokens of both are one."""

    def __init__(self, base: PlacedBase) -> None:
        super().__init__()
        self.teacher = Tokens(features_of(base.taught))
        self.student = Tokens(features_of(base.own))
        widths, device = widths_of(unet_of(base.teacher)), base.teacher.device
        self.discriminator = Discriminator(widths, subject=base.own.pooled.shape[1]).to(device)
        shape = base.scenes[0].example.untuned.shape[1:]
        self.add_echoes(base.settings.echo.num_pictures, (shape[0], shape[1], shape[2]), device)
        self._subject = torch.tensor([*bytes.fromhex(digest_of(base.own))], dtype=torch.uint8)

    def get_extra_state(self) -> Tensor:
        """Return a digest of the subject, so that no state goes on with another one."""
        return self._subject

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of another subject.

        Raises:
            ValueError: It is one.
        """
        if not torch.equal(state.cpu(), self._subject):
            raise ValueError("it is of other pictures or other weights")

    def student_features(self) -> Features:
        """Return the student's keys and values beside the tokens, which are the teacher's."""
        tokens, pooled = self.teacher()[:2]
        return self.student()._replace(tokens=tokens.detach(), pooled=pooled.detach())


def unet_of(components: Components) -> UNet2DConditionModel:
    """Return the U-Net in a denoiser.

    Raises:
        CapabilityError: It has none.
    """
    network = components.denoiser.installation.network
    if not isinstance(network, UNet2DConditionModel):
        raise CapabilityError(
            f"Preset {components.preset.name!r} has a {type(network).__name__}. EchoDistill judges "
            "pictures by the features of a U-Net. Choose a preset that has one."
        )
    return network


@dataclass(frozen=True, eq=False)
class PlacedSubjectStage(EchoStage[PlacedNetworks, int]):
    """Tune an identity of a one-step model beside that of its teacher.

    Differs from the paper: the word is the subject's identity tokens; keys and values are trained
    themselves, not the weights that make them. So nothing of a class can be forgotten, and what
    stays is the scene around the subject. Pictures of the subject are its own, in place in scenes.
    """

    base: PlacedBase
    settings: PlacedSubjectSettings
    compare: Compare

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """Its features; of them, the student reads the tokens."""
        return ("teacher",)

    @property
    def predicts(self) -> PredictionType:
        """As its schedule says."""
        return self.base.teacher.schedule.prediction_type

    @property
    def samples_per_step(self) -> int:
        """One picture."""
        return 1

    def network(self) -> PlacedNetworks:
        """Return the features as encoders read them."""
        return PlacedNetworks(self.base)

    def begin(self, network: PlacedNetworks) -> None:
        """Do nothing: features are handed to each call."""

    @torch.no_grad()
    def batch(self, network: PlacedNetworks, draw: int) -> SubjectBatch[int]:
        """Return one scene by number, with the subject's own picture or an echo in it."""
        (number,) = self.echo_of_rows(network, 1, draw)
        if number is None:
            place = draw % self.settings.num_scenes
            latents = self.base.answers[place]
        else:
            place, latents = int(network.echo_places[number]), network.echoes[number][None]
        example, frame = self.base.scenes[place]
        mask = resize_mask(example.mask, (latents.shape[2], latents.shape[3]))
        own, rows = self.base.own, slice(frame, frame + 1)
        return SubjectBatch(latents, mask, place, mask, own.pixels[rows], own.mask[rows])

    def teacher_terms(
        self, network: PlacedNetworks, batch: SubjectBatch[int], draw: int
    ) -> dict[str, Tensor]:
        """Return the error of the teacher's answer to one noised picture."""
        generator = torch.Generator().manual_seed((NOISE_SEED + draw) % 2**63)
        noise = torch.randn(batch.latents.shape, generator=generator).to(batch.latents)
        levels = draw_levels(generator, like=batch.latents)
        noisy = add_noise_at(batch.latents, noise, levels)
        raw = self.teach(network, noisy, levels.timesteps, batch)
        background = self.settings.loss.background
        share = background + (1 - background) * batch.mask
        loss = noise_loss(
            raw, batch.latents, noise, levels=levels, kind=self.predicts, weight=share
        )
        return {"subject": loss.float()}

    def draw(self, network: PlacedNetworks, batch: SubjectBatch[int], draw: int) -> Tensor:
        """Return the student's picture of the scene, which has its own noise."""
        del draw
        example = self.base.scenes[batch.told].example
        return clean_latents(self.base.student, example, network.student_features())

    def teach(
        self, network: PlacedNetworks, noisy: Tensor, timesteps: Tensor, batch: SubjectBatch[int]
    ) -> Tensor:
        """Return the teacher's answer in the same scene."""
        example = self.base.scenes[batch.told].example
        condition = conditioned(example, network.teacher())
        found = self.base.teacher.denoiser(noisy, timesteps, example.drawing.text, condition, {})
        return found.sample

    def student_terms(
        self, network: PlacedNetworks, drawn: Tensor, batch: SubjectBatch[int], draw: int
    ) -> dict[str, Tensor]:
        """Return how far the student is from teacher and references, and the scene from before."""
        example = self.base.scenes[batch.told].example
        moved = ((drawn - example.untuned).square() * example.around).mean()
        terms = super().student_terms(network, drawn, batch, draw)
        return terms | {"prior": self.settings.loss.prior * moved}

    def features(self, latents: Tensor, draw: int) -> list[Tensor]:
        """Return features of the teacher that is told the class alone, and sees no subject."""
        noisy, timestep = noised_for_judging(latents, draw)
        drawing, width = self.base.scenes[0].example.drawing, self.base.own.pooled.shape[1]
        condition = drawing.condition
        nobody = condition._replace(
            attention=silent_condition(latents, width=width),
            pooled=torch.zeros_like(condition.pooled),
            aligned=torch.zeros_like(condition.aligned),
            pose=torch.zeros_like(condition.pose),
        )
        with coarse_features(unet_of(self.base.teacher)) as seen:
            self.base.teacher.denoiser(noisy, timestep, drawing.text, nobody, {})
        return seen

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels."""
        return self.base.student.autoencoder.decode(latents)

    def known(self, batch: SubjectBatch[int]) -> Tensor:
        """Return the summary that the model's own encoder makes of the reference."""
        return self._embed(batch.reference, batch.reference_mask)

    def seen(self, pixels: Tensor, batch: SubjectBatch[int]) -> Tensor:
        """Return the same of the drawn subject, brought back to where the reference shows it."""
        return self._seen(pixels, batch.told)

    def real_vectors(self) -> Tensor:
        """Return vectors of the references, and of them in their scenes."""
        own = self.base.own
        scenes = range(self.settings.num_scenes)
        shown = [self._seen(self.base.scenes[place].example.wanted, place) for place in scenes]
        return torch.cat([self._embed(own.pixels, own.mask), *shown])

    def echo(self, network: PlacedNetworks, number: int, step: int) -> Echo:
        """Return what the student draws in a scene that shows no picture of the subject's own."""
        del step
        place = self.settings.num_scenes + number
        example = self.base.scenes[place].example
        latents = clean_latents(self.base.student, example, network.student_features())
        return Echo(latents, place, self._seen(self.decode(latents).clamp(-1, 1), place))

    @torch.no_grad()
    def sample(self, network: PlacedNetworks, path: Path) -> dict[str, float]:
        """Save wanted and drawn pictures that training does not see; return their PSNR in dB."""
        features = (features_of(self.base.own), network.student_features())
        rows = [
            [
                self.decode(clean_latents(self.base.student, check, made)).clamp(-1, 1)
                for check in self.base.checks
            ]
            for made in features
        ]
        wanted = [check.wanted for check in self.base.checks]
        sheet = [to_pil(torch.cat(row)) for row in (wanted, *rows)]
        contact_sheet(sheet, cell_px=wanted[0].shape[-1]).save(path)
        before, now = (fmean(map(subject_psnr, row, self.base.checks)) for row in rows)
        return {"own_psnr_db": now, "own_psnr_gain_db": now - before}

    @torch.no_grad()
    def tuned(self, network: PlacedNetworks) -> Identity:
        """Return the student's subject as an identity for its weights."""
        return replace(self.base.own, **network.student_features()._asdict(), tuned=TUNED)

    def export(self, network: PlacedNetworks, folder: Path) -> None:
        """Write the identity of the student."""
        save_identity(self.tuned(network), folder / IDENTITY_FILE, force=True)

    def _embed(self, pixels: Tensor, mask: Tensor) -> Tensor:
        tokens: Tensor = self.base.student.encoder_of_identity()(pixels, mask)
        return tokens[:, 0]

    def _seen(self, pixels: Tensor, place: int) -> Tensor:
        example, frame = self.base.scenes[place]
        to_frame = to_affine(example.drawing.layouts[0])
        linear = to_frame[..., :2].inverse()
        back = torch.cat([linear, -linear @ to_frame[..., 2:]], dim=2)
        mask = self.base.own.mask[frame : frame + 1]
        return self._embed(warp(pixels, back, (mask.shape[2], mask.shape[3])) * mask, mask)


@dataclass(frozen=True)
class PlacedSubjectConfig(PlacedSubjectSettings):
    """Settings of the stage, and what it is about."""

    data: Path = Path("photos")  # of one subject, with transparency or masks beside them
    preset: str = "mini"  # the one-step student
    weights: Path | None = None  # its own, if not those of the package
    teacher: str = "mini_teacher"  # a run, or a folder with an export
    size_px: int = 0  # of pictures; 0 is the preset's

    @property
    def sources(self) -> tuple[str, ...]:
        """The run of the teacher."""
        return (self.teacher,)

    def build(self, context: Context) -> PlacedSubjectStage:
        """Return the stage for the given device; only the pictures are its data.

        Raises:
            ConfigError: There is no such teacher, or it reads other tokens.
            InputError: There are no pictures, or too many.
        """
        student, teacher = load_pair(
            self.preset,
            self.weights,
            context.weights_of(self.teacher),
            size_px=self.size_px,
            device=context.device,
        )
        return placed_stage(placed_base(student, teacher, read_subject(student, self.data), self))


def placed_stage(base: PlacedBase) -> PlacedSubjectStage:
    """Return the stage around what was loaded; looks are compared in the autoencoder."""
    autoencoder = base.student.autoencoder
    assert isinstance(autoencoder, PatchAutoencoder), "presets that place subjects have no other"
    return PlacedSubjectStage(base, base.settings, compare_in_autoencoder(autoencoder))
