import itertools

import pytest
import torch

from swiftpie import WeightsError
from swiftpie.models.projection import image_proj_of, projector_for
from swiftpie.models.vision import Feature
from tests.parity.ip_adapter import features_for
from tests.tiny.adapters import FILES, projector_shapes
from tests.tiny.networks import WIDTHS

FAMILIES = ["linear", "plus", "full", "face", "face_plus"]


def tensors_of(family):
    name = next(name for name in FILES if FILES[name][1] == family and FILES[name][0] == "sd15")
    generator = torch.Generator().manual_seed(0)
    shapes = projector_shapes(family, WIDTHS["sd15"], **FILES[name][2])
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def projector_of(family):
    return projector_for(tensors_of(family), face_version=1)


@pytest.mark.parametrize(
    ("family", "width", "sizes", "expected"),
    [
        ("linear", 768, {"features": 1024}, (Feature.EMBEDS, 1024, 4)),
        ("linear", 1024, {"features": 1024}, (Feature.EMBEDS, 1024, 4)),
        ("linear", 2048, {"features": 1280}, (Feature.EMBEDS, 1280, 4)),
        ("plus", 768, {"inner": 768, "hidden": 1280}, (Feature.HIDDEN, 1280, 16)),
        ("plus", 2048, {"inner": 1280, "hidden": 1280}, (Feature.HIDDEN, 1280, 16)),
        ("full", 768, {"hidden": 1280}, (Feature.HIDDEN, 1280, 257)),
        ("face", 768, {"face": 512}, (Feature.FACE, 512, 4)),
        ("face", 2048, {"face": 512, "num_tokens": 16}, (Feature.FACE, 512, 16)),
        (
            *("face_plus", 2048, {"face": 512, "hidden": 1280, "inner": 2048}),
            (Feature.FACE_AND_HIDDEN, 1280, 4),
        ),
    ],
)
def test_released_sizes_are_recognised(family, width, sizes, expected):
    shapes = projector_shapes(family, width, **sizes)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    projector = projector_for(tensors)
    found = (projector.feature, projector.feature_width, projector.num_tokens)
    assert (*found, projector.width) == (*expected, width)


@pytest.mark.parametrize("family", FAMILIES)
def test_writing_gives_back_what_was_read(family):
    tensors = tensors_of(family)
    written = image_proj_of(projector_of(family).module)
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_missing_superfluous_or_misshapen_tensor_is_refused(family):
    tensors = tensors_of(family)
    wrongs = (lambda one: one[:-1], lambda one: one[None], lambda one: one.new_ones(()))
    for (name, tensor), wrong in zip(tensors.items(), itertools.cycle(wrongs), strict=False):
        others = {n: t for n, t in tensors.items() if n != name}
        for changed in (others, others | {name: wrong(tensor)}):
            with pytest.raises(WeightsError):
                projector_for(changed, face_version=1)
    for extra in ("proj.9.weight", "layers.0.0.to_x.weight", "scale"):
        with pytest.raises(WeightsError, match=extra):
            projector_for(tensors | {extra: torch.ones(1)}, face_version=1)


def test_whole_numbers_and_unknown_families_are_refused():
    whole = {name: tensor.long() for name, tensor in tensors_of("linear").items()}
    for tensors, word in (
        (whole, "Floating-point"),
        ({"time_embed.weight": torch.ones(2, 2)}, "no known family"),
    ):
        with pytest.raises(WeightsError, match=word):
            projector_for(tensors)


def test_half_precision_is_read_as_float32():
    half = {name: tensor.half() for name, tensor in tensors_of("plus").items()}
    projector = projector_for(half)
    assert {p.dtype for p in projector.module.parameters()} == {torch.float32}


def test_the_version_of_a_face_plus_adapter_has_to_be_said():
    with pytest.raises(WeightsError, match="faceid-plus"):
        projector_for(tensors_of("face_plus"))


def test_both_versions_of_face_plus_differ_by_the_face_alone():
    first, second = (projector_for(tensors_of("face_plus"), face_version=v) for v in (1, 2))
    face_vector, hidden = features_for(first)
    change = second.module(face_vector, hidden) - first.module(face_vector, hidden)
    other = second.module(face_vector, hidden + 1) - first.module(face_vector, hidden + 1)
    torch.testing.assert_close(change, other)
    assert change.abs().max() > 1e-2


def test_a_call_leaves_nothing_in_a_face_plus_projector():
    projector = projector_of("face_plus")
    face_vector, hidden = features_for(projector)
    before = projector.module(face_vector, hidden)
    projector.module(face_vector + 1, hidden + 1)
    assert torch.equal(projector.module(face_vector, hidden), before)
    assert projector.module.clip_embeds is None
