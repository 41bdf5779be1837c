"""SDXS, tiny and random: its denoiser alone reads references, in memory and in folders."""

import numpy as np
import pytest

from swiftpie import CapabilityError, ConfigError, SwiftPiePipeline, WeightsError
from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import Scales
from swiftpie.types import IdentityBranch
from tests.backbones.tiny_models import make_pipeline
from tests.parity.pipelines import PROMPT, SIDE_PX, preset_of, subject

PRESET = preset_of("sdxs", detail="joint", noise_scale="unit", renoise="tcd")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("sdxs") / "pipeline", "sdxs")


@pytest.fixture(scope="module")
def session(place):
    return Session(load_components(PRESET, weights=place))


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
    for one in (pipeline, again):
        one.set_progress_bar_config(disable=True)
    assert apart(pipeline(PROMPT, **call).images[0], again(PROMPT, **call).images[0]) == 0


def test_the_branch_may_be_left_out_and_then_nothing_reads_references(place):
    with pytest.raises(CapabilityError, match='detail="joint"'):
        Session(load_components(PRESET, weights=place, detail="none")).encode_identity(subject())
    with pytest.raises(ConfigError, match="has no effect without an adapter"):
        load_components(PRESET, weights=place, detail="adapter")


def test_a_u_net_with_a_middle_block_is_of_another_family(place):
    with pytest.raises(WeightsError, match="of the family 'sdxs', and preset 'sd-turbo'"):
        load_components(preset_of("sd15"), weights=place)


def test_it_has_one_timestep_so_it_does_not_edit(session):
    picture = subject().convert("RGB").resize((SIDE_PX, SIDE_PX))
    with pytest.raises(CapabilityError, match="edit"):
        session.edit(picture, "a dog", source_prompt="a cat")
