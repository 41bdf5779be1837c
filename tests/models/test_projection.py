import itertools

import pytest
import torch

from swiftpie import WeightsError
from swiftpie.models.projection import image_proj_of, projector_for
from swiftpie.models.vision import Feature
from tests.parity.ip_adapter import FILES, WIDTHS, features_for, projector_shapes

FAMILIES = ["linear", "plus", "full", "face", "face_plus"]


def tensors_of(family):
    name = next(name for name in FILES if FILES[name][1] == family and FILES[name][0] == "sd15")
    generator = torch.Generator().manual_seed(0)
    shapes = projector_shapes(family, WIDTHS["sd15"], **FILES[name][2])
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def projector_of(family):
    return projector_for(tensors_of(family), face_version=1)


def resampler(prefix, *, inner, heads, features, width):
    """Full-size shapes without data."""
    shapes = {
        f"{prefix}proj_in.weight": (inner, features),
        f"{prefix}proj_in.bias": (inner,),
        f"{prefix}proj_out.weight": (width, inner),
        f"{prefix}proj_out.bias": (width,),
        f"{prefix}norm_out.weight": (width,),
        f"{prefix}norm_out.bias": (width,),
    }
    for number in range(4):
        layer = f"{prefix}layers.{number}"
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"{layer}.{norm}.weight": (inner,), f"{layer}.{norm}.bias": (inner,)}
        shapes[f"{layer}.0.to_q.weight"] = (64 * heads, inner)
        shapes[f"{layer}.0.to_kv.weight"] = (128 * heads, inner)
        shapes[f"{layer}.0.to_out.weight"] = (inner, 64 * heads)
        shapes[f"{layer}.1.1.weight"] = (4 * inner, inner)
        shapes[f"{layer}.1.3.weight"] = (inner, 4 * inner)
    return shapes


def linear(features, width):
    rows = {"proj.weight": (4 * width, features), "proj.bias": (4 * width,)}
    return rows | {"norm.weight": (width,), "norm.bias": (width,)}


def face(num_tokens, width):
    first = {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,)}
    second = {"proj.2.weight": (num_tokens * width, 1024), "proj.2.bias": (num_tokens * width,)}
    return first | second | {"norm.weight": (width,), "norm.bias": (width,)}


def plus(inner, heads, width):
    shapes = resampler("", inner=inner, heads=heads, features=1280, width=width)
    return {"latents": (1, 16, inner)} | shapes


def face_plus(width):
    shapes = resampler(
        "perceiver_resampler.", inner=width, heads=width // 64, features=1280, width=width
    )
    return face(4, width) | shapes


FULL_FACE = {
    "proj.0.weight": (1280, 1280),
    "proj.0.bias": (1280,),
    "proj.2.weight": (768, 1280),
    "proj.2.bias": (768,),
    "proj.3.weight": (768,),
    "proj.3.bias": (768,),
}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (linear(1024, 768), (Feature.EMBEDS, 1024, 4, 768)),
        (linear(1280, 768), (Feature.EMBEDS, 1280, 4, 768)),
        (linear(1024, 1024), (Feature.EMBEDS, 1024, 4, 1024)),
        (linear(1280, 2048), (Feature.EMBEDS, 1280, 4, 2048)),
        (plus(768, 12, 768), (Feature.HIDDEN, 1280, 16, 768)),
        (plus(1280, 20, 2048), (Feature.HIDDEN, 1280, 16, 2048)),
        (FULL_FACE, (Feature.HIDDEN, 1280, 257, 768)),
        (face(4, 768), (Feature.FACE, 512, 4, 768)),
        (face(16, 2048), (Feature.FACE, 512, 16, 2048)),
        (face_plus(2048), (Feature.FACE_AND_HIDDEN, 1280, 4, 2048)),
    ],
)
def test_released_sizes_are_recognised(shapes, expected):
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    projector = projector_for(tensors)
    found = (projector.feature, projector.feature_width, projector.num_tokens, projector.width)
    assert found == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_writing_gives_back_what_was_read(family):
    tensors = tensors_of(family)
    written = image_proj_of(projector_of(family).module)
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_have_the_promised_shape(family):
    projector = projector_of(family)
    tokens = projector.module(*features_for(projector))
    num_tokens = projector.num_tokens if family != "full" else 9  # one a patch
    assert tokens.shape == (2, num_tokens, projector.width)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_missing_tensor_is_refused(family):
    tensors = tensors_of(family)
    for name in tensors:
        with pytest.raises(WeightsError):
            projector_for({n: t for n, t in tensors.items() if n != name}, face_version=1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("extra", ["proj.9.weight", "layers.0.0.to_x.weight", "scale"])
def test_a_superfluous_tensor_is_refused(family, extra):
    with pytest.raises(WeightsError, match=extra):
        projector_for(tensors_of(family) | {extra: torch.ones(1)}, face_version=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_misshapen_tensor_is_refused(family):
    tensors = tensors_of(family)
    wrongs = (lambda one: one[:-1], lambda one: one[None], lambda one: one.new_ones(()))
    for (name, tensor), wrong in zip(tensors.items(), itertools.cycle(wrongs), strict=False):
        with pytest.raises(WeightsError):
            projector_for(tensors | {name: wrong(tensor)}, face_version=1)


def test_whole_numbers_are_refused():
    tensors = {name: tensor.long() for name, tensor in tensors_of("linear").items()}
    with pytest.raises(WeightsError, match="Floating-point"):
        projector_for(tensors)


def test_an_unknown_family_is_refused():
    with pytest.raises(WeightsError, match="no known family"):
        projector_for({"time_embed.weight": torch.ones(2, 2)})


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


def test_small_files_have_the_names_of_the_released_ones():
    assert {name for name in FILES if FILES[name][1] == "plus"}
    for family, shapes in {"plus": plus(128, 2, 24), "face_plus": face_plus(64)}.items():
        assert projector_shapes(family, 24).keys() == shapes.keys()
