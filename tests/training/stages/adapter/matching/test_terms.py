"""The gradient of matching against a dense formula, and a fake score that follows the student."""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie.training.critics import use_low_rank
from swiftpie.training.loop import LoopConfig, fit
from swiftpie.training.losses import FIRST_COMPARED, LAST_COMPARED
from swiftpie.training.stages.adapter_settings import LossWeights
from swiftpie.training.stages.adapter_student import no_drops, run_student
from swiftpie.training.stages.adapter_teacher import fake_loss, noise_generator, score_difference
from swiftpie.training.state import read_state
from tests.backbones.tiny_models import ADAPTERS
from tests.parity.ip_adapter import adapter_tensors, theirs, tiny_unet

DRAW = 3


def excite(network):
    """Let the fake score differ from the teacher."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for path, part in network.critic_parts().items():
            if "lora_B" in path:
                part.weight.copy_(0.3 * torch.randn(part.weight.shape, generator=generator))


@torch.no_grad()
def told_by(stage, network):
    """A batch, what the student made of it, and what the teacher is told."""
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
        self.pipeline = theirs(unet, adapter_tensors(ADAPTERS["sd21"], tiny_unet("sd21")))
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
    mean, std = (torch.tensor(one).double().view(1, 3, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
    visible = ((examples.reference.double() + 1) / 2 - mean) / std * examples.reference_mask
    small = F.interpolate(visible, size=(32, 32), mode="bicubic", antialias=True)
    return tower(small).image_embeds


def noised_in_double(clean):
    """Noisy latents, timesteps and levels by the textbook."""
    generator = noise_generator(DRAW)
    noise = torch.randn(clean.shape, generator=generator).double().numpy()
    timesteps = torch.randint(FIRST_COMPARED, LAST_COMPARED + 1, (len(clean),), generator=generator)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = np.cumprod(1 - betas)[timesteps.numpy()].reshape(-1, 1, 1, 1)
    alpha, sigma = signal**0.5, (1 - signal) ** 0.5
    return alpha * clean.double().numpy() + sigma * noise, timesteps, alpha, sigma


@torch.no_grad()
def test_the_gradient_is_the_normalised_difference_of_dense_scores(build_matching, place):
    stage = build_matching(teacher={"alpha": 5, "guidance": 3.0, "strength": 0.7})
    network = stage.network()
    excite(network)
    examples, outcome, told = told_by(stage, network)
    nothing = stage.teacher.without_conditions(stage.base, told)
    found = score_difference(stage.teacher, outcome.clean, told, nothing, noise_generator(DRAW))
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


def test_the_term_moves_latents_along_the_gradient_and_no_weight_of_the_scores(build_matching):
    stage = build_matching(loss=LossWeights(matching=2.0, subject=0, whole=0, identity=0, maps=0))
    network = stage.network()
    excite(network)
    _, outcome, told = told_by(stage, network)
    generated = outcome.clean.requires_grad_()
    term = stage._matching(stage.teacher, generated, told, noise_generator(DRAW))
    nothing = stage.teacher.without_conditions(stage.base, told)
    gradient = score_difference(stage.teacher, generated, told, nothing, noise_generator(DRAW))
    (found,) = torch.autograd.grad(term, generated)
    torch.testing.assert_close(found.double(), 2 * gradient / gradient.numel(), rtol=1e-5, atol=0)
    first = next(stage.updates(network, 0, DRAW))
    assert first.terms.keys() == {"matching", "adversarial"}
    network.zero_grad()
    first.terms["matching"].backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"projector", "semantic", "detail"}


def test_teacher_and_student_agree_where_the_fake_score_is_the_teacher(build_matching):
    stage = build_matching(teacher={"guidance": 1.0})
    network = stage.network()
    _, outcome, told = told_by(stage, network)
    gradient = score_difference(stage.teacher, outcome.clean, told, told, noise_generator(DRAW))
    assert gradient.abs().max() == 0


def test_the_fake_score_learns_the_students_pictures_and_the_teacher_stays(
    build_matching, tmp_path
):
    follower = {"student_every": 100, "rank": 8, "alpha": 32}
    stage = build_matching(teacher=follower, batch_size=1)
    unet, network = stage.teacher.denoiser.unet, stage.network()
    before = {n: one.clone() for n, one in unet.state_dict().items() if "lora" not in n}
    loop = LoopConfig(
        steps=12,
        learning_rate=1.0,
        learning_rates=(0.0, 0.0, 0.1),
        warmup_steps=1,
        sample_every=100,
        save_every=100,
        uses_muon=False,
    )
    _, outcome, told = told_by(stage, network)

    def error():
        with torch.no_grad():
            generators = [noise_generator(1000 + number) for number in range(6)]
            return sum(float(fake_loss(stage.teacher, outcome.clean, told, g)) for g in generators)

    first = error()
    list(fit(stage, loop, tmp_path))
    state, prefix = read_state(tmp_path).tensors, "network/network/"
    trained = {n.removeprefix(prefix): one for n, one in state.items() if n.startswith(prefix)}
    network.load_state_dict(trained)
    use_low_rank(unet, network.critic_parts())
    assert error() < 0.95 * first
    after = {n: one for n, one in unet.state_dict().items() if "lora" not in n}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    fresh = stage.network().state_dict()
    moved = {n.split(".")[0] for n, one in trained.items() if not torch.equal(one, fresh[n])}
    assert moved == {"critic"}


def test_checkpointing_changes_memory_not_gradients(build_matching):
    found = []
    for checkpointing in (False, True):
        stage = build_matching(checkpointing=checkpointing, batch_size=1)
        network = stage.network()
        excite(network)
        (update,) = stage.updates(network, 1, DRAW)
        update.terms["critic"].backward()
        found.append({name: part.weight.grad for name, part in network.critic_parts().items()})
    kept, twice = found
    assert max(float(one.abs().max()) for one in kept.values()) > 1e-3
    for name, gradient in kept.items():
        torch.testing.assert_close(gradient, twice[name], atol=1e-6, rtol=1e-4)
