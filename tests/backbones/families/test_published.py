"""What holds for each family that is used as it was published, tiny and random."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image
from torch._dynamo.testing import CompileCounter

from swiftpie import (
    CapabilityError,
    ConfigError,
    InputError,
    Scales,
    SwiftPiePipeline,
    WeightsError,
)
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import Capability
from swiftpie.engine.graphs import int8
from swiftpie.engine.graphs.export import export_onnx
from swiftpie.engine.graphs.functions import outline
from swiftpie.engine.graphs.int8 import denoiser_calls
from swiftpie.engine.graphs.runtime import Precision
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import offload, transform
from swiftpie.engine.transforms.compile import Compiler, compiled
from swiftpie.engine.transforms.openvino import to_openvino
from swiftpie.engine.wrappers import WrappedDenoiser
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import EditMethod, EditSettings
from swiftpie.types import IdentityBranch
from tests.backbones import tiny_dreamlite, tiny_flux2, tiny_models, tiny_sana
from tests.backbones.families.test_sdxs import PRESET as SDXS
from tests.parity import flux2 as klein
from tests.parity import sana
from tests.parity.dreamlite import PRESET as DREAMLITE
from tests.parity.dreamlite import open_theirs, reference
from tests.parity.sdxs import levels

KLEIN, SANA = klein.PRESET, sana.PRESET
PIPELINES = [
    (DREAMLITE, tiny_dreamlite.make_pipeline),
    (KLEIN, tiny_flux2.make_pipeline),
    (SANA, tiny_sana.make_pipeline),
    (SDXS, partial(tiny_models.make_pipeline, family="sdxs", is_shallow=True)),
]
MAKERS = {preset.family: make for preset, make in PIPELINES}
THEIRS = {  # how diffusers opens a folder
    "dreamlite": open_theirs,
    "flux2": Flux2KleinPipeline.from_pretrained,
    "sana": sana.opened,
}
REDRAWN = {  # and draws with what is in it
    "flux2": lambda pipe: klein.theirs(pipe, reference().size, 1, [reference()]),
    "sana": lambda pipe: sana.theirs(pipe, (sana.SIDE_PX,) * 2, 1, 2, prompt=PROMPT),
}
BRANCHES = {
    "dreamlite": (IdentityBranch.ALIGNED,),
    "flux2": (IdentityBranch.JOINT_DETAIL,),
    "sana": (),
}
CALLS = (("a cat", {}), ("a red cube on the moon", {"scales": Scales(detail_scale=0.5)}))
PROMPT, SEED, LEFT = "a red cube on the moon", 3, (0.0, 0.0, 0.25, 1.0)
SILENT = {"scales": Scales(detail_scale=0.0)}


def those(*presets):
    """Runs a test for these presets alone."""
    chosen = [pair for pair in PIPELINES if pair[0] in presets]
    ids = [preset.family for preset, _ in chosen]
    return pytest.mark.parametrize("load", chosen, ids=ids, indirect=True, scope="module")


whole, reading = those(DREAMLITE, KLEIN, SANA), those(DREAMLITE, KLEIN)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of pipelines by family, each made when it is first needed."""
    made = {}

    def place(family):
        if family not in made:
            made[family] = MAKERS[family](tmp_path_factory.mktemp(family) / "pipeline")
        return made[family]

    return place


@pytest.fixture(scope="module", params=PIPELINES, ids=lambda pair: pair[0].family)
def load(request, places):
    preset, _ = request.param
    return partial(load_components, preset, weights=places(preset.family))


@pytest.fixture(scope="module")
def session(load):
    return Session(load())


@pytest.fixture(scope="module")
def family(session):
    return session.components.family.name


@pytest.fixture(scope="module")
def subjects(session):
    """A subject for those that read pictures."""
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


@whole
def test_networks_that_wait_in_their_files_draw_the_same(load, session, subjects):
    away = offload.apply(load(offloads=True))
    assert not any(weight.isfinite().all() for weight in away.text.encoder.parameters())
    assert levels(ours(Session(away), subjects), ours(session, subjects)) == 0


@reading
def test_a_strength_of_0_is_the_picture_of_the_text_bit_by_bit(session, subjects):
    (shown,) = subjects
    plain = ours(session, subjects, **SILENT)[0]
    nowhere = torch.zeros(1, 1, *reference().size)
    for silent in ([], [replace(shown, mask=nowhere)], [replace(shown, scale=0.0)]):
        assert change(session, silent, plain).max() == 0
    assert change(session, subjects, plain).max() > 2


@pytest.mark.thorough
@reading
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


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (InputError, "A keyword came", {"keyword": "dog"}),
        (CapabilityError, "no inversion network", {"method": EditMethod.INVERSION}),
    ],
)
@reading
def test_edits_that_it_cannot_do_are_refused(session, error, message, changes):
    settings = EditSettings(method=changes.get("method"))
    with pytest.raises(error, match=message):
        session.edit(reference(), "a cat", settings=settings, keyword=changes.get("keyword", ""))


@pytest.mark.parametrize("source", ["inline", "two-pass"])
@reading
def test_regions_that_no_layer_finds_are_refused(session, subjects, source):
    with pytest.raises(CapabilityError, match="Give a box or a mask"):
        session.personalize(subjects, PROMPT, mask=source)


@pytest.mark.thorough
@whole
def test_identities_and_pipelines_go_to_files_and_back(
    load, session, subjects, family, places, tmp_path
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
    pipeline = THEIRS[family](places(family))
    shared = SwiftPiePipeline.from_pipe(pipeline, preset=session.components.preset.name)
    side = session.components.preset.image_size_px
    for pipe in (made, loaded, shared):
        pipe.set_progress_bar_config(disable=True)
        picture = pipe(PROMPT, seeds=[SEED], height=side, width=side, **shown).images
        # The linear attention of SANA rounds otherwise where its weights lie elsewhere.
        assert levels(drawn, picture) <= (family == "sana" and pipe is not made)
    ours_network, network = (
        getattr(one, session.components.family.denoiser_name) for one in (shared, pipeline)
    )
    assert next(ours_network.parameters()) is next(network.parameters())
    reloaded = Session(load(weights=tmp_path / "saved"))
    assert levels(drawn, ours(reloaded, subjects)) <= 1
    if family in REDRAWN:
        assert levels(drawn, REDRAWN[family](THEIRS[family](tmp_path / "saved"))) <= 1


@pytest.mark.parametrize(
    ("preset", "error", "message", "choices"),
    [
        *(
            (preset, ConfigError, "takes no `adapter=`", {"adapter": "a.safetensors"})
            for preset in (DREAMLITE, KLEIN, SANA)
        ),
        *(
            (preset, ConfigError, message, choices)
            for preset in (DREAMLITE, KLEIN)
            for message, choices in (
                ("Choose joint or none", {"detail": "adapter"}),
                ("cannot draw in 2 steps", {"steps": 2}),
            )
        ),
        (SANA, ConfigError, "takes no `detail=`", {"detail": "joint"}),
        (SANA, ConfigError, "cannot draw in 5 steps", {"steps": 5}),
        (SANA, CapabilityError, "cannot compute in float16", {"dtype": "float16"}),
    ],
)
def test_choices_that_it_does_not_leave_are_refused(places, preset, error, message, choices):
    with pytest.raises(error, match=message):
        load_components(preset, weights=places(preset.family), **choices)


@pytest.mark.parametrize(
    ("preset", "folder", "changes", "message"),
    [
        (DREAMLITE, "unet", {"encoder_hid_dim": 8}, "width of the text is 16, and 8"),
        (KLEIN, "transformer", {"in_channels": 64}, "channels of the transformer is 64, and 128"),
        (
            *(KLEIN, "text_encoder"),
            *({"num_hidden_layers": 27, "layer_types": None}, "encoder is 27, and 28"),
        ),
        (SANA, "transformer", {"caption_channels": 8}, "width of the text is"),
        (SANA, "transformer", {"guidance_embeds": False}, "its guidance"),
        (SANA, "vae", {"latent_channels": 4}, "latent channels is 4, and 32"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    places, tmp_path, preset, folder, changes, message
):
    copied = shutil.copytree(places(preset.family), tmp_path / "copied")
    config = copied / folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(WeightsError, match=message):
        load_components(preset, weights=copied)


@pytest.mark.parametrize(
    ("preset", "name", "content", "message"),
    [
        (DREAMLITE, "tokenizer.json", "{", "is damaged"),
        (KLEIN, "chat_template.jinja", None, "no chat template"),
    ],
)
def test_a_damaged_tokenizer_is_refused(places, tmp_path, preset, name, content, message):
    copied = shutil.copytree(places(preset.family), tmp_path / "copied")
    file = copied / "tokenizer" / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(WeightsError, match=message):
        load_components(preset, weights=copied)


class Recording(WrappedDenoiser):
    """A denoiser that keeps what it is called with."""

    def __init__(self, inner):
        super().__init__(inner)
        self.calls = []

    def _predict(self, call):
        self.calls.append(call)
        return super()._predict(call)


@pytest.mark.thorough
@those(DREAMLITE, SANA)
def test_what_calibrates_8_bits_meets_each_kind_of_call(session, subjects, monkeypatch):
    """From words, with a subject, and with a photograph: other prompts, other frames."""
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
    drawn = [ours(one, subjects) for one in (Session(exact), session)]
    assert levels(*drawn) <= 2
    side = session.components.preset.image_size_px
    given = {"mask": torch.ones(1, 1, side, side), "seed": 1}
    if not session.components.family.edits_by_reference:
        given["source_prompt"] = "a cat"
    photo = drawn[1][0]
    edits = [one.edit(photo, "a dog", **given).edited for one in (Session(exact), session)]
    assert levels(edits[:1], edits[1:]) <= 2
    if family == "sana":
        rounded = to_openvino(session.components, quantizes=True, folder=tmp_path / "rounded")
        found = ours(Session(rounded), subjects)
        assert np.abs(np.int16(found[0]) - np.int16(drawn[1][0])).mean() < 8


@whole
def test_graphs_without_pytorch_are_refused(session, tmp_path):
    with pytest.raises(CapabilityError, match="cannot be exported"):
        export_onnx(session.components, tmp_path)
