"""Distillation: on a plane where all is known, on random U-Nets, and against float64 by hand."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import nn

import swiftpie
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.noise import build_schedule
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import SINGLE_PROCESS, Context
from swiftpie_lab.training.loop import LoopConfig, TrainingRun
from swiftpie_lab.training.stages.distillation import (
    DistillationBase,
    DistillationConfig,
    DistillationStage,
    Kind,
    dmd_gradient,
)
from tests.lab.training.stages import conftest
from tests.quick import thorough_but

MODES = torch.tensor([[math.cos(turn), math.sin(turn)] for turn in torch.arange(4) * math.pi / 2])
MODES, SPREAD, BATCH = 4 * MODES, 0.5, 128
SIGNAL = torch.from_numpy(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))


class NoWords:
    """Reads every prompt as the same."""

    def encode(self, prompts):
        empty = torch.zeros(len(prompts), 1, 1)
        return TextCondition(empty, empty[..., 0], empty[:, 0])


class Mixture(ModelMixin, ConfigMixin):
    """The noise in points of a mixture of normal distributions, exactly."""

    @register_to_config
    def __init__(self, addition_embed_type=None):  # noqa: ARG002  diffusers keeps it
        super().__init__()
        self.modes = nn.Parameter(MODES)

    def forward(self, latents, timesteps, *_, **__):
        alpha, sigma = levels_of(timesteps)
        variance = (alpha * SPREAD).square() + sigma.square()
        apart = alpha[..., None] * self.modes - latents[:, None, :, 0, 0]
        share = (-apart.square().sum(2) / (2 * variance)).softmax(1)
        found = -sigma * (share[..., None] * apart).sum(1) / variance
        return UNet2DConditionOutput(sample=found[..., None, None])


class Points(ModelMixin, ConfigMixin):
    """A small network of points and levels of noise."""

    @register_to_config
    def __init__(self, addition_embed_type=None):  # noqa: ARG002  diffusers keeps it
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)
        )

    def forward(self, latents, timesteps, *_, **__):
        points = latents[:, :, 0, 0]
        levels = [level.expand(len(points), 1) for level in levels_of(timesteps)]
        found = points + self.layers(torch.cat([points, *levels], dim=1))
        return UNet2DConditionOutput(sample=found[..., None, None])


def levels_of(timesteps):
    signal = SIGNAL[timesteps].float().reshape(-1, 1)
    return signal.sqrt(), (1 - signal).sqrt()


class OnPlane(DistillationStage):
    """Its critic knows nothing at first, as no copy of what is exact can learn."""

    def network(self):
        network = super().network()
        network.critic = Points()
        return network


def plane(kind):
    torch.manual_seed(0)
    base = DistillationBase(
        student=Points().requires_grad_(False),
        teacher=Mixture().requires_grad_(False),
        text=NoWords(),
        autoencoder=None,
        schedule=build_schedule((999,), "sample"),
        latent_shape=(2, 1, 1),
        cell_px=8,
        prompts=[""],
    )
    config = DistillationConfig(
        kind=kind,
        guidance=1.0,
        critic_rank=0,
        student_every=1 + (kind is Kind.DMD2),
        adversarial=0.0,
        batch_size=BATCH,
        mixed_precision=False,
    )
    return OnPlane(base, config, None)


def points_of(stage, student):
    noise = torch.randn(1024, 2, 1, 1, generator=torch.Generator().manual_seed(9))
    text = stage.base.text.encode([""] * len(noise))
    with torch.no_grad():
        return stage.base.draw_once(student, noise, text)[:, :, 0, 0]


def landed(stage, student):
    """Return the least share of points that a mode gets, and the share near any mode."""
    points = points_of(stage, student)
    distance, mode = torch.cdist(points, MODES).min(1)
    near = distance < 3 * SPREAD
    counts = torch.bincount(mode[near], minlength=len(MODES))
    return float(counts.min()) / len(points), float(near.float().mean())


def trained(kind):
    stage = plane(kind)
    loop = LoopConfig(500, 4e-3, (4e-3, 8e-3), warmup_steps=1, uses_muon=False)
    run = TrainingRun.start(stage, loop, SINGLE_PROCESS)
    assert landed(stage, run.network.student)[1] < 0.2
    for step in range(loop.steps):
        run.train(step, 0.0)
    return stage, run.network.student


@pytest.mark.parametrize("kind", thorough_but(Kind, [Kind.VSD]))
def test_a_student_reaches_all_modes_of_a_mixture(kind):
    least, near = landed(*trained(kind))
    assert least > 0.08
    assert near > 0.5


def regressed():
    """Return a student that learned pictures of the mixture beside any noise."""
    stage = plane(Kind.VSD)
    student, chance = stage.network().student, torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(student.parameters(), lr=4e-3)
    text = stage.base.text.encode([""] * BATCH)
    for _ in range(300):
        noise, spread = torch.randn(2, BATCH, 2, 1, 1, generator=chance)
        mode = MODES[torch.randint(len(MODES), (BATCH,), generator=chance)]
        points = mode[..., None, None] + SPREAD * spread
        optimizer.zero_grad()
        (stage.base.draw_once(student, noise, text) - points).square().mean().backward()
        optimizer.step()
    return stage, student


def test_regression_on_pictures_of_the_mixture_reaches_none():
    assert landed(*regressed())[1] < 0.05


@pytest.fixture(scope="module")
def folder(models):
    return models / "sd21"


@pytest.fixture(scope="module")
def build(folder, tmp_path_factory):
    prompts = tmp_path_factory.mktemp("distillation") / "prompts.txt"
    prompts.write_text("a red cat\na dog on a sofa\n", encoding="utf-8")

    def build_stage(kind, **changes):
        settings = {
            "kind": kind,
            "weights": folder / "pipeline" / "unet",
            "base": str(folder / "pipeline"),
            "teacher": folder / "other_unet",
            "prompts": prompts,
            "num_real_steps": 2,
            "critic_rank": 2 * (kind is Kind.VSD),
            **conftest.EXACT,
        }
        context = Context(data=folder, runs=prompts.parent, device="cpu")
        return DistillationConfig(**settings | changes).build(context)

    return build_stage


def excited(network):
    """Change what is trained, as low-rank changes are zero at first."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.critic.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return network


@torch.no_grad()
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", Kind)
def test_gradients_are_those_of_the_papers_in_float64(build, folder, kind, predicts):
    stage = build(kind, teacher_predicts=predicts)
    network = excited(stage.network())
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    text = stage.base.text.encode(["a red cat", "a dog"])
    found = stage.gradient(network, latents, text, torch.Generator().manual_seed(2))

    chance = torch.Generator().manual_seed(2)
    times = torch.randint(20, 981, (2,), generator=chance)
    noise = torch.randn(latents.shape, generator=chance).double()
    alpha, sigma = ((s**0.5).view(2, 1, 1, 1) for s in (SIGNAL[times], 1 - SIGNAL[times]))
    noisy = alpha * latents.double() + sigma * noise
    teacher = UNet2DConditionModel.from_pretrained(folder / "other_unet").double()
    if kind is Kind.DMD2:
        critic = copy.deepcopy(network.critic).double()
    else:
        critic = copy.deepcopy(teacher)
        for path, up in network.critic.items():
            if "lora_B" in path:
                down = network.critic[path.replace("lora_B", "lora_A")].weight.double()
                layer = critic.get_submodule(path.replace("/", ".").partition(".lora_B")[0])
                layer.weight += (128 / 2) * up.weight.double() @ down

    def noise_by(unet, scale):
        told, blank = (
            unet(noisy, times, said.hidden_states.double()).sample
            for said in (text, stage.base.text.encode(["", ""]))
        )
        raw = blank + scale * (told - blank)
        return raw if predicts == "epsilon" else alpha * raw + sigma * noisy

    wanted, own = noise_by(teacher, 4.5), noise_by(critic, 4.5 if kind is Kind.VSD else 1.0)
    if kind is Kind.VSD:
        by_hand = sigma**2 * (wanted - own)
    else:
        wanted, own = ((noisy - sigma * seen) / alpha for seen in (wanted, own))
        size = (latents.double() - wanted).abs().mean((1, 2, 3), keepdim=True)
        by_hand = (own - wanted) / size
    assert by_hand.abs().max() > 1e-2
    torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.abs().max()))


def test_what_the_teacher_would_draw_itself_moves_nowhere():
    own, other = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    assert not dmd_gradient(own, own, other).any()
    assert dmd_gradient(own, other, own).eq(1).all()


def test_terms_are_the_papers_and_reach_what_they_train_alone(build):
    stage = build(Kind.DMD2, student_every=2)
    network = stage.network()
    names = []
    for step in (0, 1):
        for update in stage.updates(network, step, 3):
            network.zero_grad()
            torch.stack([*update.terms.values()]).sum().backward()
            touched = {n.split(".")[0] for n, w in network.named_parameters() if w.grad is not None}
            assert touched >= set(stage.groups[update.group])
            names.append((update.group, *update.terms))
    critic = ("critic", "critic", "discriminator")
    assert names == [("student", "distillation", "adversarial"), critic, critic]
    assert stage.base.teacher.conv_in.weight.grad is None


@torch.no_grad()
def test_a_critic_learns_what_was_drawn_and_real_pictures_are_the_teachers(build):
    stage = build(Kind.VSD)
    network, generated = excited(stage.network()), torch.randn(2, 4, 8, 8)
    text = stage.base.text.encode(["a red cat", "a dog"])
    found = stage._criticised(network, generated, text, torch.Generator().manual_seed(2))
    chance = torch.Generator().manual_seed(2)
    times = torch.randint(1000, (2,), generator=chance)
    noise = torch.randn(generated.shape, generator=chance)
    alpha, sigma = ((s**0.5).view(2, 1, 1, 1) for s in (SIGNAL[times], 1 - SIGNAL[times]))
    noisy = (alpha * generated + sigma * noise).float()
    raw = stage.critic(network)(noisy, times, text.hidden_states).sample
    torch.testing.assert_close(found.errors, (raw - noise).square().double(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.levels.alpha, alpha)
    pictures = build(Kind.DMD2, num_real=4).real
    assert torch.equal(pictures(0).latents, pictures(2).latents)
    assert not torch.equal(pictures(0).latents, pictures(1).latents)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Kind.VSD, {"student_rank": 2, "checkpointing": True}),
        (Kind.DMD2, {"critic_rank": 2, "mixed_precision": True}),
    ],
)
def test_a_run_goes_on_bit_for_bit_and_its_student_loads_as_a_preset(
    build, folder, kind, changes, tmp_path
):
    last = conftest.check_goes_on(partial(build, kind, **changes), tmp_path, learning_rate=1e-3)
    assert math.isfinite(last.losses["deviation"])
    unet = tmp_path / "whole" / "export" / "unet"
    session = swiftpie.load(
        "swiftbrush-v2", weights=unet, base=str(folder / "pipeline"), dtype="float32"
    )
    own = session.components.denoiser.unet.state_dict()
    before = UNet2DConditionModel.from_pretrained(folder / "pipeline" / "unet").state_dict()
    trained = UNet2DConditionModel.from_pretrained(unet).state_dict()
    assert all(torch.equal(own[name], weight.float()) for name, weight in trained.items())
    assert any(
        not torch.equal(weight.half(), before[name].half()) for name, weight in trained.items()
    )


@pytest.mark.parametrize(
    ("error", "said", "changes"),
    [
        (CapabilityError, "no Stable Diffusion of", {"preset": "mini"}),
        (ConfigError, "stage.teacher is not set", {"teacher": None}),
        (ConfigError, "stage.prompts is not set", {"prompts": None}),
        (WeightsError, "cross_attention_dim", {"teacher": "other"}),
    ],
)
def test_what_cannot_be_distilled_is_refused(build, folder, error, said, changes):
    if changes.get("teacher") == "other":
        changes = {"teacher": folder.parent / "sd15" / "other_unet"}
    with pytest.raises(error, match=said):
        build(Kind.VSD, **changes)
