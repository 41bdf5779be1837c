import pytest
from PIL import Image

from swiftpie.errors import NoSubject
from swiftpie.imageio.images import plane
from swiftpie.library import subject_library
from swiftpie.masks import iou
from swiftpie.mini import scenes
from swiftpie.pipelines.finding import LEAST_ALIKE, find_identity

SIDE = 256


@pytest.fixture(scope="module")
def names():
    return ("dog face", "teapot")


@pytest.fixture(scope="module")
def together(names):
    picture, masks = scenes.scene_library().image("beach").resize((SIDE, SIDE)), []
    for name, left in zip(names, (16, 144), strict=True):
        sprite = subject_library().image(name).resize((100, 100), Image.Resampling.LANCZOS)
        sprite = sprite.rotate(15, Image.Resampling.BICUBIC)
        picture.paste(sprite, (left, 130), sprite)
        mask = Image.new("L", picture.size)
        mask.paste(sprite.getchannel("A"), (left, 130))
        masks.append(plane(mask))
    return picture, masks


@pytest.mark.thorough
def test_each_of_two_subjects_is_found_by_its_reference(session, names, together):
    picture, masks = together
    for number, name in enumerate(names):
        found = find_identity(session.named(name), picture)
        assert float(iou(found.mask, masks[number])) > 0.8
        assert float(iou(found.mask, masks[1 - number])) < 0.05


@pytest.mark.thorough
def test_a_subject_that_is_not_there_is_not_found(session, together):
    penguin, picture = session.named("penguin"), together[0]
    with pytest.raises(NoSubject, match=r"likeness is 0.*with is_there"):
        find_identity(penguin, picture)
    guess = find_identity(penguin, picture, is_there=True)
    assert guess.likeness < LEAST_ALIKE
    assert float(guess.mask.amax()) > 0.5


@pytest.mark.thorough
def test_a_removal_takes_the_subject_that_is_named_and_leaves_the_other(session, names, together):
    picture, masks = together
    result = session.remove(picture, where=names[1], seed=0)
    gone = plane(result.region)
    assert float((gone * masks[1]).sum() / masks[1].sum()) > 0.95
    assert not bool((gone * masks[0]).any())
