import re
import tomllib
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch.nn import functional as F

import swiftpie
from swiftpie.errors import ConfigError, InputError, NoSubject
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_pil
from swiftpie.library import subject_library
from swiftpie.masks import box_mask, iou
from swiftpie.photo import cutout
from swiftpie.photo.cutout import CutOut, confidence_of, cut_out, cutout_network, find_with
from swiftpie.photo.cutout_net import CutoutNet
from swiftpie.photo.outline import CUTOUT_PX, GUESS_PX, evenly_sharp
from swiftpie.photo.search import Search, parse_search, search_at
from swiftpie.types import DOUBTFUL, Cutout, CutoutMethod
from swiftpie_lab.data.collages import draw_collages
from tests.lab.collages import collection_of
from tests.quick import thorough_but
from tests.shapes import HEIGHT, WIDTH, as_mask, ellipse, photo, star

TABLES = tomllib.loads(Path(__file__).with_name("cutout.toml").read_text(encoding="utf-8"))

MAX_BYTES = 3.2 * 2**20


def test_every_pixel_has_a_logit_and_samples_do_not_mix():
    torch.manual_seed(0)
    network, pixels = CutoutNet().eval(), torch.randn(3, 3, CUTOUT_PX, CUTOUT_PX)
    with torch.no_grad():
        logits, alone = network(pixels), network(pixels[1:2])
    assert logits.shape == (3, 1, GUESS_PX, GUESS_PX)
    torch.testing.assert_close(logits[1:2], alone, atol=1e-4, rtol=1e-4)


def test_every_pixel_sees_the_whole_picture():
    torch.manual_seed(0)
    network = CutoutNet().eval()
    pixels = torch.randn(1, 3, CUTOUT_PX, CUTOUT_PX, requires_grad=True)
    network(pixels)[0, 0, 0, 0].backward()
    assert pixels.grad[0, :, -8:, -8:].abs().max() > 0


def test_the_packaged_network_is_small_and_frozen():
    network = cutout_network()
    assert cutout_network() is network
    assert sum(weights.numel() for weights in network.parameters()) <= MAX_BYTES
    assert not any(weights.requires_grad for weights in network.parameters())
    assert not network.training


@pytest.fixture(scope="module")
def collages(tmp_path_factory):
    return partial(draw_collages, collection_of(tmp_path_factory.mktemp("pictures")), count=24)


def mask_at_full_size(mask):
    return F.interpolate(mask, (CUTOUT_PX, CUTOUT_PX), mode="bilinear")


def test_subjects_are_found_among_other_things(collages):
    pixels, mask = collages(seed=12345).tensors()
    found = torch.cat([find_with(cutout_network(), photo).mask for photo in to_pil(pixels[:6])])
    assert iou(found, mask_at_full_size(mask[:6])).median() > 0.8


@pytest.mark.parametrize(
    "shown",
    thorough_but(
        [*product((ellipse, star), ("white", "blue", "dark", "gradient", "vignette", "horizon"))],
        [(ellipse, "gradient"), (star, "horizon")],
    ),
)
def test_subject_on_a_plain_ground_is_found(shown):
    shape, ground = shown
    mask = cut_out(photo(shape(), ground)).mask
    assert mask.shape == (1, 1, HEIGHT, WIDTH)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert iou(mask, as_mask(shape())).item() > 0.9


@pytest.mark.parametrize("subject", thorough_but(TABLES["colours"], [[205, 190, 170]]))
def test_subject_of_any_colour_is_found_on_white(subject):
    mask = cut_out(photo(ellipse(), "white", subject=subject)).mask
    assert iou(mask, as_mask(ellipse())).item() > 0.9


def test_a_small_spot_of_ground_colour_inside_is_filled():
    image = photo(ellipse())
    ImageDraw.Draw(image).ellipse((200, 100, 216, 116), fill="white")
    assert cut_out(image).mask[0, 0, 108, 208] > 0.9


@pytest.mark.parametrize(
    "shown", thorough_but([*product((20, 45), ("blue", "dark", "gradient"))], [(20, "blue")])
)
def test_the_opening_of_a_ring_shows_the_ground(shown):
    width, ground = shown
    truth = ellipse()
    ImageDraw.Draw(truth).ellipse((130 + width, 60 + width, 290 - width, 250 - width), fill=0)
    assert iou(cut_out(photo(truth, ground)).mask, as_mask(truth)).item() > 0.85


def test_a_white_belly_on_white_is_no_opening():
    image = photo(ellipse(), "white")
    ImageDraw.Draw(image).ellipse((170, 150, 250, 220), fill=(248, 248, 248))
    assert iou(cut_out(image).mask, as_mask(ellipse())).item() > 0.9


@pytest.mark.parametrize("ground", ["white", "blue"])
def test_a_point_beside_the_subject_opens_a_hole_in_it(ground):
    truth = ellipse()
    ImageDraw.Draw(truth).ellipse((200, 140, 222, 162), fill=0)
    image, beside = photo(truth, ground), (211 / WIDTH, 151 / HEIGHT)
    assert cut_out(image).mask[..., 151, 211] > 0.9
    found = cut_out(image, Search(background=(beside,))).mask
    assert found[..., 151, 211] < 0.1
    assert iou(found, as_mask(truth)).item() > 0.9


def test_two_parts_of_like_size_are_both_kept_and_specks_dropped():
    truth = ellipse((80, 90, 180, 210))
    ImageDraw.Draw(truth).ellipse((240, 90, 340, 210), fill=255)
    image = photo(truth)
    ImageDraw.Draw(image).ellipse((30, 250, 38, 258), fill=(190, 60, 40))
    mask = cut_out(image).mask
    assert iou(mask, as_mask(truth)).item() > 0.9
    assert mask[0, 0, 254, 34] < 0.1


def test_the_shipped_photo_is_cut_out():
    folder = Path(swiftpie.__file__).parent / "assets" / "photos"
    mask = cut_out(load_image(folder / "dahlia.jpg")).mask[0, 0]
    rows, columns = (mask > 0.5).any(dim=1).nonzero(), (mask > 0.5).any(dim=0).nonzero()
    height = (rows.max() - rows.min()).item()
    width = (columns.max() - columns.min()).item()
    assert 0.85 < width / height < 1.2  # one round flower, without its neighbour
    assert mask.mean().item() * mask.numel() / (width * height) == pytest.approx(0.785, abs=0.06)


@pytest.mark.parametrize(("side_px", "num_looks"), [(240, 2), (90, 3)])
def test_only_a_small_subject_is_looked_at_closely(side_px, num_looks):
    bear = subject_library().image("bear").convert("RGBA").resize((side_px, side_px))
    image, looks = Image.new("RGB", (300, 300), (120, 150, 110)), []
    image.paste(bear, (30, 30), bear)
    hook = cutout_network().register_forward_hook(lambda *_: looks.append(1))
    mask = find_with(cutout_network(), image).mask
    hook.remove()
    assert len(looks) == num_looks
    truth = Image.new("L", image.size)
    truth.paste(bear.getchannel("A"), (30, 30))
    assert iou(mask, as_mask(truth)).item() > 0.9


@pytest.mark.parametrize("size", [(300, 300), (1, 1), (2, 9), (40, 2)])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_an_empty_picture_has_no_subject(size, colour):
    with pytest.raises(InputError, match=r"% of the picture .* Supply a mask"):
        cut_out(Image.new("RGB", size, colour))


def test_what_lies_along_three_borders_needs_a_hint():
    bear = subject_library().image("bear").convert("RGBA").resize((420, 420))
    image = Image.new("RGB", (300, 300), (120, 150, 110))
    image.paste(bear, (-60, 40), bear)
    with pytest.raises(NoSubject, match=r"three of its borders.*a box around it"):
        cut_out(image)
    assert cut_out(image, Search(box=(0, 0.1, 1, 1))).mask.mean() > 0.5


def test_transparency_wins_over_colours_and_hints_look_past_it():
    image = photo(star())
    image.putalpha(ellipse())
    assert torch.equal(cut_out(image).mask, as_mask(ellipse()))
    assert cut_out(image).how == Cutout(CutoutMethod.TRANSPARENCY, 1.0)
    hinted = cut_out(image, Search(box=(0.15, 0.05, 0.85, 0.95)))
    assert hinted.how.way == CutoutMethod.NETWORK
    assert iou(hinted.mask, as_mask(star())).item() > 0.9
    image.putalpha(255)
    assert iou(cut_out(image).mask, as_mask(star())).item() > 0.9
    image.putalpha(0)
    with pytest.raises(InputError, match="0% of the picture"):
        cut_out(image)


@pytest.mark.slow
def test_confidence_tells_bad_cutouts_from_good_ones(collages):
    drawn = [collages(seed=seed).tensors() for seed in (777, 778)]
    pixels, masks = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    photos, network = to_pil(pixels), cutout_network()
    found = [find_with(network, photo) for photo in photos]
    pairs = zip(photos, found, strict=True)
    sure = torch.tensor([confidence_of(network, *pair) for pair in pairs])
    truth = mask_at_full_size(masks)
    is_good = iou(torch.cat([cutout.mask for cutout in found]), truth) > 0.85
    assert is_good.sum() >= 20
    assert (~is_good).sum() >= 10
    ordered = (sure[is_good][:, None] > sure[~is_good]).float().mean()
    assert ordered > 0.7  # of all pairs; 0.5 is chance
    assert (sure[is_good] < DOUBTFUL).float().mean() < 0.33


def test_a_doubtful_cutout_is_reported_with_the_way_out_and_a_sure_one_is_not(caplog):
    cut_out(photo(star(), "gradient"))
    assert caplog.records == []
    noise = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    cut_out(to_pil(F.interpolate(noise, (300, 400), mode="bilinear"))[0])
    (warning,) = {record.getMessage() for record in caplog.records}
    assert "a box close around it may mend it, as in `cutout=" in warning


def test_a_rival_out_of_focus_makes_an_outline_less_sure():
    thing = photo(star(), "gradient")
    mask = as_mask(star())
    soft = thing.copy()
    soft.paste(thing.crop((0, 0, WIDTH // 2, HEIGHT)).filter(ImageFilter.GaussianBlur(6)))
    assert evenly_sharp(soft, mask) < 0.8 * evenly_sharp(thing, mask)
    found = CutOut(mask, Cutout(CutoutMethod.NETWORK, 1.0))
    sharp, rivalled = (confidence_of(cutout_network(), each, found) for each in (thing, soft))
    assert rivalled < sharp - 0.1


@pytest.mark.parametrize(("way", "margin", "is_doubtful"), TABLES["doubtful"])
def test_what_is_doubtful_is_the_same_for_the_library_batches_and_the_server(
    way, margin, is_doubtful
):
    confidence = None if margin == "unknown" else DOUBTFUL + margin
    assert Cutout(way, confidence).is_doubtful == is_doubtful


def two_things():
    left, right = ellipse((30, 70, 190, 240)), ellipse((240, 90, 390, 230))
    image = photo(left, subject=(190, 60, 40))
    image.paste(photo(right, subject=(40, 80, 170)), mask=right)
    return image, as_mask(left), as_mask(right)


def test_a_box_says_which_of_two_things_is_the_subject():
    image, left, right = two_things()
    for mask, box in ((left, (0.05, 0.2, 0.48, 0.83)), (right, (0.55, 0.27, 0.95, 0.8))):
        found = cut_out(image, Search(box=box))
        assert iou(found.mask, mask).item() > 0.9
        assert found.how.way == CutoutMethod.NETWORK
        outside = box_mask(box, height=HEIGHT, width=WIDTH) == 0
        assert found.mask[outside].max() < 0.1


def test_points_say_what_is_the_subject_and_what_is_not():
    image, left, right = two_things()
    on_left, on_right = (0.26, 0.6), (0.75, 0.62)
    for mask, point, other in ((left, on_left, on_right), (right, on_right, on_left)):
        found = cut_out(image, Search(points=(point,), background=(other,)))
        assert iou(found.mask, mask).item() > 0.85
    both = cut_out(image, Search(points=(on_left, on_right)))
    assert iou(both.mask, torch.maximum(left, right)).item() > 0.85


def test_views_around_points_lie_within_the_picture_at_each_border():
    for point in ((0.99, 0.98), (0.01, 0.02), (0.99, 0.5), (0.5, 0.99)):
        views = cutout._views((300, 200), Search(points=(point,)))
        for share, (left, top, right, bottom) in zip(cutout.VIEW_SHARES, views, strict=True):
            assert 0 <= left < point[0] * 300 < right <= 300
            assert 0 <= top < point[1] * 200 < bottom <= 200
            assert (right - left, bottom - top) == pytest.approx((300 * share, 200 * share), abs=1)


def test_the_whole_picture_is_the_subject_on_request():
    found = cut_out(photo(star()), Search(CutoutMethod.NONE))
    assert found.mask.min() == 1
    assert found.how == Cutout(CutoutMethod.NONE, None)


def test_colour_is_the_last_resort_and_is_reported(caplog):
    values = np.random.default_rng(0).integers(90, 130, (300, 400, 3)).astype(np.uint8)
    image, truth = Image.fromarray(values), Image.new("L", (400, 300))
    for canvas, colour in ((image, (100, 110, 124)), (truth, 255)):
        ImageDraw.Draw(canvas).rectangle((150, 100, 250, 200), fill=colour)
    assert find_with(cutout_network(), image).mask.max() < 0.5  # the network sees nothing
    caplog.clear()
    found = cut_out(image, name="hut.jpg")
    assert found.how == Cutout(CutoutMethod.COLOUR, None)
    assert iou(found.mask, as_mask(truth)).item() > 0.9
    assert "The subject of 'hut.jpg' was cut out by colour alone" in caplog.text
    assert "swiftpie cutout" not in caplog.text  # who runs it reads this, too


@pytest.mark.parametrize(("text", "spelled"), TABLES["ways_are_spelled_in_words"])
def test_ways_are_spelled_in_words(text, spelled):
    search = parse_search(text)
    assert ("" if search is None else str(search)) == spelled
    assert not spelled or parse_search(spelled) == search


@pytest.mark.parametrize(("text", "message"), TABLES["ways_that_cannot_be_are_refused"])
def test_ways_that_cannot_be_are_refused(text, message):
    with pytest.raises((InputError, ConfigError), match=message):
        parse_search(text)


@pytest.mark.parametrize(("hint", "size"), TABLES["hints_fit_pictures_of_any_size"])
def test_hints_fit_pictures_of_any_size(size, hint):
    search = parse_search(hint)
    mask, how = find_with(cutout_network(), Image.new("RGB", size, "white"), search)
    assert mask.shape == (1, 1, size[1], size[0])
    assert 0 <= mask.min() <= mask.max() <= 1
    assert 0 <= how.confidence <= 1


@pytest.mark.parametrize("point", TABLES["no_points"])
def test_what_is_no_point_is_called_by_its_name(point):
    with pytest.raises(InputError, match=rf"^'{re.escape(point)}' is not a point"):
        search_at(["0.5,0.5", point])


def test_points_may_lie_in_a_box():
    found = search_at([(0.5, 0.5), "not:0.1,.2"], box=(0, 0, 1, 1))
    assert found == Search(box=(0, 0, 1, 1), points=((0.5, 0.5),), background=((0.1, 0.2),))
