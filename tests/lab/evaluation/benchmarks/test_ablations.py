from dataclasses import replace

import numpy as np
import pytest
import torch

from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines.request import WORDS_ALONE
from swiftpie.pipelines.settings import Scales
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.ablations import (
    BRANCHES,
    DETAIL_SWEEP,
    IDENTITY_SWEEP,
    STEPS,
    DrawingSetup,
    Region,
    SettingDrawer,
    VariedScenes,
    all_settings,
    scene_study,
)
from tests.lab.evaluation.conftest import SIZE_PX

BASE = Scales(identity_scale=0.8, detail_scale=0.6)
ALL = all_settings(BASE, step_counts=(1, 2, 4))
PLAIN = DrawingSetup("", "", Scales())
SILENT = DrawingSetup("", "", Scales(identity_scale=0.0, detail_scale=0.0))


def of(group):
    return [setting for setting in ALL if setting.group == group]


def test_branches_are_every_choice_of_three():
    parts = {
        (one.scales.identity_scale > 0, one.has_detail, one.has_aligned) for one in of(BRANCHES)
    }
    silent = [one for one in of(BRANCHES) if one.scales.detail_scale == 0]
    assert [one.title for one in silent] == ["text only"]
    assert len(of(BRANCHES)) == 2**3
    assert len(parts) == 2**3 - 1  # text only is silent by its scales


def test_sweeps_change_one_scale_and_reach_from_off_to_full():
    for group, name, other in (
        (IDENTITY_SWEEP, "identity_scale", "detail_scale"),
        (DETAIL_SWEEP, "detail_scale", "identity_scale"),
    ):
        assert [getattr(one.scales, name) for one in of(group)] == [0, 0.25, 0.5, 0.75, 1]
        assert {getattr(one.scales, other) for one in of(group)} == {getattr(BASE, other)}


def test_every_switch_does():
    others = [
        replace(PLAIN, scales=Scales(background_scale=0.1)),
        replace(PLAIN, region=Region.TRUE),
        replace(PLAIN, has_detail=False),
        replace(PLAIN, has_aligned=False),
        replace(PLAIN, knows_place=False),
        replace(PLAIN, num_references=3),
    ]
    assert len({PLAIN.key, *(other.key for other in others)}) == len(others) + 1


@pytest.fixture(scope="module")
def varied(benchmark):
    return VariedScenes(benchmark.subjects, size_px=benchmark.size_px)


@pytest.fixture(scope="module")
def shown(varied):
    """The first case."""
    return varied.cases(1)[0]


@pytest.fixture
def picture(session, varied, shown):
    """Draws the case in a setting, as numbers."""

    def draw_one(setting):
        files = dict(SettingDrawer(session, setting, varied).draw(shown, set()))
        return np.asarray(files["model"], dtype=int)

    return draw_one


def test_everything_is_what_the_session_draws(session, picture, varied, shown):
    known = varied.known(shown)
    subject = session.encode_identity(known["reference"], masks=known["reference-mask"])
    expected = session.personalize(subject, shown.prompt, seed=shown.seed, scene=WORDS_ALONE)
    assert np.array_equal(picture(PLAIN), np.asarray(expected.images[0]))


def test_without_all_parts_nothing_of_the_subject_is_left(picture):
    bare = replace(PLAIN, scales=Scales(identity_scale=0.0), has_detail=False, has_aligned=False)
    assert np.array_equal(picture(bare), picture(SILENT))


@pytest.mark.parametrize(
    "change",
    [
        {"has_detail": False},
        {"has_aligned": False},
        {"knows_place": False},
        *({"region": region} for region in Region if region is not Region.NONE),
    ],
)
def test_every_switch_changes_the_picture(picture, change):
    assert np.abs(picture(replace(PLAIN, **change)) - picture(PLAIN)).max() > 2


class Nowhere(VariedScenes):
    """Scenes whose subject has no place."""

    def truth_of(self, case):
        pixels, mask = super().truth_of(case)
        return pixels, torch.zeros_like(mask)


def test_an_empty_region_takes_the_subject_away(session, picture, shown, networks):
    nowhere = Nowhere(sample_subjects(), size_px=SIZE_PX)

    def without_place(setting):
        drawer = SettingDrawer(session, replace(setting, region=Region.TRUE), nowhere)
        return dict(drawer.draw(shown, set()))["model"]

    gone = without_place(PLAIN)
    assert np.array_equal(np.asarray(gone), np.asarray(without_place(SILENT)))
    assert np.abs(np.asarray(gone, dtype=int) - picture(PLAIN)).max() > 50
    _, place = VariedScenes(sample_subjects(), size_px=SIZE_PX).truth_of(shown)
    assert networks.panel.nearest(to_tensor(gone), place) != shown.code


@pytest.fixture(scope="module")
def views(varied, shown):
    return varied.views(shown, 3)


def test_the_first_view_is_the_benchmarks_own(views, varied, shown):
    known = varied.known(shown)
    assert views[0].image == known["reference"]
    assert views[0].mask == known["reference-mask"]


def test_the_other_views_show_the_subject_in_other_poses(views):
    masks = [np.asarray(view.mask, dtype=float) / 255 for view in views]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        common = np.minimum(masks[first], masks[second]).sum()
        union = np.maximum(masks[first], masks[second]).sum()
        assert 0.3 < common / union < 0.98


@pytest.fixture(scope="module")
def study(session, varied):
    return scene_study(session, varied, num_cases=1)


def test_steps_change_the_schedule_and_not_the_networks(study, session):
    counts = session.components.preset.step_counts
    drawers = [one.drawer for one in study.variants if one.group == STEPS]
    assert [drawer.maker.num_steps for drawer in drawers] == list(counts)
    denoisers = {id(drawer.session.components.denoiser) for drawer in drawers}
    assert denoisers == {id(session.components.denoiser)}


def test_a_preset_with_other_noise_is_refused(session, varied):
    preset = replace(session.components.preset, latent_channels=4)
    other = type(session)(replace(session.components, preset=preset))
    with pytest.raises(CapabilityError, match=r"\(4, 16, 16\)"):
        scene_study(other, varied, num_cases=1)
