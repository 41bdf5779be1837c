"""Engines draw what each published family draws without them, tiny and random."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from swiftpie import Scales
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import Capability
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.engine.transforms.compile import Compiler, compiled
from swiftpie.pipelines.drawing.request import Subject
from tests.backbones import tiny_dreamlite, tiny_flux2, tiny_models, tiny_sana
from tests.backbones.families.test_sdxs import PRESET as SDXS
from tests.parity.dreamlite import PRESET as DREAMLITE
from tests.parity.dreamlite import reference
from tests.parity.flux2 import PRESET as KLEIN
from tests.parity.sana import PRESET as SANA
from tests.parity.sdxs import levels

PIPELINES = [
    (DREAMLITE, tiny_dreamlite.make_pipeline),
    (KLEIN, tiny_flux2.make_pipeline),
    (SANA, tiny_sana.make_pipeline),
    (SDXS, partial(tiny_models.make_pipeline, family="sdxs", is_shallow=True)),
]
CALLS = (("a cat", {}), ("a red cube on the moon", {"scales": Scales(detail_scale=0.5)}))


@pytest.fixture(scope="module", params=PIPELINES, ids=lambda pair: pair[0].family)
def load(request, tmp_path_factory):
    preset, make_pipeline = request.param
    place = make_pipeline(tmp_path_factory.mktemp("networks") / "pipeline")
    return partial(load_components, preset, weights=place)


@pytest.fixture(scope="module")
def session(load):
    return Session(load())


@pytest.fixture(scope="module")
def subjects(session):
    """A subject for those that read pictures."""
    if Capability.PERSONALIZE not in session.components.preset.capabilities:
        return []
    return [Subject(session.encode_identity(reference(), cutout="none"))]


@pytest.mark.thorough
def test_a_compiled_graph_serves_every_prompt_and_strength(session, subjects):
    torch._dynamo.reset()
    counter = CompileCounter()
    made = Session(compiled(session.components, Compiler(backend=counter)))
    for prompt, changes in CALLS:
        drawn = [one.personalize(subjects, prompt, seed=1, **changes) for one in (made, session)]
        assert levels(drawn[0].images, drawn[1].images) <= 1
    assert counter.frame_count == 2  # denoiser and decoder
    torch._dynamo.reset()


@pytest.mark.thorough
def test_networks_that_an_engine_rebuilds_stay_where_others_wait(load, session, subjects):
    made = Session(transform(load(offloads=True), ["folded-upsampling", "offload"]))
    if subjects:
        made.encode_identity(reference(), cutout="none")
    drawn = [one.personalize(subjects, "a cat", seed=1).images for one in (made, session)]
    assert levels(*drawn) <= 1
