import pytest
import torch
from torch.nn import functional as F

from swiftpie.lexicon import RENDITIONS
from swiftpie_world.fields import read_fields
from swiftpie_world.renditions import ARTS, render_as
from swiftpie_world.sampler import World


@pytest.fixture(scope="module")
def batch(subjects):
    return World(subjects, "held_out", size_px=128).batch(6, 1, seed=11)


def drawn(batch, names, *, scale=1):
    picture, mask = ((batch.pixels + 1) / 2), batch.mask
    if scale > 1:
        picture, mask = (
            F.interpolate(part, scale_factor=scale, mode="bilinear") for part in (picture, mask)
        )
    return render_as(picture, read_fields(batch.noise, size_px=picture.shape[-1]), names, mask)


def test_every_art_has_words_and_all_words_an_art():
    assert tuple(RENDITIONS) == ARTS


def test_a_row_does_not_depend_on_the_others_and_without_an_art_nothing_changes(batch):
    mixed = drawn(batch, ["oil", "none", "comic", "oil", "stained glass", "oil"])
    assert torch.allclose(mixed[3], drawn(batch, ["oil"] * 6)[3], atol=1e-5)
    assert torch.equal(mixed[1], (batch.pixels[1] + 1) / 2)


@pytest.mark.parametrize("name", RENDITIONS)
def test_renditions_are_in_range_and_look_the_same_at_another_size(batch, name):
    small, large = drawn(batch, [name] * 6), drawn(batch, [name] * 6, scale=2)
    assert 0 <= small.min() <= small.max() <= 1
    # Twice blurred: an edge may move by less than a pixel of the smaller picture.
    difference = F.avg_pool2d(large, 8) - F.avg_pool2d(small, 4)
    assert difference.abs().mean() < 0.05
    plain = (batch.pixels + 1) / 2
    assert (small - plain).abs().mean(dim=(1, 2, 3)).min() > 0.04


@pytest.mark.parametrize("name", ["pencil", "ink", "blueprint", "chalk", "neon lines", "comic"])
def test_the_outline_of_a_mask_is_drawn_where_the_picture_has_no_edge(batch, name):
    even = torch.full((6, 3, 128, 128), 0.6) * torch.tensor([1.0, 0.8, 0.5]).view(1, 3, 1, 1)
    fields, mask = read_fields(batch.noise, size_px=128), torch.zeros(6, 1, 128, 128)
    mask[:, :, 40:90, 40:90] = 1
    with_edges, without = (render_as(even, fields, [name] * 6, *each) for each in ([mask], []))
    difference = (with_edges - without).abs()
    assert difference[:, :, 38:42, 50:80].mean() > 0.1
    assert difference[:, :, 55:75, 55:75].max() < 0.02


def test_drawing_makes_no_tensor_on_another_device():
    # Mixing tensors of the meta device with others raises, as a GPU's would.
    rows = len(RENDITIONS)
    picture = torch.empty(rows, 3, 128, 128, device="meta")
    fields = read_fields(torch.empty(rows, 32, 16, 16, device="meta"), size_px=128)
    assert render_as(picture, fields, RENDITIONS, picture[:, :1]).is_meta
