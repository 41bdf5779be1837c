"""A network of its own for references: whose features the detail branch reads."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from swiftpie.backbones.adapters import save_adapter
from swiftpie.backbones.components import load_components
from swiftpie.engine import offload
from swiftpie.engine.layers import with_folded_upsampling
from swiftpie.engine.session import Session
from swiftpie.errors import WeightsError
from swiftpie.models.denoiser import added_conditions, read_references
from tests.backbones.conftest import preset_of
from tests.quick import thorough_but
from tests.tiny.folders import choices_in
from tests.tiny.sessions import subject

PROMPT = "a red cube on the moon"


def pixels(session):
    identity = session.encode_identity(subject())
    return np.asarray(session.personalize(identity, PROMPT, seed=3).images[0], dtype=int)


JOINT = {"adapter": "public", "detail": "joint"}
CASES = [
    ("sd21", {}),
    pytest.param("sd15", JOINT, marks=pytest.mark.thorough),
    pytest.param("sdxl", {}, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("family", "choices"), CASES)
def test_a_reference_network_of_the_same_weights_changes_no_bit(models, opened, family, choices):
    plain = opened(family, **choices)
    same = opened(family, reference=models / family / "pipeline" / "unet", **choices)
    other = opened(family, reference=models / family / "other_unet", **choices)
    assert np.array_equal(pixels(same), pixels(plain))
    assert np.abs(pixels(other) - pixels(plain)).max() > 0
    prints = {session.components.fingerprint for session in (plain, same, other)}
    assert len(prints) == 3  # an identity is of the network that read it


@pytest.mark.parametrize("family", thorough_but(["sd15", "sd21", "sdxl"], ["sdxl"]))
def test_keys_and_values_are_of_what_the_other_network_reads(models, opened, family):
    loaded = opened(family, reference=models / family / "other_unet").components
    denoiser = loaded.denoiser.double()
    theirs = UNet2DConditionModel.from_pretrained(models / family / "other_unet").double()
    seen = {}
    for name in denoiser.installation.detail:
        theirs.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0]})
        )
    frame = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    text = loaded.family.null_text(loaded.text)
    step = denoiser.reference_step
    with torch.no_grad():
        clean = loaded.autoencoder.encode(frame)
        noise = torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(0))
        noised = (step.alpha * clean + step.sigma * noise).double()
        theirs(
            noised,
            step.timestep,
            text.hidden_states.double(),
            added_cond_kwargs=added_conditions(theirs, noised, text),
        )
        read = read_references(
            denoiser,
            None,
            loaded.autoencoder,
            pixels=frame,
            mask=torch.ones_like(frame[:, :1]),
            empty_text=text,
        )
    for name, branch in denoiser.installation.detail.items():
        for found, weight in (
            (read.keys, branch.to_k_ref.weight),
            (read.values, branch.to_v_ref.weight),
        ):
            torch.testing.assert_close(found[name], seen[name] @ weight.T, atol=1e-12, rtol=0)


def test_an_adapter_knows_which_network_read_references_when_it_was_trained(
    models, opened, tmp_path
):
    folder, path = models / "sd21" / "other_unet", tmp_path / "trained.safetensors"
    trained = opened("sd21", reference=folder).components
    save_adapter(
        path,
        installation=trained.denoiser.installation,
        projector=trained.image_encoder.projector,
        family="sd21",
        t_ref=100,
        defaults={},
        reference=trained.denoiser.reference,
    )
    for dtype in ("float32", "float16"):
        load_components(**place_of(models, path), reference=folder, dtype=dtype)
    with pytest.raises(WeightsError, match="and none was given"):
        load_components(**place_of(models, path))
    with pytest.raises(WeightsError, match="another one was given"):
        load_components(**place_of(models, path), reference=models / "sd21" / "pipeline" / "unet")


def place_of(models, adapter):
    return {"preset": preset_of("sd21"), **choices_in(models / "sd21", adapter)}


def test_a_network_that_reads_may_wait_in_its_file(models, opened):
    choices = JOINT | {"reference": models / "sd21" / "other_unet"}
    away = Session(offload.apply(opened("sd21", **choices, offloads=True).components))
    assert np.array_equal(pixels(away), pixels(opened("sd21", **choices)))


def test_other_networks_around_it_share_it(models, opened):
    loaded = opened("sd21", reference=models / "sd21" / "other_unet").components
    reader = loaded.denoiser.reference
    assert loaded.released.denoiser.reference.conv_in.weight is reader.conv_in.weight
    folded = with_folded_upsampling(loaded)
    assert folded.denoiser.reference is not reader
    assert np.abs(pixels(Session(folded)) - pixels(Session(loaded))).max() <= 1
