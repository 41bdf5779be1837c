"""What holds for each family that is used as it was published, tiny and random."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from swiftpie import Scales
from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.pipelines.request import Subject
from tests.backbones.conftest import SDXS
from tests.parity.flux2 import PRESET as KLEIN
from tests.parity.flux2 import reference
from tests.parity.sdxs import levels

CALLS = (("a cat", {}), ("a red cube on the moon", {"scales": Scales(detail_scale=0.5)}))

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module", params=(KLEIN, SDXS), ids=lambda preset: preset.family)
def load(request, tiny):
    return partial(load_components, request.param, weights=tiny(request.param.family))


@pytest.fixture(scope="module")
def session(load):
    return Session(load())


@pytest.fixture(scope="module")
def subjects(session):
    return [Subject(session.encode_identity(reference(), cutout="none"))]


def test_a_compiled_graph_serves_every_prompt_and_strength(load, session, subjects):
    torch._dynamo.reset()
    counter, made = CompileCounter(), Session(load())
    made.components.denoiser.compile(backend=counter, fullgraph=True)
    for prompt, changes in CALLS:
        drawn = [
            drawer.personalize(subjects, prompt, seed=1, **changes) for drawer in (made, session)
        ]
        assert levels(drawn[0].images, drawn[1].images) <= 1
    assert counter.frame_count == len(session.components.schedule.steps)
    torch._dynamo.reset()


def test_networks_that_an_engine_rebuilds_stay_where_others_wait(load, session, subjects):
    made = Session(transform(load(offloads=True), ["folded-upsampling", "offload"]))
    made.encode_identity(reference(), cutout="none")
    drawn = [drawer.personalize(subjects, "a cat", seed=1).images for drawer in (made, session)]
    assert levels(*drawn) <= 1
