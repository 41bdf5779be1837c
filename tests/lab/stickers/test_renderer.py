import pytest
import torch

from swiftpie.geometry.layout import whole_frame
from swiftpie_lab.stickers.captions import Attributes
from swiftpie_lab.stickers.renderer import (
    FOREGROUND_SHARE,
    contact_shadow,
    draw_frames,
    foregrounds,
    light,
    render,
)
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.world.fields import read_fields
from swiftpie_lab.world.placing import lowest_point

PLAIN = Attributes()
NAMES = [scene.name for scene in SCENES]


def draw_noise(count, seed=0):
    return torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(seed))


def draw(world, batch, scenes, *, noise=None, attributes=PLAIN, **options):
    count = len(scenes)
    frames = batch.frames[torch.arange(count) % len(batch.frames)]
    noise = draw_noise(count) if noise is None else noise
    rows = [attributes] * count
    return frames, render(
        noise, frames, scenes, rows, accessories=world.accessories, size_px=64, **options
    )


def test_layout_says_where_the_subject_is(world, batch):
    scenes = [NAMES.index("pink"), NAMES.index("space")] * 6  # without foregrounds
    frames, rendering = draw(world, batch, scenes)
    expected = draw_frames(frames, rendering.layout, size_px=64)[:, 3:]
    both = torch.minimum(expected, rendering.mask).sum(dim=(1, 2, 3))
    either = torch.maximum(expected, rendering.mask).sum(dim=(1, 2, 3))
    assert (both / either).min() > 0.9
    assert rendering.mask.sum(dim=(1, 2, 3)).min() > 50


def test_pictures_differ_from_the_background_only_where_something_is(world, batch):
    scenes = list(range(len(SCENES)))
    frames, rendering = draw(world, batch, scenes)
    fields = read_fields(draw_noise(len(scenes)), size_px=64)
    layout = rendering.layout
    base = (layout.centre[:, 1] + lowest_point(frames, layout)).view(-1, 1, 1, 1)
    shadow = contact_shadow(fields, scenes, layout=layout, base=base)
    _, coverage = foregrounds(fields, scenes, layout=layout, base=base)
    untouched = (shadow < 1e-4) & (coverage == 0) & (rendering.mask == 0)
    difference = (rendering.pixels - rendering.background).abs().amax(dim=1, keepdim=True)
    assert difference[untouched].max() < 1e-3
    assert untouched.float().mean() > 0.2
    assert difference[rendering.mask > 0.9].mean() > 0.1


def test_foregrounds_hide_the_foot_of_some_subjects(world, batch):
    scenes = [NAMES.index("forest")] * 40
    noise = draw_noise(40, seed=3)
    frames, rendering = draw(world, batch, scenes, noise=noise)
    alpha = draw_frames(frames, rendering.layout, size_px=64)[:, 3:]
    hidden = (alpha - rendering.mask).sum(dim=(1, 2, 3)) / alpha.sum(dim=(1, 2, 3))
    assert (hidden > 0).float().mean().item() == pytest.approx(FOREGROUND_SHARE, abs=0.2)
    assert hidden.max() < 0.3


def test_grounded_subjects_stand_and_floating_ones_do_not_cast_shadows(world, batch):
    scenes = [NAMES.index("white")] * 12
    frames, rendering = draw(world, batch, scenes)
    base = rendering.layout.centre[:, 1] + lowest_point(frames, rendering.layout)
    assert ((base > 0.79) & (base < 0.95)).all()
    fields = read_fields(draw_noise(12), size_px=64)
    floating = [NAMES.index("space")] * 12
    shadow = contact_shadow(fields, floating, layout=rendering.layout, base=base.view(-1, 1, 1, 1))
    assert shadow.max() == 0


def test_night_is_darker_than_day(batch):
    frames = batch.frames
    fields = read_fields(draw_noise(6), size_px=64)
    layout = whole_frame(frames)._replace(scale=torch.full((6,), 0.6))
    sprite = draw_frames(frames, layout, size_px=64)
    day = light(sprite, fields, [NAMES.index("beach")] * 6, layout=layout)
    night = light(sprite, fields, [NAMES.index("night")] * 6, layout=layout)
    assert (night[:, :3].mean(dim=(1, 2, 3)) < 0.75 * day[:, :3].mean(dim=(1, 2, 3))).all()


def test_sides_and_sizes_are_obeyed(world, batch):
    scenes = [NAMES.index("blue")] * 12
    layouts = {
        attributes: draw(world, batch, scenes, attributes=attributes)[1].layout
        for attributes in (
            Attributes(side="left", size="tiny"),
            Attributes(side="right", size="huge"),
            Attributes(),
        )
    }
    left, right, plain = layouts.values()
    assert left.centre[:, 0].max() < 0.5 < right.centre[:, 0].min()
    assert (left.scale < plain.scale).all()
    assert (plain.scale < right.scale).all()


def test_accessories_belong_to_the_mask(world, batch):
    scenes = [NAMES.index("green")] * 6
    _, bare = draw(world, batch, scenes)
    _, crowned = draw(
        world, batch, scenes, attributes=Attributes(accessory="crown"), layout=bare.layout
    )
    assert (crowned.mask.sum(dim=(1, 2, 3)) > bare.mask.sum(dim=(1, 2, 3)) + 5).all()


def test_black_and_white_pictures_have_no_colour(world, batch):
    _, rendering = draw(world, batch, [0, 3, 8], attributes=Attributes(is_black_and_white=True))
    for pictures in (rendering.pixels, rendering.background):
        assert (pictures.amax(dim=1) - pictures.amin(dim=1)).max() < 1e-5


def test_a_given_layout_keeps_another_subject_in_the_same_place(world, batch):
    scenes = [NAMES.index("desert")] * 6
    _, first = draw(world, batch, scenes)
    frames = batch.frames.roll(1, 0)
    second = render(
        draw_noise(6),
        frames,
        scenes,
        [Attributes()] * 6,
        accessories=world.accessories,
        size_px=64,
        layout=first.layout,
    )
    assert torch.equal(first.background, second.background)
    assert all(torch.equal(a, b) for a, b in zip(first.layout, second.layout, strict=True))
    assert not torch.equal(first.pixels, second.pixels)


def test_a_row_does_not_depend_on_the_others(world, batch):
    scenes = [0, 5, 9, 5]
    noise = draw_noise(4)
    _, together = draw(world, batch, scenes, noise=noise)
    _, alone = draw(world, batch, scenes[:1], noise=noise[:1])
    assert torch.allclose(together.pixels[:1], alone.pixels, atol=1e-4)
