"""A tuned subject is nearer to its pictures, and nothing else changes."""

from dataclasses import replace

import pytest
import torch

from swiftpie.errors import CapabilityError, InputError, WeightsError
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines import tuning
from swiftpie.pipelines.identity_file import load_identity, read_identity_header, save_identity
from swiftpie.pipelines.settings import TuneSettings
from tests.golden.networks import random_networks

SHORT = TuneSettings(steps=2, num_scenes=1)
PROMPT = "a toy on a beach"


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def tuned(session, identity, events):
    return session.tune(identity, SHORT, on_event=events.append)


def weights_of(components):
    networks = (components.denoiser, components.image_encoder, components.autoencoder)
    return [weight for network in networks for weight in network.parameters()]


def test_the_subject_comes_nearer_and_the_weights_stay(session, identity, tuned, events):
    assert [event.step for event in events] == [0, 1, 2, 2]
    assert events[-1].is_done
    assert events[-1].best_psnr > events[-1].first_psnr + 0.05
    assert tuned.tuned == "2 steps"
    assert not torch.equal(tuned.tokens, identity.tokens)
    assert torch.equal(tuned.pixels, identity.pixels)
    assert all(weight.grad is None for weight in weights_of(session.components))


def test_other_subjects_are_drawn_as_before_bit_for_bit(session, identity, tuned):
    before = session.personalize(identity, PROMPT, seed=5).images[0]
    one = session.personalize(tuned, PROMPT, seed=5).images[0]
    after = session.personalize(identity, PROMPT, seed=5).images[0]
    assert torch.equal(to_tensor(before), to_tensor(after))
    assert not torch.equal(to_tensor(before), to_tensor(one))


def test_the_file_is_an_identity_like_any_other(session, tuned, tmp_path):
    path = tmp_path / "one.spid"
    save_identity(tuned, path)
    assert read_identity_header(path).tuned == "2 steps"
    read = load_identity(path, session.components)
    assert read.tuned == tuned.tuned
    assert all(torch.equal(rows, tuned.keys[name]) for name, rows in read.keys.items())
    others = replace(session.components, fingerprint="0" * 64)
    with pytest.raises(WeightsError, match="other weights"):
        load_identity(path, others)


def test_examples_keep_the_scene_and_show_the_subject(session, identity):
    (example,) = tuning.draw_examples(session.components, identity, [0], count=1, seed=2)
    drawn = session.components.autoencoder.decode(example.untuned).clamp(-1, 1)
    difference = (drawn - example.wanted).abs()
    assert float((difference * (example.mask == 0)).max()) < 1e-5
    assert float((difference * example.mask).max()) > 0.05
    assert 0 < float(example.around.mean()) < 1


@pytest.mark.parametrize(("steps", "is_face", "word"), [(4, False, "4 steps"), (1, True, "a face")])
def test_what_has_no_place_in_one_step_is_refused(identity, steps, is_face, word):
    components = random_networks("sd15", steps=steps).components
    with pytest.raises(CapabilityError, match=word):
        tuning.tune(components, replace(identity, is_face=is_face), SHORT)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_published_model_draws_the_subject_nearer_to_its_reference(family, sprite):
    session, events = random_networks(family), []
    identity = session.encode_identity(sprite)
    before = [weight.clone() for weight in weights_of(session.components)]
    tuned = session.tune(identity, TuneSettings(steps=8, num_scenes=1), on_event=events.append)
    assert events[-1].best_psnr > events[0].first_psnr + 0.02
    assert events[0].seconds_left > 0 == events[-1].seconds_left
    assert not torch.equal(tuned.tokens, identity.tokens)
    assert tuned.keys.keys() == identity.keys.keys() != set()
    assert not any(torch.equal(rows, identity.keys[name]) for name, rows in tuned.keys.items())
    assert all(map(torch.equal, before, weights_of(session.components)))


def test_the_wanted_latents_are_the_reference_in_its_own_box(sprite):
    session = random_networks("sd15")
    identity = session.encode_identity(sprite)
    (example,) = tuning.draw_examples(session.components, identity, [0], count=1, seed=2)
    inside = identity.mask == 1
    assert torch.equal((example.wanted * inside), identity.pixels * inside)
    assert float(tuning.latent_error(example.encoded, example)) == 0
    outside = example.around.bool()
    assert 0 < outside.float().mean() < 1
    moved = example.encoded + 5 * outside  # what is around the subject counts elsewhere
    assert float(tuning.latent_error(moved, example)) == 0
    blurred = example.encoded.mean(dim=(2, 3), keepdim=True).expand_as(example.encoded)
    assert float(tuning.latent_error(blurred, example)) > 0


def test_what_helps_in_no_unseen_scene_is_not_kept(session, identity):
    tuned = session.tune(identity, TuneSettings(steps=1, num_scenes=1, learning_rate=1.0))
    assert tuned.tuned == "0 steps"
    assert torch.equal(tuned.tokens, identity.tokens)


def test_ending_early_looks_once_more_and_keeps_the_best(session, identity):
    tuned = session.tune(identity, replace(SHORT, steps=9), on_event=lambda event: event.step == 2)
    assert tuned.tuned == "2 steps"


def test_it_ends_when_its_time_is_over(session, identity):
    events = []
    limited = TuneSettings(steps=500, num_scenes=1, seconds=1)
    session.tune(identity, limited, on_event=events.append)
    assert events[-1].step < 500
    assert tuning.seconds_of(session.components, limited) == 1


@pytest.mark.thorough
def test_it_ends_after_looks_without_a_gain(session, identity, monkeypatch):
    for name, value in {"CHECK_EVERY": 1, "PATIENCE": 2, "LEAST_GAIN": 1e3}.items():
        monkeypatch.setattr(tuning, name, value)
    events = []
    tuned = session.tune(identity, SHORT, on_event=events.append)
    assert [event.step for event in events] == [0, 1, 2, 2]
    assert torch.equal(tuned.tokens, identity.tokens)


def test_of_many_pictures_the_last_is_held_out(identity):
    for count, split in {1: ([0], [0]), 2: ([0, 1], [0, 1]), 3: ([0, 1], [2])}.items():
        pictures = identity.pixels[:1].expand(count, -1, -1, -1)
        assert tuning.trained_and_checked(replace(identity, pixels=pictures)) == split


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("learning_rate", 2.0), ("num_scenes", 0), ("seconds", 0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name}={value}"):
        TuneSettings(**{name: value})
