import pytest

from swiftpie.attention.manipulate import AM1, AM2, STABLE_AM2
from swiftpie.guidance import Decoupled
from swiftpie.pipelines.settings import IdentityGuidance, steering_of

NUM_STEPS = 4


@pytest.mark.parametrize(
    ("guidance", "has_dcg", "shaping"),
    [
        (IdentityGuidance.PLAIN, False, None),
        (IdentityGuidance.DCG, True, None),
        (IdentityGuidance.AM1, False, AM1),
        (IdentityGuidance.AM2, False, AM2),
        (IdentityGuidance.DCG_AM1, True, AM1),
        (IdentityGuidance.DCG_AM2, True, STABLE_AM2),
    ],
)
def test_identity_guidance_is_guidance_and_reshaping_of_attention(guidance, has_dcg, shaping):
    steering = steering_of(guidance, NUM_STEPS)
    assert isinstance(steering["guidance"], Decoupled) == has_dcg
    assert steering["shaping"] is shaping
    if has_dcg:
        assert steering["guidance"].a == (1.0, 1.5, 1.5, 1.0)  # as published, for four steps
        assert steering["guidance"].b == (1.0, 3.0, 3.0, 1.0)
