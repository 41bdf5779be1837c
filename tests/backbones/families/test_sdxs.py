import numpy as np
import pytest

from swiftpie import SwiftPiePipeline
from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import Scales
from swiftpie.types import IdentityBranch
from tests.backbones.conftest import SDXS
from tests.parity.pipelines import PROMPT
from tests.tiny.sessions import subject


@pytest.fixture(scope="module")
def session(tiny):
    return Session(load_components(SDXS, weights=tiny("sdxs")))


def apart(one, other):
    return np.abs(np.int16(one) - np.int16(other)).max()


def test_the_denoiser_alone_shows_a_subject_where_its_region_is(session, tmp_path):
    identity = session.encode_identity(subject())
    shown = session.personalize(identity, PROMPT, seed=0)
    assert shown.branches == (IdentityBranch.JOINT_DETAIL,)
    silent, nowhere = (
        session.personalize(identity, PROMPT, seed=0, **changes).images[0]
        for changes in (
            {"scales": Scales(detail_scale=0)},
            {"mask": "box", "box": (0, 0, 0.1, 0.1)},
        )
    )
    assert apart(shown.images[0], silent) > 2
    assert apart(shown.images[0], nowhere) > 2
    session.save_identity(identity, tmp_path / "one.safetensors")
    again = session.load_identity(tmp_path / "one.safetensors")
    assert apart(session.personalize(again, PROMPT, seed=0).images[0], shown.images[0]) == 0


def test_a_folder_of_the_pipeline_reads_references_again(session, tmp_path):
    pipeline = SwiftPiePipeline.from_components(session.components)
    pipeline.save_pretrained(tmp_path)
    again = SwiftPiePipeline.from_pretrained(tmp_path)
    call = {"ip_adapter_image": subject(), "seeds": [1]}
    assert apart(pipeline(PROMPT, **call).images[0], again(PROMPT, **call).images[0]) == 0
