import pytest
import torch
from torch.nn import functional as F

from swiftpie.mini.words import RENDITIONS
from swiftpie_world.fields import read_fields
from swiftpie_world.renditions import ARTS, render_as
from swiftpie_world.sampler import World


@pytest.fixture(scope="module")
def world(subjects):
    return World(subjects, "held_out", size_px=128)


@pytest.fixture(scope="module")
def batch(world):
    return world.batch(6, 1, seed=11)


def pictures(batch):
    return (batch.pixels + 1) / 2


def drawn(batch, name, *, picture=None, rows=slice(None)):
    picture = pictures(batch)[rows] if picture is None else picture
    fields = read_fields(batch.noise[rows], size_px=picture.shape[-1])
    return render_as(picture, fields, [name] * len(picture), batch.mask[rows])


def test_every_art_has_words_and_all_words_an_art():
    assert tuple(RENDITIONS) == ARTS


def test_nothing_asked_for_changes_nothing(batch):
    assert torch.equal(drawn(batch, "none"), pictures(batch))


def test_a_row_does_not_depend_on_the_others(batch):
    fields = read_fields(batch.noise, size_px=128)
    names = ["oil", "none", "comic", "oil", "stained glass", "oil"]
    mixed = render_as(pictures(batch), fields, names, batch.mask)
    assert torch.allclose(mixed[3:4], drawn(batch, "oil", rows=slice(3, 4)), atol=1e-5)
    assert torch.equal(mixed[1], pictures(batch)[1])


def test_renditions_are_distinguished_and_from_the_picture(batch):
    art = [pictures(batch), *(drawn(batch, name) for name in RENDITIONS)]
    for picture in art[1:]:
        assert picture.min() >= 0
        assert picture.max() <= 1
    for number, picture in enumerate(art):
        for other in art[:number]:
            apart = (picture - other).abs().mean(dim=(1, 2, 3))
            assert apart.min() > 0.04
            assert apart.mean() > 0.06


@pytest.mark.parametrize("name", RENDITIONS)
def test_renditions_look_the_same_at_another_size(batch, name):
    large = F.interpolate(pictures(batch), scale_factor=2, mode="bilinear")
    mask = F.interpolate(batch.mask, scale_factor=2, mode="bilinear")
    fields = read_fields(batch.noise, size_px=256)
    reduced = F.avg_pool2d(render_as(large, fields, [name] * 6, mask), 2)
    small = drawn(batch, name)
    # Twice blurred: an edge may move by less than a pixel of the smaller picture.
    difference = F.avg_pool2d(reduced, 4) - F.avg_pool2d(small, 4)
    assert difference.abs().mean() < 0.05


@pytest.mark.parametrize("name", RENDITIONS)
def test_renditions_show_the_subject_and_the_scene(batch, name):
    art = drawn(batch, name)
    empty = render_as((batch.background + 1) / 2, read_fields(batch.noise, size_px=128), [name] * 6)
    subject = (art - empty).abs().mean(dim=1, keepdim=True)
    inside = (subject * batch.mask).sum(dim=(1, 2, 3)) / batch.mask.sum(dim=(1, 2, 3))
    assert inside.mean() > 0.06
    assert empty.mean(dim=1).std(dim=(1, 2)).mean() > 0.02  # some scenes are plain


@pytest.mark.parametrize("name", ["pencil", "ink", "blueprint", "chalk", "neon lines", "comic"])
def test_the_outline_of_a_mask_is_drawn_where_the_picture_has_no_edge(batch, name):
    even = torch.full((6, 3, 128, 128), 0.6) * torch.tensor([1.0, 0.8, 0.5]).view(1, 3, 1, 1)
    fields = read_fields(batch.noise, size_px=128)
    mask = torch.zeros(6, 1, 128, 128)
    mask[:, :, 40:90, 40:90] = 1
    with_edges = render_as(even, fields, [name] * 6, mask)
    difference = (with_edges - render_as(even, fields, [name] * 6)).abs()
    assert difference[:, :, 38:42, 50:80].mean() > 0.1
    assert difference[:, :, 55:75, 55:75].max() < 0.02


def test_drawing_makes_no_tensor_on_another_device():
    # Mixing tensors of the meta device with others raises, as a GPU's would.
    rows = len(RENDITIONS)
    picture = torch.empty(rows, 3, 128, 128, device="meta")
    fields = read_fields(torch.empty(rows, 32, 16, 16, device="meta"), size_px=128)
    assert render_as(picture, fields, RENDITIONS, picture[:, :1]).is_meta
