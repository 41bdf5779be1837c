"""What rows without text or identity read."""

import pytest
import torch
from transformers import CLIPVisionModelWithProjection

from swiftpie.guidance.rows import null_tokens, without_identity
from swiftpie.models.projection import Feature, projector_for
from swiftpie.models.vision import ClipIdentityEncoder, ConvImageEncoder, FaceIdentityEncoder
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.personalize import prepare
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from tests.backbones.tiny_models import make_image_encoder
from tests.parity.ip_adapter import EMBEDS, FACE, adapter_tensors, tiny_unet

NAMES = {  # a public adapter of each feature
    Feature.EMBEDS: "ip-adapter_sd15",
    Feature.HIDDEN: "ip-adapter-plus_sd15",
    Feature.FACE: "ip-adapter-faceid_sd15",
    Feature.FACE_AND_HIDDEN: "ip-adapter-faceid-plusv2_sd15",
}


@pytest.fixture(params=sorted(NAMES))
def encoder(request, tmp_path):
    """An image encoder with a small random projector of a public family."""
    make_image_encoder(tmp_path / "encoder")
    tower = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "encoder")
    tensors = adapter_tensors(NAMES[request.param], tiny_unet("sd15"))["image_proj"]
    version = 2 if request.param is Feature.FACE_AND_HIDDEN else None
    projector = projector_for(tensors, face_version=version)
    assert projector.feature is request.param
    if projector.face_width:
        return FaceIdentityEncoder(tower, projector).eval(), projector
    return ClipIdentityEncoder(tower, projector.module, projector.feature).eval(), projector


def test_zero_features_go_through_the_projector(encoder):
    network, projector = encoder
    tokens = null_tokens(network)
    assert tokens.shape == (1, projector.num_tokens, projector.width)
    assert tokens.isfinite().all()
    assert tokens.abs().max() > 0.01
    seen = network.tower(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states[-2]
    vectors = {
        Feature.EMBEDS: [torch.zeros(1, EMBEDS)],
        Feature.HIDDEN: [seen],
        Feature.FACE: [torch.zeros(1, FACE)],
        Feature.FACE_AND_HIDDEN: [torch.zeros(1, FACE), seen],
    }
    assert torch.equal(tokens, projector.module(*vectors[projector.feature]))


def test_an_encoder_that_knows_no_zero_has_no_tokens():
    assert null_tokens(ConvImageEncoder(width=8)) is None
    assert null_tokens(None) is None


@pytest.mark.parametrize("has_tokens", [True, False])
def test_nobody_is_shown_but_places_stay(session, identity, has_tokens):
    components = session.components
    noise = torch.randn(1, 1, components.preset.latent_channels, 16, 16)
    request = PersonalizeRequest(subjects=(Subject(identity),), prompt="a cat", noise=noise)
    condition = prepare(components, request, Clock()).condition
    tokens = torch.randn(1, 1, identity.tokens.shape[-1]) if has_tokens else None
    found = without_identity(condition, tokens)
    assert not found.pooled.any()
    assert not found.attention.detail_scale.any()
    assert not found.attention.detail_background_scale.any()
    assert torch.equal(found.attention.affine, condition.attention.affine)
    if has_tokens:
        assert (found.attention.identity_tokens == tokens[:, None]).all()
        assert torch.equal(found.attention.identity_scale, condition.attention.identity_scale)
    else:
        assert not found.attention.identity_scale.any()
