import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from swiftpie import CapabilityError
from swiftpie.models.projection import projector_for
from swiftpie.models.vision import SIDE_PX as READ_PX
from swiftpie.models.vision import ConvImageEncoder, FaceIdentityEncoder
from tests.tiny.adapters import FILES, projector_tensors
from tests.tiny.networks import FACE, TOWER, WIDTHS

PLAIN, PLUS = "ip-adapter-faceid_sd15", "ip-adapter-faceid-plusv2_sd15"
SIDE_PX = 48  # another than the tower's


@pytest.fixture(scope="module")
def encoders():
    torch.manual_seed(0)
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**TOWER)).eval()
    found = {}
    for name in (PLAIN, PLUS):
        tensors = projector_tensors(name)
        projector = projector_for(tensors, face_version=FILES[name][2].get("version"))
        found[name] = FaceIdentityEncoder(tower, projector).requires_grad_(False)
    return found


def faces(*, batch=2):
    torch.manual_seed(1)
    pixels = torch.rand(batch, 3, SIDE_PX, SIDE_PX) * 2 - 1
    return pixels, torch.ones_like(pixels[:, :1]), torch.randn(batch, FACE)


@pytest.mark.parametrize("name", [PLAIN, PLUS])
def test_every_face_gives_four_tokens(encoders, name):
    assert encoders[name](*faces()).shape == (2, 4, WIDTHS["sd15"])
    assert encoders[name].face_width == FACE


def test_only_face_plus_looks_at_the_picture(encoders):
    pixels, mask, vectors = faces()
    for name, looks in ((PLAIN, False), (PLUS, True)):
        encoder = encoders[name]
        assert encoder.needs_crops is looks
        same = torch.equal(encoder(pixels, mask, vectors), encoder(-pixels, mask, vectors))
        assert same is not looks


def test_where_nothing_is_seen_the_picture_does_not_matter(encoders):
    pixels, mask, vectors = faces()
    unseen = [encoders[PLUS](picture, 0 * mask, vectors) for picture in (pixels, -pixels)]
    assert torch.equal(*unseen)
    assert not torch.equal(unseen[0], encoders[PLUS](pixels, mask, vectors))


@pytest.mark.parametrize("name", [PLAIN, PLUS])
def test_pictures_alone_are_refused(encoders, name):
    with pytest.raises(CapabilityError, match="face_identity"):
        encoders[name](*faces()[:2])


@pytest.mark.parametrize("side", [96, 200, 256])
@torch.no_grad()
def test_references_of_any_size_are_read_as_bilinear_interpolation_makes_them(side):
    torch.manual_seed(0)
    encoder = ConvImageEncoder()
    pixels, mask = torch.rand(1, 3, side, side), torch.rand(1, 1, side, side)
    smaller = (
        F.interpolate(tensor, (READ_PX, READ_PX), mode="bilinear", antialias=True)
        for tensor in (pixels, mask)
    )
    torch.testing.assert_close(encoder(pixels, mask), encoder(*smaller))
