import numpy as np
import pytest

from swiftpie.engine.onnx.draw import draw_noise
from swiftpie.noise import draw_step_noise
from swiftpie.validation import MAX_SEED

SEEDS = [0, 1, 7, 12345, 2**31 - 1, 2**32 - 1, 2**32, 2**32 + 7, 2**53 + 1, MAX_SEED]
SHAPES = [(1, 4, 4), (1, 1, 17), (3, 5, 7), (4, 16, 16), (32, 16, 16), (32, 10, 13)]


@pytest.mark.parametrize("shape", SHAPES)
def test_seeds_draw_the_same_noise_as_by_torch_to_rounding(shape):
    for seed in SEEDS:
        expected = draw_step_noise([seed], shape, count=3).numpy()
        found = draw_noise(seed, shape, count=3)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        # Torch's vectorised logarithm and sine differ by the last bits of a number up to six.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_other_seeds_draw_other_noise():
    draws = [draw_noise(seed, (4, 8, 8)) for seed in (0, 1, 2**31)]
    assert abs(np.corrcoef([one.ravel() for one in draws]) - np.eye(3)).max() < 0.3
