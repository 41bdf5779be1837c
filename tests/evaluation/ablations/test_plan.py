import dataclasses

import pytest

from swiftpie.errors import CapabilityError
from swiftpie.evaluation.ablations.plan import plan_study


def test_steps_change_the_schedule_and_not_the_networks(planned, row_of):
    counts = planned.rows[0].components.preset.step_counts
    rows = [row_of("steps", str(count)) for count in counts]
    assert [len(row.components.schedule.steps) for row in rows] == list(counts)
    assert {id(row.components.denoiser) for row in rows} == {
        id(planned.rows[0].components.denoiser)
    }


def test_a_preset_with_other_noise_is_refused(session, benchmark, tmp_path):
    preset = dataclasses.replace(session.components.preset, latent_channels=4)
    other = dataclasses.replace(session.components, preset=preset)
    with pytest.raises(CapabilityError, match=r"\(4, 16, 16\)"):
        plan_study(other, benchmark, num_cases=1, root=tmp_path, against={})
    assert not list(tmp_path.iterdir())
