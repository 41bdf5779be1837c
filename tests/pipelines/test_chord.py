"""ChordEdit against its equations, written out plainly in float64, and what surrounds it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

import swiftpie
from swiftpie import EditRequest, EditSettings
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.imageio.images import to_tensor
from swiftpie.models.denoiser import added_conditions
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.methods.chord import ChordForm
from tests.parity.edit import photograph
from tests.parity.tiny import Recorder, Spy, difference
from tests.quick import thorough_but
from tests.tiny.sessions import components_in

SOURCE, TARGET, SEED, SIDE_PX = "a dog on a sofa", "a cat on a sofa", 3, 128
BOUND = 1e-5
PRESETS_OF = {"sd21": "sd-turbo", "sdxl": "sdxl-turbo", "sd15": "instaflow"}
VARIANTS = {
    "as published": {},
    "fast": {"chord": ChordForm.FAST},
    "faithful": {"chord": ChordForm.FAITHFUL},
}


@pytest.fixture(scope="module", params=thorough_but(PRESETS_OF, ["sd21"]))
def model(request, models):
    """A tiny model with an adapter of ours, and its U-Net as diffusers has it, in float64."""
    folder = models / (family := request.param)
    preset = replace(PRESETS.get(PRESETS_OF[family]), family=family, image_size_px=SIDE_PX)
    components = components_in(folder, preset=preset)
    components = replace(components, autoencoder=Recorder(components.autoencoder))
    unet = UNet2DConditionModel.from_pretrained(folder / "pipeline" / "unet")
    return Session(components), unet.double()


@pytest.fixture(scope="module")
def photo():
    return photograph(SIDE_PX, SIDE_PX)


def whole():
    return torch.ones(1, 1, SIDE_PX, SIDE_PX)


@torch.no_grad()
def by_hand(session, unet, photo, *, chord="chord"):
    components = session.components
    is_flow = components.preset.noise_scale == "flow"
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = torch.cumprod(1 - betas, 0)

    def at(time):
        if is_flow:
            return 1000 * time, 1 - time, time
        index = round(999 * time)
        return index, kept[index].sqrt(), (1 - kept[index]).sqrt()

    def clean(latents, noise, time, prompt):
        timestep, alpha, sigma = at(time)
        noisy = alpha * latents + sigma * noise
        text = components.text.encode([prompt])
        text = text._replace(hidden_states=text.hidden_states.double(), pooled=text.pooled.double())
        added = added_conditions(unet, noisy, text)
        predicted = unet(noisy, timestep, text.hidden_states, added_cond_kwargs=added).sample
        return noisy + sigma * predicted if is_flow else (noisy - sigma * predicted) / alpha

    def drift(latents, time):
        return clean(latents, noise, time, TARGET) - clean(latents, noise, time, SOURCE)

    latents = components.autoencoder.encode(to_tensor(photo)).double()
    noise = draw_step_noise([SEED], tuple(latents.shape[1:]), count=1)[0].double()
    if chord == "fast":
        return latents + drift(latents, 0.75)
    if chord == "faithful":
        time, end = 0.4, 0.2
        control = time * drift(latents, time) + (1 - time) * drift(latents, 1 - time)
    else:
        time, delta, end = 0.9, 0.15, 0.3
        later = drift(latents, time - delta)
        control = (delta * drift(latents, time) + time * later) / (time + delta)
    return clean(latents + control, noise, end, TARGET)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_edit_is_what_the_equations_say(model, photo, variant):
    session, unet = model
    settings = EditSettings(method="chord", **VARIANTS[variant])
    session.edit(photo, TARGET, source_prompt=SOURCE, seed=SEED, settings=settings, mask=whole())
    found = session.components.autoencoder.last.latents
    assert difference(found, by_hand(session, unet, photo, **VARIANTS[variant])) < BOUND


def test_the_fast_form_calls_the_denoiser_once_with_two_rows(model, photo):
    session, _ = model
    spy = Spy(session.components.denoiser)
    Session(replace(session.components, denoiser=spy)).edit(
        *(photo, TARGET),
        source_prompt=SOURCE,
        seed=SEED,
        settings=EditSettings(chord=ChordForm.FAST),
    )
    assert [len(call[0]) for call in spy.calls] == [2]


def test_a_model_without_an_inversion_network_edits_by_chord(model, photo):
    session, _ = model
    asked = {"source_prompt": SOURCE, "seed": SEED}
    plain = session.edit(photo, TARGET, **asked)
    named = session.edit(photo, TARGET, **asked, settings=EditSettings(method="chord"))
    assert plain.image.tobytes() == named.image.tobytes()
    assert plain.origin["method"] == "chord"


@pytest.mark.parametrize("size", [(37, 211), (64, 64), (5, 3)])
def test_what_lies_outside_stays_at_any_size(model, size):
    session, _ = model
    photo = photograph(*size)
    for mask in (None, (0.2, 0.3, 0.7, 0.8)):
        result = session.edit(photo, TARGET, source_prompt=SOURCE, seed=SEED, mask=mask)
        changed = (np.asarray(result.image) != np.asarray(photo)).any(axis=2)
        region = np.asarray(result.region) > 0
        assert result.image.size == result.region.size == size
        assert not changed[~region].any()
    assert changed.any()


def test_the_mask_is_where_the_prompts_differ(model, photo):
    session, _ = model
    inner = session.components.denoiser

    class Differing:
        installation = inner.installation

        def __call__(self, latents, timestep, text, condition, notes):
            drawn = inner(latents, timestep, text, condition, notes)
            sample = drawn.sample.clone()
            half = sample.shape[3] // 2
            sample[..., half:] = sample[:1, :, :, half:]
            return drawn._replace(sample=sample)

    other = Session(replace(session.components, denoiser=Differing()))
    result = other.edit(photo, TARGET, source_prompt=SOURCE, seed=SEED)
    region = np.asarray(result.region) > 0
    assert region[:, : SIDE_PX // 2 - 16].any()
    assert not region[:, SIDE_PX // 2 + 16 :].any()
    assert result.latent_region.shape[2:] == (16, 16)


def test_latents_outside_of_the_region_stay(model, photo):
    session, _ = model
    components = session.components
    session.edit(photo, TARGET, source_prompt=SOURCE, seed=SEED, mask=(0, 0, 0.5, 1))
    moved, still = (
        components.autoencoder.last.latents,
        components.autoencoder.encode(to_tensor(photo)),
    )
    half = moved.shape[3] // 2
    assert torch.allclose(moved[..., half:], still[..., half:], atol=1e-5)
    assert not torch.allclose(moved[..., :half], still[..., :half], atol=1e-2)


def test_equal_prompts_change_nothing(model, photo, caplog):
    session, _ = model
    for mask in (None, (0.2, 0.2, 0.8, 0.8)):
        caplog.clear()
        result = session.edit(photo, SOURCE, source_prompt=SOURCE, seed=SEED, mask=mask)
        assert result.image.tobytes() == photo.tobytes()
        assert "do not differ" in caplog.text


def test_a_subject_enters_the_target_alone(model, photo):
    session, _ = model
    identity = session.encode_identity(photograph(64, 64))
    asked = {"source_prompt": SOURCE, "seed": SEED, "mask": whole()}
    plain, shown = (
        session.edit(photo, TARGET, identity=shown, **asked) for shown in (None, identity)
    )
    assert plain.image.tobytes() != shown.image.tobytes()
    assert [*shown.branches] == ["semantic"]
    spy = Spy(session.components.denoiser)
    Session(replace(session.components, denoiser=spy)).edit(
        photo, TARGET, identity=identity, **asked
    )
    shows = [call[3].attention.region.amax(dim=(1, 2, 3)).tolist() for call in spy.calls]
    assert shows == [[0, 1, 0, 1], [1]]
    silent = copy.copy(EditSettings(scales=swiftpie.Scales(identity_scale=0.0, detail_scale=0.0)))
    off = session.edit(photo, TARGET, identity=identity, settings=silent, **asked)
    assert np.abs(np.asarray(off.image, int) - np.asarray(plain.image, int)).max() <= 1


def test_a_keyword_finds_the_mask(model, photo):
    session, _ = model
    found = []
    for word in ("", "sofa"):
        asked = {"source_prompt": SOURCE, "keyword": word, "seed": SEED}
        result = session.edit(photo, TARGET, **asked)
        announced = session.find_region(EditRequest(image=photo, prompt=TARGET, **asked))
        assert result.region.tobytes() == announced.tobytes()
        found.append(result.region.tobytes())
    assert found[0] != found[1]
