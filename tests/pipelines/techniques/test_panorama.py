"""Wide pictures in windows: as diffusers fuses them, without seams, subjects in their places."""

import warnings
from dataclasses import replace
from functools import partial

import diffusers
import numpy as np
import pytest
import torch

from swiftpie import InputError, PersonalizeRequest, Scales, Session, Subject
from swiftpie.backbones.components import load_components
from swiftpie.noise import draw_noise
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.denoise import denoise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.techniques.panorama import (
    TECHNIQUE,
    WindowedDenoiser,
    cell_windows,
    prepare_panorama,
    spans,
)
from tests.golden.networks import random_networks
from tests.parity.tiny import picture
from tests.tiny.folders import make_pipeline
from tests.tiny.sessions import preset_of

PROMPT, SEED = "a red cube on the moon", 3
WIDE = (128, 512)  # four windows of 128 px, and three between them
LEFT = (0.0, 0.2, 0.1, 0.9)


@pytest.fixture(scope="module")
def session():
    return random_networks("sd15")


def asked(session, **changes):
    subject = Subject(session.encode_identity(picture(0)), box=LEFT)
    base = {"subjects": (subject,), "prompt": PROMPT, "seeds": (SEED,), "size_px": WIDE}
    return PersonalizeRequest(**base | {"mask": MaskSource.BOX} | changes)


def latents(session, request, denoiser=None):
    start = prepare_panorama(choose(session.components, request)).start
    if denoiser is not None:
        start = start._replace(components=replace(start.components, denoiser=denoiser))
    return denoise(start).latents


def test_a_picture_in_one_piece_is_not_drawn_in_windows(session):
    assert not TECHNIQUE.suits(session.components, asked(session, in_one_piece=True))


@pytest.mark.parametrize(
    ("size", "is_claimed"),
    [
        *((None, False), ((128, 128), False), ((256, 256), False), ((64, 256), False)),
        *(((128, 224), False), ((128, 256), True), (WIDE, True), (WIDE[::-1], True)),
    ],
)
def test_it_claims_what_is_wide_or_tall_and_large(session, size, is_claimed):
    request = asked(session, size_px=size)
    assert TECHNIQUE.suits(session.components, request) == is_claimed
    assert not TECHNIQUE.suits(session.components, replace(request, scene="beach"))


@pytest.mark.parametrize(("length", "side"), [(16, 16), (17, 16), (64, 16), (63, 16), (100, 16)])
def test_windows_cover_all_cells_and_overlap_by_half(length, side):
    found = spans(length, side)
    assert (found[0].start, found[-1].stop) == (0, length)
    assert all(span.stop - span.start == side for span in found)
    steps = np.diff([span.start for span in found])
    assert (steps <= side / 2).all()
    assert len(found) == 1 or steps.max() - steps.min() <= 1


def test_one_window_is_the_denoiser_itself(session):
    request = asked(session, size_px=(128, 256))
    denoiser = session.components.denoiser
    windowed = WindowedDenoiser(denoiser, partial(cell_windows, weights=torch.ones(1, 1, 16, 32)))
    assert torch.equal(latents(session, request, windowed), latents(session, request, denoiser))


def test_a_subject_changes_the_windows_of_its_region_and_nothing_else(session):
    off = Scales(identity_scale=0.0, detail_scale=0.0)
    shown, silent = (latents(session, asked(session, scales=each)) for each in (Scales(), off))
    change = (shown - silent).abs().amax((0, 1, 2))
    reach = 24  # cells: the window from 8 on is the last that sees the soft edge of the box
    assert change[:12].min() > 0
    assert torch.equal(change[reach:], torch.zeros(64 - reach))


def test_windows_leave_no_seam(session):
    """Between neighbouring cells, steps at borders of windows are as large as others."""
    request = asked(session, subjects=(), mask=MaskSource.NONE, seeds=(3, 4, 5, 6))
    steps = latents(session, request).diff(dim=3).abs().mean((0, 1, 2))
    borders = {edge for span in spans(64, 16) for edge in (span.start - 1, span.stop - 1)}
    at = torch.tensor([cell in borders for cell in range(63)])
    assert steps[at].mean() < 1.1 * steps[~at].mean()


@pytest.mark.parametrize("mask", [MaskSource.NONE, MaskSource.INLINE])
def test_a_subject_without_a_place_is_refused(session, mask):
    with pytest.raises(InputError, match="box"):
        draw(session.components, asked(session, mask=mask))


def test_size_is_no_warning(session, caplog):
    session.personalize(
        session.encode_identity(picture(0)), PROMPT, seed=1, size=WIDE[::-1], box=LEFT, mask="box"
    )
    assert "trained on" not in caplog.text


@pytest.mark.thorough
def test_uniform_windows_are_those_of_diffusers(tmp_path):
    """`StableDiffusionPanoramaPipeline` has windows of 64 cells, 8 apart, that count alike."""
    folder = make_pipeline(tmp_path / "pipeline", "sd15")
    ours = Session(load_components(preset_of("sd15", image_size_px=512), weights=folder))
    request = PersonalizeRequest(subjects=(), prompt=PROMPT, seeds=(SEED,), size_px=(512, 1024))
    windows = partial(cell_windows, weights=torch.ones(1, 1, 64, 64), overlap=1 - 8 / 64)
    own = latents(ours, request, WindowedDenoiser(ours.components.denoiser, windows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = diffusers.StableDiffusionPanoramaPipeline.from_pretrained(folder)
        theirs = pipeline(
            PROMPT,
            height=512,
            width=1024,
            num_inference_steps=1,
            guidance_scale=0.0,
            latents=draw_noise([SEED], (4, 64, 128)),
            output_type="latent",
        ).images
    assert (own - theirs).abs().max() < 1e-5 * theirs.abs().max()
