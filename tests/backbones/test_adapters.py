from dataclasses import replace

import pytest
import torch

from swiftpie import WeightsError
from swiftpie.backbones.adapters import (
    install_adapter,
    open_adapter,
    wrap_image_encoder,
    write_adapter,
)
from swiftpie.backbones.components import load_components
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import WeightsKind
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.identity import face_identity
from tests.parity import faces
from tests.parity.faces import open_face, someone
from tests.parity.ip_adapter import unet_inputs
from tests.parity.report import is_within
from tests.quick import thorough_but
from tests.tiny.adapters import FACES, face_adapter, released_tensors
from tests.tiny.folders import choices_in, make_image_encoder, make_pipeline, make_unet
from tests.tiny.networks import EMBEDS, HIDDEN, tiny_unet
from tests.tiny.sessions import preset_of

PICKLED = "ip-adapter-faceid-plus_sd15"
PLUS, PORTRAIT = "ip-adapter-faceid-plusv2_sd15", "ip-adapter-faceid-portrait_sd15"

# Euler schedulers of diffusers hand tensors to NumPy in a way that it is going to refuse.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    make_pipeline(root / "pipeline", "sd15")
    for name in FACES:
        if name.endswith("sd15"):
            face_adapter(root, name)
    return root


def adapter_file(folder, name):
    [path] = folder.glob(f"{name}.*")
    return path


def queries(unet):
    return unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2").to_q.weight


@pytest.mark.parametrize("name", thorough_but([PICKLED, PLUS], [PLUS]))
def test_pictures_of_faces_equal_those_of_diffusers(name):
    rows = faces.rows([name], is_shallow=True)
    assert len(rows) == 8
    assert [row for row in rows if not is_within(row)] == []


@pytest.mark.parametrize(("name", "version"), [(PICKLED, 1), (PLUS, 2)])
def test_published_names_state_the_version_of_face_plus(folder, name, version):
    opened = open_adapter(adapter_file(folder, name), allow_pickle=True)
    assert opened.projector.module.shortcut is (version == 2)


def test_without_such_a_name_the_version_is_unknown(folder, tmp_path):
    path = tmp_path / "my-faces.safetensors"
    path.write_bytes(adapter_file(folder, PLUS).read_bytes())
    with pytest.raises(WeightsError, match="faceid-plusv2"):
        open_adapter(path)


def test_a_network_that_shares_its_weights_is_left_alone(folder):
    unet, other = tiny_unet("sd15"), tiny_unet("sd15")
    for name, weight in unet.named_parameters():
        path, _, leaf = name.rpartition(".")
        setattr(other.get_submodule(path), leaf, weight)
    call, _ = unet_inputs(other)
    with torch.no_grad():
        before = other(**call).sample
        install_adapter(unet, open_adapter(adapter_file(folder, PLUS)), family="sd15")
        assert torch.equal(other(**call).sample, before)
    assert queries(unet) is not queries(other)


def test_half_precision_keeps_its_type(folder):
    unet = tiny_unet("sd15").to(torch.bfloat16)
    install_adapter(unet, open_adapter(adapter_file(folder, PLUS)), family="sd15")
    assert {weight.dtype for weight in unet.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in (queries(unet),))


def test_an_adapter_of_another_family_is_refused(folder):
    opened = open_adapter(adapter_file(folder, PLUS))
    with pytest.raises(WeightsError, match="another family"):
        install_adapter(tiny_unet("sdxl"), opened, family="sdxl")


def test_an_image_encoder_with_other_hidden_states_is_refused(folder, tmp_path):
    projector = open_adapter(adapter_file(folder, PLUS)).projector
    reader = NetworkReader(device="cpu", dtype=torch.float32, allow_pickle=False)
    other = make_image_encoder(tmp_path / "other", features=EMBEDS + 5)
    tower = read_image_encoder(other, reader)
    assert isinstance(
        wrap_image_encoder(tower, projector), FaceIdentityEncoder
    )  # it reads no vector of CLIP
    tower.config.hidden_size = HIDDEN + 4
    with pytest.raises(WeightsError, match="`image_encoder=`"):
        wrap_image_encoder(tower, projector)


def test_written_as_our_own_it_keeps_its_version_and_tokens(folder, tmp_path):
    before = open_face(folder, PLUS).components
    own = tmp_path / "own.safetensors"
    write_adapter(own, before)
    after = load_components(preset_of("sd15"), **choices_in(folder, own))
    vectors, crops = someone()
    pair = [face_identity(session, vectors, crop=crops).tokens for session in (before, after)]
    assert torch.equal(*pair)


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_a_u_net_that_swiftedit_trained_is_drawn_with_or_compared(tmp_path, caplog, mode):
    weights = make_unet(tmp_path / "weights", "sd21")
    path = tmp_path / "ip_adapter.bin"
    torch.save(released_tensors(tiny_unet("sd21")), path)
    make_pipeline(tmp_path / "pipeline", "sd21")
    preset = replace(preset_of("sd21"), kind=WeightsKind.UNET, edit_mode=mode)
    choices = choices_in(tmp_path, path.name) | {"weights": weights, "allow_pickle": True}
    components = load_components(preset, base=tmp_path / "pipeline", **choices)
    drawn = queries(components.denoiser.installation.network)
    assert torch.equal(drawn, queries(tiny_unet("sd21"))) == (mode == "released")
    assert ("trained around a U-Net" in caplog.text) == (mode == "paper")
