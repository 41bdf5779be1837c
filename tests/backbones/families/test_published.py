"""What holds for each family that is used as it was published, tiny and random."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image
from torch._dynamo.testing import CompileCounter

from swiftpie import Scales, SwiftPiePipeline
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import Capability
from swiftpie.engine.graphs import int8
from swiftpie.engine.graphs.int8 import denoiser_calls
from swiftpie.engine.graphs.runtime import Precision, outline
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import offload, transform
from swiftpie.engine.transforms.compile import Compiler, compiled
from swiftpie.engine.transforms.openvino import to_openvino
from swiftpie.models.denoiser import WrappedDenoiser
from swiftpie.pipelines.request import Subject
from swiftpie.types import IdentityBranch
from tests.backbones.conftest import SDXS
from tests.parity import flux2 as klein
from tests.parity.dreamlite import PRESET as DREAMLITE
from tests.parity.dreamlite import open_theirs, reference
from tests.parity.sdxs import levels

KLEIN = klein.PRESET
PUBLISHED = (DREAMLITE, KLEIN, SDXS)
THEIRS = {  # how diffusers opens a folder
    "dreamlite": open_theirs,
    "flux2": Flux2KleinPipeline.from_pretrained,
}
REDRAWN = {  # and draws with what is in it
    "flux2": lambda pipe: klein.theirs(pipe, reference().size, 1, [reference()])
}
BRANCHES = {"dreamlite": (IdentityBranch.ALIGNED,), "flux2": (IdentityBranch.JOINT_DETAIL,)}
CALLS = (("a cat", {}), ("a red cube on the moon", {"scales": Scales(detail_scale=0.5)}))
PROMPT, SEED, LEFT = "a red cube on the moon", 3, (0.0, 0.0, 0.25, 1.0)
SILENT = {"scales": Scales(detail_scale=0.0)}


def those(*presets):
    ids = [preset.family for preset in presets]
    return pytest.mark.parametrize("load", presets, ids=ids, indirect=True, scope="module")


whole = those(DREAMLITE, KLEIN)


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda preset: preset.family)
def load(request, tiny):
    return partial(load_components, request.param, weights=tiny(request.param.family))


@pytest.fixture(scope="module")
def session(load):
    return Session(load())


@pytest.fixture(scope="module")
def family(session):
    return session.components.family.name


@pytest.fixture(scope="module")
def subjects(session):
    if Capability.PERSONALIZE not in session.components.preset.capabilities:
        return []
    return [Subject(session.encode_identity(reference(), cutout="none"))]


def ours(session, subjects, **changes):
    return session.personalize(subjects, PROMPT, seed=SEED, **changes).images


def change(session, subjects, plain, **changes):
    """How much each pixel changes against a picture from text alone, (H, W)."""
    drawn = ours(session, subjects, **changes)[0]
    return np.abs(np.int16(drawn) - np.int16(plain)).max(axis=2)


@pytest.mark.thorough
def test_a_compiled_graph_serves_every_prompt_and_strength(session, subjects):
    torch._dynamo.reset()
    counter = CompileCounter()
    made = Session(compiled(session.components, Compiler(backend=counter)))
    for prompt, changes in CALLS:
        drawn = [
            drawer.personalize(subjects, prompt, seed=1, **changes) for drawer in (made, session)
        ]
        assert levels(drawn[0].images, drawn[1].images) <= 1
    assert counter.frame_count == 2  # denoiser and decoder
    torch._dynamo.reset()


@pytest.mark.thorough
def test_networks_that_an_engine_rebuilds_stay_where_others_wait(load, session, subjects):
    made = Session(transform(load(offloads=True), ["folded-upsampling", "offload"]))
    if subjects:
        made.encode_identity(reference(), cutout="none")
    drawn = [drawer.personalize(subjects, "a cat", seed=1).images for drawer in (made, session)]
    assert levels(*drawn) <= 1


@those(KLEIN)
def test_networks_that_wait_in_their_files_draw_the_same(load, session, subjects):
    away = offload.apply(load(offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    assert levels(ours(Session(away), subjects), ours(session, subjects)) == 0


@those(KLEIN)
def test_a_strength_of_0_is_the_picture_of_the_text_bit_by_bit(session, subjects):
    (shown,) = subjects
    plain = ours(session, subjects, **SILENT)[0]
    nowhere = torch.zeros(1, 1, *reference().size)
    for silent in ([], [replace(shown, mask=nowhere)], [replace(shown, scale=0.0)]):
        assert change(session, silent, plain).max() == 0
    assert change(session, subjects, plain).max() > 2


@pytest.mark.thorough
@whole
def test_a_reference_changes_its_region_more_than_the_rest(session, subjects, family):
    plain = ours(session, subjects, **SILENT)[0]
    placed = [replace(subjects[0], box=LEFT)]
    result = session.personalize(placed, PROMPT, seed=SEED, mask="box")
    assert result.branches == BRANCHES[family]
    found = change(session, placed, plain, mask="box")
    assert found[:, :16].mean() > 2 * found[:, 32:].mean()


@whole
def test_an_edit_leaves_every_pixel_outside_of_its_mask(session, family):
    side = session.components.preset.image_size_px
    height, width = side * 5 // 4, side * 7 // 4
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    reads = session.components.family.edits_by_reference
    given = {"mask": mask, "seed": 1, "source_prompt": "" if reads else "a cat"}
    edited = session.edit(Image.fromarray(noise), "a dog", **given)
    moved = np.abs(np.int16(edited.image) - np.int16(noise)).max(axis=2)
    inside = mask[0, 0].numpy() > 0
    assert moved[~inside].max() == 0
    assert moved[inside].mean() > 5
    assert edited.branches == BRANCHES[family]
    if not reads:
        assert edited.origin["method"] == "chord"
        return
    other = session.edit(Image.new("RGB", (width, height)), "a dog", **given)
    assert levels([edited.edited], [other.edited]) > 2  # the picture is read


@pytest.mark.thorough
@whole
def test_identities_and_pipelines_go_to_files_and_back(
    load, session, subjects, family, tiny, tmp_path
):
    drawn, shown = ours(session, subjects), {}
    if subjects:
        shown = {"subjects": subjects[0].identity}
        session.save_identity(subjects[0].identity, tmp_path / "one.safetensors")
        again = session.load_identity(tmp_path / "one.safetensors")
        assert levels(drawn, ours(session, [Subject(again)])) == 0
    made = SwiftPiePipeline.from_components(session.components)
    made.save_pretrained(tmp_path / "saved")
    loaded = SwiftPiePipeline.from_pretrained(tmp_path / "saved")
    pipeline = THEIRS[family](tiny(family))
    shared = SwiftPiePipeline.from_pipe(pipeline, preset=session.components.preset.name)
    side = session.components.preset.image_size_px
    for pipe in (made, loaded, shared):
        pipe.set_progress_bar_config(disable=True)
        picture = pipe(PROMPT, seeds=[SEED], height=side, width=side, **shown).images
        # Some processors round otherwise where weights lie elsewhere.
        assert levels(drawn, picture) <= (pipe is not made)
    ours_network, network = (
        getattr(owner, session.components.family.denoiser_name) for owner in (shared, pipeline)
    )
    assert next(ours_network.parameters()) is next(network.parameters())
    reloaded = Session(load(weights=tmp_path / "saved"))
    assert levels(drawn, ours(reloaded, subjects)) <= 1
    if family in REDRAWN:
        assert levels(drawn, REDRAWN[family](THEIRS[family](tmp_path / "saved"))) <= 1


class Recording(WrappedDenoiser):
    def __init__(self, inner):
        super().__init__(inner)
        self.calls = []

    def _predict(self, call):
        self.calls.append(call)
        return super()._predict(call)


@pytest.mark.thorough
@those(DREAMLITE)
def test_what_calibrates_8_bits_meets_each_kind_of_call(session, subjects, monkeypatch):
    monkeypatch.setattr(int8, "MOST_CALLS", int8.LEAST_CALLS)
    components = session.components
    draws = [lambda one: ours(one, subjects, **SILENT)]
    if subjects:
        draws += [
            lambda one: ours(one, subjects),
            lambda one: one.edit(reference(), "make it night", seed=SEED),
        ]
    for draw in draws:
        recorder = Recording(components.denoiser)
        draw(Session(replace(components, denoiser=recorder)))
        assert denoiser_calls(components, outline(recorder.calls[0]))


@pytest.mark.slow
@whole
def test_openvino_draws_and_edits_the_same(session, subjects, family, tmp_path):
    exact = to_openvino(session.components, precision=Precision.SINGLE, folder=tmp_path / "single")
    assert exact.text.encoder is session.components.text.encoder
    drawn = [ours(drawer, subjects) for drawer in (Session(exact), session)]
    assert levels(*drawn) <= 2
    side = session.components.preset.image_size_px
    given = {"mask": torch.ones(1, 1, side, side), "seed": 1}
    if not session.components.family.edits_by_reference:
        given["source_prompt"] = "a cat"
    photo = drawn[1][0]
    edits = [drawer.edit(photo, "a dog", **given).edited for drawer in (Session(exact), session)]
    assert levels(edits[:1], edits[1:]) <= 2
    if family == "dreamlite":
        rounded = to_openvino(session.components, quantizes=True, folder=tmp_path / "rounded")
        found = ours(Session(rounded), subjects)
        assert np.abs(np.int16(found[0]) - np.int16(drawn[1][0])).mean() < 8
