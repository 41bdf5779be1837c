import re
from dataclasses import replace
from functools import partial
from importlib.resources import as_file, files

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import CapabilityError, InputError, PersonalizeRequest, Subject
from swiftpie.geometry.shading import Illumination
from swiftpie.imageio.images import plane, to_tensor
from swiftpie.library import subject_library
from swiftpie.mini import scene
from swiftpie.pipelines.request import Output, texts_of
from swiftpie.places.own_pixels import without_own_light
from swiftpie.places.placing import FLOOR, picture_size, stage
from swiftpie.places.scene import scene_rows
from swiftpie.scenes import OWN_PICTURE, PHOTOGRAPH_PX
from swiftpie.types import Cutout
from tests.parity.edit import photograph, values
from tests.quick import thorough_but

PROMPT = "a dog at sunset"


def rows_of(session, request):
    return scene_rows(session.components, stage(session.components, request))


def request_of(identity, **changes):
    given = {"subjects": (Subject(identity),), "prompt": PROMPT, "seeds": (3,), "scene": "castle"}
    return PersonalizeRequest(**given | changes)


@pytest.mark.parametrize("size_px", thorough_but([(128, 192), (256, 384)], [(128, 192)]))
def test_outside_of_the_subject_the_place_is_the_relit_scene(session, identity, size_px):
    request = request_of(identity, size_px=size_px)
    (row,) = rows_of(session, request)
    result = session.draw(request)
    picture = result.images[0]
    assert picture.size == row.place.size == size_px[::-1]
    subject = values(result.subject_masks[0])
    apart = values(picture) - values(row.place)
    assert 0.02 < (subject > 128).mean() < 0.5
    assert apart[subject == 0].max() <= 1  # a shadow makes it darker, and nothing lighter
    assert (np.abs(apart).max(axis=-1)[: size_px[0] // 4] <= 1)[
        subject[: size_px[0] // 4] == 0
    ].all()
    assert (np.abs(apart).max(axis=-1) > 8)[subject > 250].mean() > 0.5


def test_grass_stands_before_a_foot_as_its_place_shows_it(session, identity):
    subjects = (Subject(identity, box=(0.3, 0.3, 0.7, 0.93)),)
    request = request_of(identity, prompt="a dog", scene="grass", size_px=(288, 384))
    request = replace(request, subjects=subjects)
    (row,) = rows_of(session, request)
    result, bare = session.draw(request), session.draw(replace(request, scene=row.place))
    seen, whole = (values(each.subject_masks[0]) for each in (result, bare))
    hidden = (whole > 250) & (seen < 5)
    light = values(result.images[0])[hidden] / values(row.place)[hidden]
    assert 0.3 < light.min() < light.max() < 1.05
    assert np.ptp(light, axis=1).max() < 0.15  # the place's own colours
    counts = hidden[hidden.any(axis=1)].sum(axis=1)
    assert 0 < counts[0] < 0.3 * counts.max()  # blades end one by one
    assert (seen <= whole).all()


def test_what_is_seen_before_its_foot_hides_what_stands_further_away():
    opacity, cover = torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 40, 40)
    opacity[..., 5:15, 6:14] = 1  # down to row 30 of the picture
    cover[..., 20] = 15
    hidden = scene._grown_before(opacity, (..., slice(0, 40), slice(10, 30)), cover)[0, 0]
    assert (hidden[16:29, 10] == 1).all()
    assert (hidden[:14, 10] == 0).all()
    assert (hidden[:29, :10] == 0).all()
    assert (hidden[31:] == 1).all()


def test_fog_is_thinner_before_a_subject_than_beside_it(session, identity):
    request = request_of(identity, prompt="a dog on a beach in fog", scene="beach")
    (row,) = rows_of(session, request)
    dark = torch.zeros(1, 3, *row.place.size[::-1], dtype=torch.uint8)
    half = torch.full_like(dark[:, :1], 255)
    half[..., : half.shape[3] // 2] = 0
    foggy = row.behind_weather(dark, subjects=half).float()
    assert foggy[half.expand_as(foggy) > 0].mean() < 0.6 * foggy[half.expand_as(foggy) == 0].mean()


def test_a_small_subject_is_drawn_as_well_as_a_large_one(session, identity):
    def sharpness(box):  # of the subject, against its reference in the same place
        request = request_of(identity, prompt="a dog in a meadow", scene="", size_px=(576, 768))
        result = session.draw(replace(request, subjects=(Subject(identity, box=box),)))
        picture, mask = to_tensor(result.images[0]), plane(result.subject_masks[0])
        even = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
        own = without_own_light(identity, even).sprite_at(result.layouts[0], even, picture_px=768)
        shown = 2 * own.render((576, 768))[:, :3] - 1
        inside = (mask > 0.99)[0, 0]
        pairs = torch.stack([picture.mean(dim=1)[0][inside], shown.mean(dim=1)[0][inside]])
        return torch.corrcoef(pairs)[0, 1]

    assert sharpness((0.4, 0.6, 0.55, 0.8)) > sharpness((0.2, 0.1, 0.8, 0.9)) - 0.05


def test_a_subject_that_its_photograph_cuts_is_placed_below_the_border(session, identity):
    cut = replace(identity, cutouts=(Cutout("mask", 1.0, is_cut=True),))
    detail = []
    for subject, is_below in ((identity, False), (cut, True)):
        request = request_of(subject, prompt="a dog on a beach", scene="beach")
        (row,) = rows_of(session, request)
        assert (row.boxes[0][3] > 1) is is_below is not row.is_ground
        detail.append(np.abs(np.diff(values(row.place), axis=0)).mean())
    assert detail[1] < detail[0] / 2  # out of focus


@pytest.mark.thorough
def test_at_night_subjects_keep_as_much_of_their_light_as_their_place(session):
    kept = []
    for name in ("hedgehog", "dog"):
        with as_file(files("swiftpie") / "assets" / "photos" / f"{name}.jpg") as photo:
            subject = session.encode_identity(photo)
        brightness = []
        for prompt in (f"a {name} on a terrace", f"a {name} on a terrace at night"):
            drawn = session.personalize(subject, prompt, seed=3, size=(256, 256))
            grey = np.asarray(drawn.images[0].convert("L"), dtype=np.float64)
            seen = np.asarray(drawn.subject_masks[0]) / 255
            brightness.append([grey[seen > 0.5].mean(), grey[seen < 0.02].mean()])
        by_day, at_night = np.asarray(brightness)
        kept.append(at_night / by_day)
    subjects, places = np.mean(kept, axis=0)
    assert subjects == pytest.approx(places, rel=0.1)


def test_photographs_of_winter_are_not_drawn_as_winter_once_more(session, identity):
    plain = session.personalize(identity, "a dog", scene="snowy slope", seed=3)
    for prompt in ("a dog on a snowy slope", "a dog in the snow in winter"):
        named = session.personalize(identity, prompt, scene="snowy slope", seed=3)
        shown = [result.images[0].crop((0, 0, 768, 60)) for result in (named, plain)]
        assert shown[0].tobytes() == shown[1].tobytes()


def test_a_prompt_that_names_a_place_shows_it_unless_words_alone_are_wanted(session, identity):
    named = session.personalize(identity, "a dog at a castle at sunset", seed=3)
    given = session.personalize(identity, "a dog at a castle at sunset", seed=3, scene="castle")
    words = session.personalize(identity, "a dog at a castle at sunset", seed=3, scene="words")
    none = session.personalize(identity, "a dog at sunset", seed=3)
    assert named.images[0].tobytes() == given.images[0].tobytes() != words.images[0].tobytes()
    assert (named.origin["scene"], none.origin["scene"]) == ("castle", "meadow")
    assert "scene" not in words.origin


def test_pictures_of_one_call_have_the_scenes_of_their_own_prompts(session, identity):
    prompts = ("a dog at a castle", "a dog at sunset")
    together = session.draw(request_of(identity, prompt=prompts, seeds=(1, 2), scene=""))
    assert together.origin["scene"] == "castle, meadow"
    for index, prompt in enumerate(prompts):
        alone = session.personalize(identity, prompt, seed=index + 1).images[0]
        assert np.abs(values(alone) - values(together.images[index])).max() <= 2


def test_rain_covers_the_picture(session, identity):
    prompt = "a dog in a forest in the rain"
    pictures = (
        session.personalize(identity, prompt, seed=3, scene=where) for where in ("", "words")
    )
    with_it, without = (values(result.images[0]) for result in pictures)
    apart = np.abs(with_it - without).max(axis=-1) > 6
    assert all(part.mean() > 0.05 for part in np.array_split(apart, 4))


def test_art_is_drawn_by_the_network_from_words(session, identity):
    prompt, art = "a dog on a beach", "pencil drawing"
    at_end = session.personalize(identity, f"{prompt}, {art}", seed=3)
    words = session.personalize(identity, f"a {art} of {prompt}", seed=3, scene="words")
    assert np.array_equal(values(at_end.images[0]), values(words.images[0]))
    red, _, blue = np.moveaxis(values(at_end.images[0]), -1, 0)
    assert np.abs(red - blue).mean() < 12  # of 255


@pytest.mark.parametrize(
    ("prompt", "settings", "reason"),
    [
        ("a comic of a dog", {"scene": "castle"}, "from words alone"),
        (("a comic of a dog", "a dog"), {"seeds": (1, 2)}, "photographs in another call"),
        ("pixel art of a dog", {}, "'pixel art'"),
        ("a knitted dog in a park", {}, "'wool'"),
        ("a dog made of toy bricks", {}, "too fine"),
        ("a watercolour of a beach", {"subjects": ()}, "without a subject"),
    ],
)
def test_arts_and_materials_that_are_not_drawn_are_refused(
    session, identity, prompt, settings, reason
):
    request = {"subjects": (Subject(identity),), "seeds": (1,), **settings}
    with pytest.raises(CapabilityError, match=reason):
        session.draw(PersonalizeRequest(prompt=prompt, **request))


@pytest.mark.parametrize("prompt", ["a dog in a vineyard", "a dog on a beach"])
def test_what_its_photograph_cuts_off_reaches_the_lower_border(session, identity, prompt):
    cut = replace(identity, cutouts=(identity.cutouts[0]._replace(is_cut=True),))
    drawn = session.personalize(cut, prompt, seed=5)
    mask = values(drawn.subject_masks[0])
    assert mask[-1].max() > 0.9 * mask.max()


def test_a_place_alone_is_drawn_without_a_subject(session):
    drawn = session.generate("a lighthouse at night", seed=3, num_images=2)
    request = PersonalizeRequest(subjects=(), prompt="a lighthouse at night", seeds=(3, 4))
    rows = rows_of(session, request)
    assert drawn.origin["scene"] == "lighthouse"
    for picture, mask, row in zip(drawn.images, drawn.subject_masks, rows, strict=True):
        assert np.abs(values(picture) - values(row.place)).max() <= 1
        assert not values(mask).any()
    assert session.generate("in a park", seed=3, scene="castle").origin["scene"] == "castle"


def test_the_first_mention_of_a_breed_alone_is_the_subject(session):
    shown = Subject(subject_library().find("golden retriever"))
    prompt = "a golden retriever in a park with a golden retriever"
    request = session.resolved(PersonalizeRequest(subjects=(shown,), prompt=prompt, seeds=(1,)))
    alone = scene.subjects_alone(stage(session.components, request))
    assert alone.prompt == "a dog in a park with a golden retriever"


def test_several_of_one_kind_are_drawn(session):
    one, two = (session.generate(f"{words} on a beach", seed=3) for words in ("a cat", "two cats"))
    assert (len(one.named), len(two.named)) == (1, 2)
    halves = np.split(values(two.subject_masks[0]) > 128, 2, axis=1)
    assert all(half.mean() > 0.03 for half in halves)


def test_drawn_subjects_are_as_large_as_their_kind_by_seeds_from_any_side(session):
    names = ("apple", "cat", "elephant", "cat")
    drawn = [session.generate(f"a {n} in a village", seed=3 + k) for k, n in enumerate(names)]
    high = [np.ptp((values(each.subject_masks[0]) > 128).any(1).nonzero()[0]) for each in drawn]
    assert 1.2 * high[0] < high[1] < 0.8 * high[2]
    assert len({tuple(each.layouts[0].pose[0].tolist()) for each in drawn}) == 4


def test_tensors_are_the_pictures(session, identity):
    picture = session.draw(request_of(identity)).images[0]
    tensor = session.draw(request_of(identity, output=Output.PIXELS)).tensor
    assert np.abs(values(picture) - 127.5 * (tensor[0].permute(1, 2, 0).numpy() + 1)).max() <= 2


@pytest.mark.thorough
def test_seeds_choose_the_picture_of_a_scene_and_repeat_it(session, identity):
    request = request_of(identity, seeds=tuple(range(1, 9)))
    drawn, again = session.draw(request), session.draw(request)
    for first, second in zip(drawn.images, again.images, strict=True):
        assert np.abs(values(first) - values(second)).max() <= 2  # sums in another order
    assert len({image.tobytes() for image in drawn.images}) == 8
    assert drawn.seeds == request.seeds
    assert drawn.origin["scene"] == "castle"


def test_a_photograph_is_a_scene_and_rain_falls_before_the_subject(session, identity):
    photo = photograph(300, 200)
    placed = [Subject(identity, box=(0.3, 0.3, 0.7, 0.9))]
    dry = session.personalize(placed, "a dog", scene=photo, seed=1)
    wet = session.personalize(placed, "a dog in the rain", scene=photo, seed=1)
    assert dry.origin["scene"] == OWN_PICTURE
    subject = values(dry.subject_masks[0]) > 0
    changed = (values(dry.images[0]) != values(wet.images[0])).any(axis=-1)
    assert changed[subject].any()
    assert changed[~subject].any()


def test_a_picture_of_a_given_scene_is_as_large_as_the_scene(session, identity):
    photo = photograph(*(size := (97, 131)))
    drawn = session.personalize(identity, "a dog", scene=photo, seed=1)
    assert drawn.images[0].size == drawn.subject_masks[0].size == size
    outside = values(drawn.subject_masks[0])[: size[1] // 8] == 0
    assert np.array_equal(
        values(drawn.images[0])[: size[1] // 8][outside], values(photo)[: size[1] // 8][outside]
    )
    asked = session.personalize(identity, "a dog", scene=photo, seed=1, size=(192, 128))
    assert asked.images[0].size == (192, 128)


@pytest.mark.parametrize(
    ("prompt", "place", "size"),
    [
        ("a dog on a beach", "", PHOTOGRAPH_PX),
        ("a dog at night", "", PHOTOGRAPH_PX),
        ("a dog", "beach", PHOTOGRAPH_PX),
        (("a dog in space", "a dog on a beach"), "", PHOTOGRAPH_PX),
        (("a dog in a park", "a dog on a beach"), "", PHOTOGRAPH_PX),
        ("a dog in space", "", (256, 256)),
        ("a dog", "", (256, 256)),
    ],
)
def test_pictures_of_photographed_places_have_their_size(session, identity, prompt, place, size):
    small = session.components
    whole = replace(small, preset=small.preset.sized(256))
    seeds = tuple(range(len(texts_of(prompt))))
    request = request_of(identity, prompt=prompt, scene=place, seeds=seeds)
    assert picture_size(whole, request)[::-1] == size
    assert picture_size(whole, replace(request, size_px=(64, 96))) == (64, 96)
    assert picture_size(small, request) == (128, 128)  # what it was loaded for


def test_a_scene_larger_than_pictures_can_be_is_shrunk_and_that_is_said(session, identity):
    request = request_of(identity, scene=photograph(64, 48).resize((4096, 3072)))
    assert picture_size(session.components, request) == (1536, 2048)
    assert any(re.search("4096x3072.*2048x1536", each) for each in session.advice_on(request))


def striped_ball():
    y, x = np.mgrid[:512, :512] - 255.5
    stripes = np.where(x // 6 % 2, 230, 120)
    inside = 255 * (np.hypot(x, y) < 230)
    return Image.fromarray(np.dstack([stripes, stripes, stripes, inside]).astype(np.uint8))


@pytest.mark.thorough
def test_a_large_picture_is_the_small_one_with_the_detail_of_the_reference(session):
    ball = session.encode_identity(striped_ball())
    assert ball.large is not None
    small = session.draw(request_of(ball, scene="drawn kitchen"))
    large = session.draw(request_of(ball, scene="drawn kitchen", size_px=(512, 512)))
    mask = values(large.subject_masks[0])
    assert (mask > 250).mean() > 0.02
    # Both have their own details, so that their light is compared.
    pictures = (*large.images, *small.images, *small.subject_masks)
    shrunk = [values(each.resize((32, 32), Image.Resampling.BOX)) for each in pictures]
    assert np.abs(shrunk[0] - shrunk[1]).mean(axis=-1)[shrunk[2] > 250].mean() < 12
    enlarged = small.images[0].resize((512, 512), Image.Resampling.BICUBIC)
    detail, blurred = (
        np.abs(np.diff(values(picture).mean(axis=-1), n=2, axis=1))[mask[:, 1:-1] > 250].mean()
        for picture in (large.images[0], enlarged)
    )
    assert detail > 1.6 * blurred


@pytest.mark.parametrize(
    ("prompt", "given", "text", "is_said"),
    [
        ("a dog wearing a top hat", {}, "'top hat'", True),
        ("a dog wearing a top hat", {"scene": "words"}, "'top hat'", False),
        (PROMPT, {"size_px": (512, 512)}, "512", False),
        (PROMPT, {"size_px": (512, 512), "scene": "words"}, "512", True),
        ("a robot", {"size_px": (2048, 2048)}, "768x576.* soft at 2048x2048 px.*1536x1152", True),
        ("a robot", {"size_px": (512, 2048), "scene": photograph(256, 192)}, "256x192 px,", True),
        ("a robot", {"size_px": (384, 1024)}, "too wide for all of a castle, so its top", True),
        ("a robot", {"size_px": (768, 1024)}, "soft|too wide", False),
        ("a dog", {"scene": photograph(97, 131)}, "size", False),
        ("a dog jumping in a park", {"scene": ""}, "'jumping' has no effect", True),
        ("a dog seen from the front", {"scene": "park"}, "'seen from the front' has no eff", True),
        ("a dog facing the viewer", {"scene": "park"}, "'facing the viewer' has no effect", True),
        ("a robot on the right in a park", {"scene": "", "cut_at": "left"}, "'right'", True),
        ("a robot on the right", {"scene": "park", "cut_at": "left", "flip": True}, "'r", False),
        ("a dog on the right", {"scene": "park", "box": (0.1, 0.5, 0.4, 0.9)}, "right'", True),
    ],
)
def test_a_warning_says_what_has_no_effect_in_a_scene(
    session, identity, prompt, given, text, is_said
):
    settings = {"cut_at": "", "box": None, **given}
    cutout = Cutout("alpha", 1.0, cut_at=settings.pop("cut_at"))
    shown = Subject(replace(identity, cutouts=(cutout,)), box=settings.pop("box"))
    request = request_of(identity, **settings, prompt=prompt, subjects=(shown,))
    assert any(re.search(text, sentence) for sentence in session.advice_on(request)) is is_said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "a dog in a forest"}, r"'dog', and so .* \(drawn forest\).* `scene='forest'`"),
        ({"prompt": "a dog on a stone wall"}, r"\(brick wall\).*`scene='stone wall'`"),
        ({"prompt": "a pilot in a cave"}, "'pilot'. The library has only the head or bust of"),
        ({"prompt": "a dog in a forest", "scene": "forest"}, "Drawn: 'dog'. For photographs"),
        ({"prompt": "a dog in a cave"}, None),
    ],
)
def test_before_a_drawn_subject_the_place_is_drawn_and_one_warning_says_so(session, given, said):
    given = {"scene": ""} | given
    request = request_of(session.named(given["prompt"].split()[1]), **given)
    found = [each for each in session.advice_on(request) if "Drawn" in each]
    assert len(found) == (said is not None)
    assert not found or re.search(said, found[0])


def test_several_subjects_share_a_scene(session, identity):
    subjects = [
        Subject(identity, box=(0.05, 0.5, 0.4, 0.9)),
        Subject(identity, box=(0.6, 0.5, 0.95, 0.9)),
    ]
    one = session.personalize(subjects[:1], PROMPT, scene="beach", seed=2)
    both = session.personalize(subjects, PROMPT, scene="beach", seed=2)
    differs = (np.abs(values(one.images[0]) - values(both.images[0])) > 16).any(axis=-1)
    half = differs.shape[1] // 2
    assert differs[:, half:].mean() > 5 * differs[:, :half].mean()


def test_a_request_for_latents_or_of_an_unknown_scene_is_refused(session, identity):
    with pytest.raises(CapabilityError, match="latents"):
        session.draw(request_of(identity, output=Output.LATENTS))
    with pytest.raises(InputError, match="Did you mean castle"):
        session.draw(request_of(identity, scene="castel"))


@pytest.mark.parametrize("cells", [(8, 10), (14, 18)])
def test_fewer_cells_of_noise_are_as_white_and_have_its_layout(cells):
    noise = torch.randn(1, 8, 32, 28, 36, generator=torch.Generator().manual_seed(0))
    coarse = scene.coarse_noise(noise, cells)
    assert coarse.shape == (1, 8, 32, *cells)
    assert coarse.std().item() == pytest.approx(1, abs=0.03)
    assert (coarse[..., :-1] * coarse[..., 1:]).mean().item() == pytest.approx(0, abs=0.03)
    corner = noise[..., : 28 // cells[0], : 36 // cells[1]].mean(dim=(-2, -1))
    assert torch.corrcoef(torch.stack([corner.flatten(), coarse[..., 0, 0].flatten()]))[0, 1] > 0.7


@pytest.mark.parametrize("side", [0, 256])
def test_a_subject_stands_in_a_region_of_the_users_own(session, identity, side):
    whole = replace(session.components, preset=session.components.preset.sized(256))
    region = Image.new("L", (384, 288))
    region.paste(255, (side, 100, side + 128, 250))
    request = request_of(identity, prompt="a dog in a park", scene="", mask=region)
    (one,) = request.with_files_opened(partial(picture_size, whole)).subjects
    assert one.mask.shape[2:] == (576, 768)  # as that place
    (row,) = rows_of(session, replace(request, subjects=(one,), mask="none"))
    assert row.boxes[0] == pytest.approx((side / 384, 100 / 288, (side + 128) / 384, 250 / 288))


def test_a_shadow_falls_away_from_the_sun_of_its_place_by_day(session, identity):
    request = request_of(identity, prompt="a dog", scene="jungle", size_px=(192, 256))
    request = replace(request, subjects=(Subject(identity, box=(0.35, 0.4, 0.65, 0.9)),))
    texts = ("a dog", "a dog in winter", "a dog at night")
    rows = [rows_of(session, replace(request, prompt=x))[0] for x in texts]
    shade = (values(rows[0].place) - values(session.draw(request).images[0])).sum(axis=(0, 2))
    assert [row.sun and row.sun[0] < 0 for row in rows] == [True, True, None]  # from the left
    assert shade[180:].sum() > 5 * abs(shade[:76].sum())


def test_seeds_in_a_row_show_the_views_of_a_place_in_turn(session, identity):
    request = request_of(identity, prompt="a dog", scene="forest", size_px=(64, 96))
    rows = rows_of(session, replace(request, seeds=(5, 6, 7, 8)))  # three are for large things
    assert len({row.ground.metre for row in rows[:3]}) == 3
    assert rows[3].ground == rows[0].ground
    assert rows_of(session, replace(request, seeds=(6,)))[0].ground == rows[1].ground


def test_shadows_are_soft_in_rooms_and_sharp_in_the_sun(session, identity):
    spreads = []
    for place in ("bedroom", "desert"):
        request = request_of(identity, prompt="a dog", scene=place, size_px=(192, 256))
        request = replace(request, subjects=(Subject(identity, box=(0.35, 0.4, 0.65, 0.9)),))
        row = rows_of(session, request)[0]
        assert row.ground.is_diffuse == (place == "bedroom")
        shade = values(row.place) - values(session.draw(request).images[0])
        steps = np.abs(np.diff(shade.sum(axis=2)[:, 180:], axis=1))  # beside the subject
        spreads.append(steps.max() / max(1e-6, shade[:, 180:].sum(axis=2).max()))
    assert 2 * spreads[0] < spreads[1]


@pytest.mark.parametrize("words", ["lying down", "bending over", "bent", "squashed", "stretched"])
def test_poses_that_would_tear_a_photograph_are_refused(session, identity, words):
    with pytest.raises(CapabilityError, match=f"'{words.split()[0]}.*would tear .* `tilt`"):
        rows_of(session, request_of(identity, prompt=f"a dog {words} in a park", scene=""))
    drawn = request_of(identity, prompt=f"a dog {words} in a park", scene="words")
    assert session.draw(drawn).images


@pytest.mark.parametrize("place", ["library", "drawn kitchen", "drawn castle"])
def test_a_wide_drawing_shows_ground_and_subjects_are_as_large_beside_its_things(session, place):
    def row_of(*size_px):
        request = request_of(session.named("zebra"), prompt="a zebra", scene=place, size_px=size_px)
        return rows_of(session, request)[0]

    whole, wide = row_of(128, 128), row_of(128, 176)
    _, top, _, bottom = FLOOR.part_shown((176, 128), whole=(512, 512))
    assert bottom > FLOOR.near_and_far()[0]
    (_, head, _, foot), (_, high, _, low) = whole.boxes[0], wide.boxes[0]
    assert top + low * (bottom - top) == pytest.approx(foot, abs=0.01)
    assert (low - high) * (bottom - top) == pytest.approx(foot - head, abs=0.01)
    part = whole.place.resize((176, 128), box=(0, 128 * top, 128, 128 * bottom))
    assert np.abs(values(part) - values(wide.place)).mean() < 12
