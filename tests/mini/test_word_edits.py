import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import CapabilityError, EditMode, EditRequest, EditSettings, Scales
from swiftpie.imageio.images import plane
from swiftpie.masks import grow
from swiftpie.mini.word_edits import WordEdit
from swiftpie.pipelines.choose import CHECK
from swiftpie.pipelines.settings import methods
from swiftpie.scenes import scene_library
from tests.parity.edit import photograph, values

SIZE = (192, 128)  # width and height; not square
ROOM = 12  # pixels between a subject and a box around it
BOX = (0.2, 0.2, 0.8, 0.8)


@pytest.fixture(scope="module")
def picture(session, identity):
    drawn = session.personalize(identity, "a dog on a green background", seed=3, size=SIZE)
    return drawn.images[0], drawn.subject_masks[0]


def apart(result, before):
    return np.abs(values(result.image) - values(before)).max(axis=-1)


def test_a_region_covers_pixels_whose_blue_alone_differs(session):
    photo, drawn = photograph(64, 64), photograph(64, 64)
    red, green, blue = drawn.split()
    drawn = Image.merge("RGB", (red, green, blue.point(lambda level: (level + 40) % 256)))
    request = EditRequest(image=photo, prompt="a blue dog", seed=1)
    edit = WordEdit(session.choose(request), None, photo, None)
    assert edit._region(drawn).getextrema() == (255, 255)


@pytest.mark.parametrize(
    ("prompt", "settings", "inside", "outside"),
    [
        ("a blue dog", {}, (0.5, 1), (0, 0.1)),
        ("a dog in winter", {}, (0, 0.1), (0.5, 1)),
        (
            "a dog on a green background in winter",
            {"source_prompt": "a dog on a green background"},
            (0, 0.1),
            (0.5, 1),
        ),
        ("a dog at night", {}, (0.9, 1), (0.9, 1)),
        ("a red dog at night", {}, (0.9, 1), (0.9, 1)),
    ],
)
def test_what_the_words_name_changes_and_only_where_it_was_announced(
    session, picture, prompt, settings, inside, outside
):
    before, mask = picture
    result = session.edit(before, prompt, seed=1, **settings)
    announced = session.find_region(EditRequest(image=before, prompt=prompt, seed=1, **settings))
    change, subject = apart(result, before), values(mask)
    assert result.origin["method"] == "words"
    assert result.region.tobytes() == announced.tobytes()
    assert not change[values(announced) == 0].any()
    for (least, most), where in ((inside, subject > 250), (outside, subject == 0)):
        assert least <= (change > 4)[where].mean() <= most


def test_no_strength_chooses_another_technique_and_idle_ones_are_named(session, picture, caplog):
    settings = EditSettings(scales=Scales(text_scale=1.1), variation=0.5, mode=EditMode.PAPER)
    plain, given = (
        session.edit(picture[0], "a blue dog", seed=1, settings=each)
        for each in (EditSettings(), settings)
    )
    assert given.image.tobytes() == plain.image.tobytes()
    assert "no effect on this edit, which no denoiser draws. Only `method=inv" in caplog.text


@pytest.mark.parametrize(
    ("prompt", "given", "word"),
    [
        ("jumping", {}, "larger model"),
        ("a dog upside down", {"mask": BOX}, "larger model"),
        ("nothing", {}, "`remove`"),
        ("a lion", {"source_prompt": "a dog"}, "`replace`"),
        ("in front of a castle", {}, "`personalize`"),
        ("with a red scarf at night", {}, "wears"),
        ("a watercolour of a dog", {}, "Art"),
        ("a dog by day", {"source_prompt": "a dog at night"}, "clear summer day"),
        *(("at night", {"settings": EditSettings(method=method)}, method) for method in methods()),
    ],
)
def test_what_is_not_done_well_is_refused_with_what_does_it(session, picture, prompt, given, word):
    request = EditRequest(image=picture[0], prompt=prompt, seed=1, **given)
    for draw in (session.draw, session.find_region):
        with pytest.raises(CapabilityError, match=word):
            draw(request)


def test_a_subject_that_comes_is_left_to_replacements(session, picture, identity):
    for mask in (None, BOX):
        with pytest.raises(CapabilityError, match="`replace`"):
            session.edit(picture[0], "a cat", identity=identity, mask=mask, seed=1)


@pytest.mark.parametrize("given", [{}, {"mask": BOX}])
def test_prompts_that_say_the_same_change_nothing(session, picture, given, caplog):
    settings = EditSettings(variation=0.8)
    result = session.edit(picture[0], "a dog", source_prompt="the dog", settings=settings, **given)
    assert result.image.tobytes() == picture[0].tobytes()
    assert "prompts do not differ" in caplog.text


def test_what_a_picture_is_taken_to_show_changes_nothing(session, caplog):
    photo = photograph(90, 70)
    result = session.edit(photo, "make it summer", seed=1)
    announced = session.find_region(EditRequest(image=photo, prompt="make it summer", seed=1))
    assert result.image.tobytes() == photo.tobytes()
    assert not values(result.region).any()
    assert result.region.tobytes() == announced.tobytes()
    assert "source prompt" in caplog.text


def test_light_follows_the_seed(session):
    photo = scene_library().image("meadow")
    first, again, other = (
        session.edit(photo, "at night in falling snow", seed=seed) for seed in (1, 1, 2)
    )
    assert first.image.size == photo.size
    assert first.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert values(first.image).mean() < 0.75 * values(photo).mean()


def test_outside_of_a_mask_every_pixel_is_the_photographs(session):
    photo = photograph(200, 150)
    result = session.edit(photo, "at night", mask=(0.2, 0.2, 0.6, 0.8), seed=1)
    stays = values(result.region) == 0
    changed = apart(result, photo) > 0
    assert stays.any()
    assert not changed[stays].any()
    whole = session.edit(photo, "at night", seed=1)
    middle = (slice(60, 90), slice(70, 90))  # away from the edge, which fades
    assert np.array_equal(values(result.image)[middle], values(whole.image)[middle])
    assert changed[middle].mean() > 0.9


def test_an_edit_of_a_large_photograph_may_stop_after_each_band_of_it(session):
    photo, bands = Image.new("RGB", (900, 700), (90, 120, 90)), []

    def stop(stage):
        bands.extend([stage] * (stage == CHECK))
        if len(bands) == 3:
            raise KeyboardInterrupt

    request = EditRequest(image=photo, prompt="at night in the rain", seed=1)
    with pytest.raises(KeyboardInterrupt):
        session.draw(request, on_stage=stop)


def test_a_mask_along_the_subject_is_its_outline(session, picture):
    before, mask = picture
    left = mask.copy()
    left.paste(0, (SIZE[0] // 2, 0, *SIZE))
    change = apart(session.edit(before, "a red dog", mask=left, seed=1), before)
    assert not change[values(left) == 0].any()
    assert (change[values(left) > 250] > 4).mean() > 0.5


def test_a_box_says_where_the_subject_that_is_dyed_is(session, picture):
    (before, mask), prompt = picture, "blue"
    box = tuple(end / SIZE[i % 2] for i, end in enumerate(around(mask)))
    change = apart(session.edit(before, prompt, mask=box, seed=1), before)
    assert (change > 4)[values(mask) > 250].mean() > 0.8
    assert not change[grow(plane(mask), 6)[0, 0].numpy() == 0].any()
    with pytest.raises(CapabilityError, match="nothing stands out") as raised:
        session.edit(Image.new("RGB", SIZE, "grey"), prompt, mask=box, seed=1)
    assert "a mask or a box" not in str(raised.value)  # which was given


def around(mask):
    left, top, right, bottom = mask.getbbox()
    wide, high = min(right + ROOM, SIZE[0]), min(bottom + ROOM, SIZE[1])
    return max(left - ROOM, 0), max(top - ROOM, 0), wide, high


def rectangle(*edges):
    mask = torch.zeros(1, 1, SIZE[1], SIZE[0])
    left, top, right, bottom = edges
    mask[..., top:bottom, left:right] = 1
    return mask


def test_inside_of_a_rough_mask_what_stands_out_is_dyed(session, picture):
    before, mask = picture
    edges = around(mask)
    box = tuple(end / SIZE[i % 2] for i, end in enumerate(edges))
    boxed = session.edit(before, "a blue dog", mask=box, seed=1)
    rough = session.edit(before, "a blue dog", mask=rectangle(*edges), seed=1)
    assert rough.image.tobytes() == boxed.image.tobytes()
    wide = grow(plane(mask), ROOM)
    change = apart(session.edit(before, "a blue dog", mask=wide, seed=1), before)
    assert (change > 4)[values(mask) > 250].mean() > 0.8
    assert not change[grow(plane(mask), 6)[0, 0].numpy() == 0].any()


def test_each_part_of_a_mask_has_a_subject_of_its_own(session, picture):
    (before, mask), photo = picture, Image.new("RGB", (2 * SIZE[0], SIZE[1]))
    shown = Image.new("L", photo.size)
    for left in (0, SIZE[0]):
        photo.paste(before, (left, 0))
        shown.paste(mask, (left, 0))
    boxes = torch.cat([rectangle(*around(mask))] * 2, dim=3)
    change = apart(session.edit(photo, "a blue dog", mask=boxes, seed=1), photo) > 4
    subject, ground = values(shown) > 250, grow(plane(shown), 6)[0, 0].numpy() == 0
    for half in (slice(SIZE[0]), slice(SIZE[0], None)):
        assert change[:, half][subject[:, half]].mean() > 0.8
    assert not change[ground].any()


def test_a_mask_of_nothing_that_stands_out_changes_as_a_whole_and_says_so(session, caplog):
    plain = Image.new("RGB", SIZE, "grey")
    result = session.edit(plain, "blue", mask=rectangle(40, 30, 120, 90), seed=1)
    assert (apart(result, plain) > 4)[32:88, 42:118].all()
    assert "Nothing stands out in the mask" in caplog.text


def test_an_edit_of_what_has_no_sure_outline_is_refused(session):
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    blurred = Image.fromarray(colours).resize((256, 256), Image.Resampling.BICUBIC)
    request = EditRequest(image=blurred, prompt="a blue dog", seed=1)
    for draw in (session.draw, session.find_region):
        with pytest.raises(CapabilityError, match=r"subject.*mask"):
            draw(request)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:200, 60:200] = 1
    assert session.edit(blurred, "a blue dog", mask=mask, seed=1).region.getbbox() is not None
