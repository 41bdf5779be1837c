"""The stages of published models, on a random model of Stable Diffusion 2.1's shape."""

import copy
from dataclasses import replace
from random import Random

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

import swiftpie
from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.models.inversion import INVERSION_TIMESTEP
from swiftpie.pipelines.methods.inversion import EditStart
from swiftpie_lab.data.photographs import open_whole_photos
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.losses import draw_levels
from swiftpie_lab.training.stages.inversion import (
    ADAPTER_FILE,
    INVERSION_FOLDER,
    InversionConfig,
    InversionWeights,
)
from tests.lab.training.stages import conftest
from tests.lab.training.test_dists import by_hand as dists_by_hand
from tests.lab.training.test_dists import tiny_dists
from tests.tiny.folders import make_pipeline, make_unet
from tests.tiny.networks import same

SIDE_PX = 64
LOOP = replace(conftest.LOOP, steps=10, learning_rate=2e-3)
EVERYTHING = InversionWeights(noise=0.0, latents=0.0, pixels=1.0, score=1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    make_pipeline(folder / "pipeline", "sd21")
    make_unet(folder / "teacher", "sd21")
    (folder / "prompts.txt").write_text("a red cat\n\na dog on a sofa\n", encoding="utf-8")
    (folder / "photos").mkdir()
    for name, colour in {"one": "red", "two": "blue"}.items():
        Image.new("RGB", (80, 70), colour).save(folder / "photos" / f"{name}.png")
    (folder / "photos" / "one.txt").write_text("a red wall", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def config(place):
    return InversionConfig(
        preset="swiftbrush-v1",
        weights=place / "pipeline",
        image_encoder=place / "encoder",
        prompts=place / "prompts.txt",
        **conftest.EXACT,
    )


@pytest.fixture(scope="module")
def context(place):
    return Context(data=place, runs=place, device="cpu")


@pytest.fixture(scope="module")
def stage(config, context):
    return config.build(context)


@pytest.fixture(scope="module")
def on_photos(config, context, place):
    second = replace(
        config,
        photos=place / "photos",
        teacher=place / "teacher",
        terms=replace(EVERYTHING, pixels=0.0),
        trains_image_branch=False,
        checkpointing=True,
    )
    stage = second.build(context)
    # Built without VGG16, which has 528 MB.
    return replace(stage, config=replace(second, terms=EVERYTHING), dists=tiny_dists())


def weights_of(stage):
    parts = (stage.denoiser, stage.encoder, stage.components.autoencoder)
    return [copy.deepcopy(part.state_dict()) for part in parts if part is not None]


@pytest.mark.thorough
def test_the_first_stage_learns_and_leaves_the_generator_alone(stage, tmp_path):
    before = weights_of(stage)
    events = list(fit(stage, LOOP, tmp_path))
    history = [sum(e.losses[name] for name in ("noise", "latents")) for e in events]
    assert sum(history[-3:]) < 0.8 * sum(history[:3])
    for old, new in zip(before, weights_of(stage), strict=True):
        assert same(old, new)


@pytest.mark.thorough
def test_a_run_of_the_first_stage_goes_on_bit_for_bit(config, context, tmp_path):
    conftest.check_goes_on(lambda: config.build(context), tmp_path)


@pytest.mark.thorough
def test_a_run_on_photographs_goes_on_bit_for_bit(on_photos, tmp_path):
    conftest.check_goes_on(lambda: on_photos, tmp_path)


def test_network_and_image_branch_are_all_that_is_trained(stage):
    network = stage.network()
    assert {name for name, _ in network.named_children()} == {"inversion", "image"}
    torch.stack(list(stage.losses(network, 0).values())).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert all(weight.grad is None for weight in stage.denoiser.parameters())


@pytest.mark.thorough
def test_the_second_stage_trains_the_network_alone_on_photos(on_photos):
    network = on_photos.network()
    assert network.image is None
    terms = on_photos.losses(network, 0)
    assert terms.keys() == {"pixels", "score"}
    for term in terms.values():
        network.zero_grad()
        term.backward(retain_graph=True)
        assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
        assert network.inversion.conv_out.weight.grad.abs().max() > 0
    assert all(weight.grad is None for weight in on_photos.teacher.parameters())


@pytest.mark.thorough
def test_what_was_trained_loads_as_an_editor(stage, place, tmp_path):
    network = stage.network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(
                0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
            )
    assert {"psnr_db", "noise_error"} <= set(stage.sample(network, tmp_path / "samples.png"))
    stage.export(network, tmp_path)
    session = swiftpie.load(
        "swiftbrush-v1",
        weights=place / "pipeline",
        adapter=tmp_path / ADAPTER_FILE,
        image_encoder=place / "encoder",
        inversion=tmp_path / INVERSION_FOLDER,
        dtype="float32",
    )
    loaded = session.components
    half = {name: weight.half().float() for name, weight in network.inversion.state_dict().items()}
    assert same(half, loaded.inverter().unet.state_dict())
    own = dict(loaded.denoiser.named_parameters())
    for name, weight in network.image.denoiser_weights().items():
        assert torch.equal(own[name], weight.half().float())
    pixels = torch.rand(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        mine = network.image.tokens(stage.encoder, pixels)
        its = loaded.encoder_of_identity()(pixels, torch.ones_like(pixels[:, :1]))
    assert torch.allclose(mine, its, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"preset": "hyper-sdxl-2"}, CapabilityError, "one step"),
        ({"preset": "mini", "weights": None, "terms": EVERYTHING}, ConfigError, "teacher"),
        ({"terms": EVERYTHING}, ConfigError, "stage.teacher"),
        ({"terms": InversionWeights(pixels=1.0)}, ConfigError, "no stage.dists"),
        ({"photos": "empty"}, InputError, "no photos"),
        ({"prompts": "empty.txt"}, InputError, "is empty"),
    ],
)
def test_what_cannot_be_trained_is_refused(config, context, tmp_path, changes, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    files = {name: tmp_path / file for name, file in changes.items() if isinstance(file, str)}
    changes |= files if "preset" not in changes else {}
    with pytest.raises(error, match=message):
        replace(config, **changes).build(context)


@pytest.fixture(scope="module")
def small(config, context):
    return replace(
        config, preset="mini", weights=None, image_encoder=None, trains_image_branch=False
    ).build(context)


def test_the_small_model_is_inverted_by_its_own_network(small, tmp_path):
    network = small.network()
    terms = small.losses(network, 0)
    assert terms.keys() == {"noise", "latents"}
    sum(terms.values()).backward()
    assert network.inversion.unet.conv_out.weight.grad.abs().max() > 0
    assert all(weight.grad is None for weight in small.components.denoiser.parameters())
    assert small.sample(network, tmp_path / "shown.png")["psnr_db"] > 15
    small.export(network, tmp_path)
    swiftpie.load("mini", inversion=tmp_path / "inversion")


def test_the_second_stage_inverts_photographs_by_the_small_model(small, place):
    pixels = InversionWeights(noise=0, latents=0, pixels=1)
    photos = open_whole_photos(place / "photos", size_px=SIDE_PX)
    config = replace(small.config, terms=pixels)
    second = replace(small, config=config, photos=photos, dists=tiny_dists())
    terms = second.losses(second.network(), 0)
    assert terms.keys() == {"pixels"}
    assert terms["pixels"].isfinite()


def alpha_sigma(timestep):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = torch.cumprod(1 - betas, 0)[int(timestep)]
    return kept.sqrt(), (1 - kept).sqrt()


@pytest.mark.parametrize("start", EditStart)
def test_the_first_stages_loss_is_the_papers_in_float64(config, context, place, start):
    plain = replace(config, start=start, image_encoder=None, trains_image_branch=False)
    stage, draw = plain.build(context), 5
    network, noise = stage.network(), stage._pictures(draw).noise.double()
    terms = stage.losses(network, draw)
    weight = network.inversion.conv_out.weight
    found = {name: torch.autograd.grad(terms[name], weight, retain_graph=True)[0] for name in terms}

    folder = place / "pipeline" / "unet"
    unet = UNet2DConditionModel.from_pretrained(folder).double()
    inversion = copy.deepcopy(network.inversion).double()
    random = Random(draw)
    prompts = [random.choice(stage.prompts) for _ in range(config.batch_size)]
    states = stage.components.text.encode(prompts).hidden_states.double()
    alpha, sigma = alpha_sigma(999)

    def generated(begun):
        return (begun - sigma * unet(begun, 999, states).sample) / alpha

    latents = generated(noise).detach()
    guess = inversion(latents, INVERSION_TIMESTEP, states).sample
    begun = guess if start is EditStart.NOISE else alpha * latents + sigma * guess
    expected = {
        "latents": (generated(begun) - latents).square().mean(),
        "noise": (guess - noise).square().mean(),
    }
    assert terms.keys() == expected.keys()
    for name, loss in expected.items():
        gradient = torch.autograd.grad(loss, inversion.conv_out.weight, retain_graph=True)[0]
        assert terms[name].item() == pytest.approx(loss.item(), rel=1e-3)
        assert (found[name] - gradient).abs().max() < 1e-3 * gradient.abs().max()


@pytest.mark.thorough
@pytest.mark.parametrize("start", EditStart)
def test_the_second_stages_loss_is_the_papers_in_float64(on_photos, place, start):
    config = replace(on_photos.config, start=start, checkpointing=False)
    stage = replace(on_photos, config=config)
    network, draw = stage.network(), 5
    terms = stage.losses(network, draw)
    weight = network.inversion.conv_out.weight
    found = {name: torch.autograd.grad(terms[name], weight, retain_graph=True)[0] for name in terms}

    vae = AutoencoderKL.from_pretrained(place / "pipeline" / "vae").double()
    unet, teacher = (
        UNet2DConditionModel.from_pretrained(place / folder).double()
        for folder in ("pipeline/unet", "teacher")
    )
    inversion = copy.deepcopy(network.inversion).double()
    pixels, captions = stage.photos.batch(config.batch_size, draw)
    states = stage.components.text.encode(captions).hidden_states.double()
    scale = vae.config.scaling_factor
    latents = vae.encode(pixels.double()).latent_dist.mean.detach() * scale
    noise = inversion(latents, INVERSION_TIMESTEP, states).sample
    alpha, sigma = alpha_sigma(999)
    begun = noise if start is EditStart.NOISE else alpha * latents + sigma * noise
    drawn = (begun - sigma * unet(begun, 999, states).sample) / alpha
    distance = dists_by_hand(vae.decode(drawn / scale).sample, pixels).mean()
    levels = draw_levels(torch.Generator().manual_seed(draw), like=latents)
    with torch.no_grad():
        shares = [alpha_sigma(timestep) for timestep in levels.timesteps]
        rows = zip(shares, latents, noise, strict=True)
        noisy = torch.stack([a * clean + s * own for (a, s), clean, own in rows])
        pull = (noise - teacher(noisy, levels.timesteps, states).sample) / noise.numel()

    own = inversion.conv_out.weight
    expected = {
        "score": torch.autograd.grad(noise, own, grad_outputs=pull, retain_graph=True)[0],
        "pixels": torch.autograd.grad(distance, own)[0],
    }
    assert terms["pixels"].item() == pytest.approx(distance.item(), rel=1e-4)
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-3 * gradient.abs().max()
