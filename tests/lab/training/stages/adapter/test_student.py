import pytest
import torch

from swiftpie.errors import CapabilityError, InputError
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops
from swiftpie_lab.training.stages.adapter.student import crop_around, draw_chances


def test_conditions_are_withheld_as_often_as_the_settings_say():
    drops = AdapterDrops(semantic=0.1, detail=0.3, both=0.05, text=0.05, rescaled=0.3)
    chances = draw_chances(20_000, drops, seed=5)
    shares = [
        float((chances.identity_scale == 0).float().mean()),
        float((chances.detail_scale == 0).float().mean()),
        1 - sum(chances.has_text) / len(chances.has_text),
    ]
    assert shares == pytest.approx([0.145, 0.335, 0.05], abs=0.01)
    scaled = chances.identity_scale[chances.identity_scale > 0]
    assert float((scaled != 1).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert scaled.min() >= 0.5
    assert scaled.max() <= 1.2


def test_a_crop_holds_its_subject():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:20, 20:40] = 1
    scale, zero, x = crop_around(mask)[0, 0].tolist()
    assert (scale, zero, x) == pytest.approx((1.1 * 0.5, 0, 0.5))


def test_what_cannot_be_trained_is_refused(build, tmp_path):
    with pytest.raises(CapabilityError, match="'mini' has no adapter"):
        build(preset="mini")
    with pytest.raises(InputError, match="no folder"):
        build(data=tmp_path / "nowhere")
    with pytest.raises(InputError, match="multiples of"):
        build(size_px=70)
