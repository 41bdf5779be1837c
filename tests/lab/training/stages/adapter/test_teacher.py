import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from swiftpie.backbones.load.safe import flatten
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie.noise import PredictionType
from swiftpie_lab.training.critics import use_low_rank
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.losses import FIRST_COMPARED, LAST_COMPARED
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops, LossWeights
from swiftpie_lab.training.stages.adapter.student import draw_chances, no_drops, run_student
from swiftpie_lab.training.stages.adapter.teacher import noise_generator, score_difference
from swiftpie_lab.training.state import read_state
from tests.backbones.tiny_models import ADAPTERS, make_own_adapter, make_unet
from tests.lab.training.stages.conftest import unseen
from tests.parity.ip_adapter import WIDTHS, adapter_tensors, projector_shapes, theirs, tiny_unet

EVERY_TERM = LossWeights(latents=0.1, matching=1.0)


@torch.no_grad()
def conditions_with(stage, drops):
    examples = stage.example_source.batch(2, 5)
    chances = draw_chances(2, drops, seed=5)
    outcome = run_student(stage.base, stage.network(), examples, chances)
    return outcome, stage.teacher.conditions(stage.base, examples, outcome)


@pytest.mark.thorough
def test_the_teacher_reads_what_the_student_reads(build_matching):
    stage = build_matching(teacher={"strength": 0.5})
    never = AdapterDrops(semantic=0, detail=0, both=0, text=0, rescaled=0)
    for drops, scale in (
        (never, 0.5),
        (AdapterDrops(semantic=1, detail=0, both=0, text=0, rescaled=0), 0.5),
        (AdapterDrops(semantic=0, detail=1, both=0, text=0, rescaled=0), 0.5),
        (AdapterDrops(semantic=0, detail=0, both=1, text=1, rescaled=0), 0.0),
    ):
        outcome, conditions = conditions_with(stage, drops)
        assert conditions.attention.identity_scale.tolist() == [[scale], [scale]]
        assert torch.equal(conditions.attention.region, outcome.attention.region)
        assert conditions.text is outcome.text
        empty = stage.base.components.text.encode([""]).repeat(2)
        # Prompts that are encoded together round otherwise than apart.
        is_empty = torch.allclose(
            conditions.text.hidden_states, empty.hidden_states, rtol=1e-3, atol=1e-4
        )
        assert is_empty == bool(drops.text)


@pytest.mark.thorough
def test_a_teacher_with_both_branches_reads_references_itself(build_matching, tmp_path):
    adapter = make_own_adapter(tmp_path / "own.safetensors", "sd21", is_shallow=True)
    stage = build_matching(teacher={"adapter": adapter})
    _, conditions = conditions_with(stage, AdapterDrops(semantic=0, detail=0, both=0))
    assert conditions.attention.keys.keys() == stage.teacher.denoiser.installation.detail.keys()
    assert len(conditions.attention.keys) > 0
    update = list(stage.updates(stage.network(), 1, 5))[-1]
    assert torch.isfinite(update.terms["critic"])


@pytest.mark.thorough
def test_the_fake_score_learns_at_every_step_and_the_others_at_some(build_matching):
    stage = build_matching(teacher={"student_every": 2}, loss=EVERY_TERM)
    network = stage.network()
    asked = [[update.group for update in stage.updates(network, step, step)] for step in range(3)]
    everyone = ["adapter", "discriminator", "critic"]
    assert asked == [everyone, ["critic"], everyone]
    assert list(stage.groups) == everyone


def test_without_a_weight_there_is_no_teacher(build_matching):
    stage = build_matching(loss=LossWeights())
    assert stage.teacher is None
    assert list(stage.groups) == ["adapter", "discriminator"]
    assert not any(name.startswith("critic") for name in stage.network().state_dict())


@pytest.mark.thorough
def test_all_terms_together_go_on_bit_for_bit(build_matching, tmp_path):
    loop = LoopConfig(steps=2, learning_rate=1e-3, save_every=1, log_every=1, uses_muon=False)

    def stage():
        return unseen(build_matching(teacher={"student_every": 2}, loss=EVERY_TERM, batch_size=1))

    events = list(fit(stage(), loop, tmp_path / "whole"))
    wanted = {"latents", "maps", "subject", "whole", "identity", "adversarial", "hinge", "r1"}
    assert wanted | {"matching", "critic"} <= events[0].losses.keys()
    list(fit(stage(), loop, tmp_path / "parts", time_limit_s=0.0))
    list(fit(stage(), loop, tmp_path / "parts"))
    whole, parts = (read_state(tmp_path / name).tensors for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    # Of teacher and base nothing is kept, but for two small factors a layer.
    critic = [name for name in whole if name.startswith("network/network/critic")]
    assert critic
    assert all("lora_A" in name or "lora_B" in name for name in critic)


def test_what_cannot_be_a_teacher_is_refused(build_matching, tmp_path):
    for part in ("unet", "adapter"):
        with pytest.raises(ConfigError, match=rf"stage\.teacher\.{part} is not set"):
            build_matching(teacher={part: None})
    with pytest.raises(ConfigError, match="predicts is flow"):
        build_matching(teacher={"predicts": PredictionType.FLOW})
    with pytest.raises(WeightsError, match="cross_attention_dim 24, and the student has 32"):
        build_matching(teacher={"unet": make_unet(tmp_path / "sd15", "sd15")})
    tensors = adapter_tensors(ADAPTERS["sd21"], tiny_unet("sd21", is_shallow=True))
    shapes = projector_shapes("face", WIDTHS["sd21"])
    tensors["image_proj"] = {name: torch.ones(shape) for name, shape in shapes.items()}
    save_file(flatten(tensors), tmp_path / "face.safetensors")
    with pytest.raises(CapabilityError, match="face vectors"):
        build_matching(teacher={"adapter": tmp_path / "face.safetensors"})


DRAW = 3


def excite(network):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for path, part in network.critic_parts().items():
            if "lora_B" in path:
                part.weight.copy_(0.3 * torch.randn(part.weight.shape, generator=generator))


@torch.no_grad()
def conditions_by(stage, network):
    use_low_rank(stage.teacher.denoiser.unet, network.critic_parts())
    examples = stage.example_source.batch(2, DRAW)
    outcome = run_student(stage.base, network, examples, no_drops(2, read_at=250))
    return examples, outcome, stage.teacher.conditions(stage.base, examples, outcome)


class Dense:
    """A teacher in float64 by diffusers alone, with a dense change of its queries and values."""

    def __init__(self, place, parts=None, *, scale=0.0):
        unet = UNet2DConditionModel.from_pretrained(place / "teacher").double()
        for path, part in (parts or {}).items():
            if "lora_A" in path:
                up = parts[path.replace("lora_A", "lora_B")].weight.detach().double()
                layer = unet.get_submodule(path.partition(".lora_A")[0])
                layer.weight.data += scale * up @ part.weight.detach().double()
        unet.requires_grad_(requires_grad=False)
        self.pipeline = theirs(
            unet, adapter_tensors(ADAPTERS["sd21"], tiny_unet("sd21", is_shallow=True))
        )
        self.pipeline.unet.double()

    def noise(self, noisy, timesteps, text, embeds, *, strength):
        self.pipeline.set_ip_adapter_scale(strength)
        predicted = self.pipeline.unet(
            noisy.double(),
            timesteps,
            text.hidden_states.double(),
            added_cond_kwargs={"image_embeds": [embeds[:, None]]},
        )
        return predicted.sample.numpy()


def embeds_of(place, examples):
    tower = CLIPVisionModelWithProjection.from_pretrained(place / "encoder").double()
    mean, std = (torch.tensor(values).double().view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    visible = ((examples.reference.double() + 1) / 2 - mean) / std * examples.reference_mask
    small = F.interpolate(visible, size=(32, 32), mode="bicubic", antialias=True)
    return tower(small).image_embeds


def noised_in_double(clean):
    generator = noise_generator(DRAW)
    noise = torch.randn(clean.shape, generator=generator).double().numpy()
    timesteps = torch.randint(FIRST_COMPARED, LAST_COMPARED + 1, (len(clean),), generator=generator)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = np.cumprod(1 - betas)[timesteps.numpy()].reshape(-1, 1, 1, 1)
    alpha, sigma = signal**0.5, (1 - signal) ** 0.5
    return alpha * clean.double().numpy() + sigma * noise, timesteps, alpha, sigma


@pytest.mark.thorough
@torch.no_grad()
def test_the_gradient_is_the_normalised_difference_of_dense_scores(build_matching, place):
    stage = build_matching(teacher={"alpha": 5, "guidance": 3.0, "strength": 0.7})
    network = stage.network()
    excite(network)
    examples, outcome, conditions = conditions_by(stage, network)
    nothing = stage.teacher.without_conditions(stage.base, conditions)
    found = score_difference(
        stage.teacher, outcome.clean, conditions, nothing, noise_generator(DRAW)
    )
    noisy, timesteps, alpha, sigma = noised_in_double(outcome.clean)
    prompt, empty = (
        stage.base.components.text.encode(words) for words in (examples.captions, ["", ""])
    )
    embeds = embeds_of(place, examples)
    teacher = Dense(place)
    fake = Dense(place, network.critic_parts(), scale=5 / 2)
    ask = (torch.from_numpy(noisy), timesteps)
    noises = [
        teacher.noise(*ask, prompt, embeds, strength=0.7),
        teacher.noise(*ask, empty, embeds, strength=0.0),
        fake.noise(*ask, prompt, embeds, strength=0.7),
    ]
    shown, blank, followed = ((noisy - sigma * noise) / alpha for noise in noises)
    assert np.abs(shown - blank).max() > 0.1
    guided = blank + 3.0 * (shown - blank)
    distance = np.abs(outcome.clean.double().numpy() - guided).mean((1, 2, 3), keepdims=True)
    wanted = (followed - guided) / distance
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5)


@pytest.mark.thorough
def test_the_term_moves_latents_along_the_gradient_and_no_weight_of_the_scores(build_matching):
    stage = build_matching(loss=LossWeights(matching=2.0, subject=0, whole=0, identity=0, maps=0))
    network = stage.network()
    excite(network)
    _, outcome, conditions = conditions_by(stage, network)
    generated = outcome.clean.requires_grad_()
    term = stage._matching(stage.teacher, generated, conditions, noise_generator(DRAW))
    nothing = stage.teacher.without_conditions(stage.base, conditions)
    gradient = score_difference(
        stage.teacher, generated, conditions, nothing, noise_generator(DRAW)
    )
    (found,) = torch.autograd.grad(term, generated)
    torch.testing.assert_close(found.double(), 2 * gradient / gradient.numel(), rtol=1e-5, atol=0)
    first = next(stage.updates(network, 0, DRAW))
    assert first.terms.keys() == {"matching", "adversarial"}
    network.zero_grad()
    first.terms["matching"].backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"projector", "semantic", "detail"}
