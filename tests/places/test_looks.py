import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from swiftpie.lexicon import COLOUR_WORDS, MATERIAL_PHRASES, MATERIAL_WORDS
from swiftpie.places.looks import COLOURS, recolour, remake
from swiftpie.places.reading import read
from swiftpie_world.frames import pose_subjects
from swiftpie_world.materials import MATERIALS
from tests.quick import thorough_but

CHROMATIC = [name for name in COLOURS if name not in {"black", "white", "grey"}]
SEE_THROUGH = {"glass", "ice"}
NOUNS = "car bus dog horse balloon teapot chair t-shirt flower pig umbrella truck fish"
FOCAL = {"red": "#c81923", "orange": "#f08219", "yellow": "#f5d228", "green": "#28963c"}
FOCAL |= {"blue": "#235ac8", "purple": "#7832a0", "pink": "#f58cb4", "brown": "#6e4123"}
FOCAL |= {"black": "#19191c", "white": "#f0f0f0", "grey": "#828284"}
CIELAB = ImageCms.buildTransform(*map(ImageCms.createProfile, ("sRGB", "LAB")), "RGB", "LAB")


def facing(frames):
    line = torch.linspace(-0.6, 0.6, 64)
    down, across = torch.meshgrid(line, line, indexing="ij")
    depth = (1 - across.square() - down.square()).sqrt()
    return torch.stack([across, down, depth]).expand(len(frames), 3, 64, 64)


@pytest.fixture(scope="module")
def frames(subjects):
    still = torch.zeros(len(subjects))
    return pose_subjects(subjects.tiles, rotation=still, flip=still, hue=still)


def made(frames, name):
    return remake(frames, facing(frames), [name] * len(frames), MATERIALS)


def on_grey(frames):
    return frames[:, :3] + 0.5 * (1 - frames[:, 3:])


def mean_colour(frames):
    return frames[:, :3].sum(dim=(2, 3)) / frames[:, 3:].sum(dim=(2, 3))


def test_every_colour_and_material_has_words():
    assert COLOUR_WORDS.keys() == COLOURS.keys()
    assert MATERIAL_PHRASES.keys() == MATERIAL_WORDS.keys() == {*MATERIALS}


@pytest.mark.parametrize(
    ("prompt", "texture"),
    [
        ("a photo of a Knitted dog in a forest", "wool"),
        ("a cat made of wool on a beach", "wool"),
        ("a car built from toy bricks", "toy bricks"),
        ("a dog in a knitted sweater", None),
        ("a dog with a cat made of wool", None),
        ("a wooden dog", None),
        ("a brick-builtish dog", None),
    ],
)
def test_a_texture_is_that_of_the_first_subject(prompt, texture):
    assert read(prompt).texture == texture


def test_nothing_asked_for_changes_nothing(frames):
    none = ["none"] * len(frames)
    assert torch.equal(recolour(frames, none), frames)
    assert torch.equal(remake(frames, facing(frames), none, MATERIALS), frames)


def test_a_row_does_not_depend_on_the_others(frames):
    mixed = ["red", "none", "black", "red"]
    assert torch.allclose(
        recolour(frames[:4], mixed)[3:], recolour(frames[3:4], ["red"]), atol=1e-5
    )
    mixed = ["gold", "none", "glass", "gold"]
    together, alone = (
        remake(frames[:4], facing(frames[:4]), mixed, MATERIALS),
        made(frames[3:4], "gold"),
    )
    assert torch.allclose(together[3:], alone, atol=1e-5)
    assert torch.equal(together[1], frames[1])


@pytest.mark.parametrize("name", COLOURS)
def test_dyed_frames_stay_premultiplied(frames, name):
    dyed = recolour(frames, [name] * len(frames))
    assert torch.equal(dyed[:, 3:], frames[:, 3:])
    assert dyed.min() >= 0
    assert (dyed[:, :3] <= dyed[:, 3:]).all()


def lab(picture):
    found = np.asarray(ImageCms.applyTransform(picture, CIELAB))
    return np.dstack([found[..., 0] / 2.55, found[..., 1:].astype(np.int8)])


@pytest.mark.parametrize("noun", thorough_but(NOUNS.split(), ["car", "dog"]))
def test_a_picture_shows_the_colour_that_its_prompt_names(session, noun):
    focal = np.concatenate([lab(Image.new("RGB", (1, 1), colour))[0] for colour in FOCAL.values()])
    for number, word in enumerate(FOCAL):
        drawn = session.generate(f"a {word} {noun}", seed=3)
        inside = lab(drawn.images[0])[np.asarray(drawn.subject_masks[0]) > 200]
        nearest = np.square(inside[:, None] - focal).sum(axis=2).argmin(axis=1)
        assert np.bincount(nearest, minlength=len(FOCAL)).argmax() == number, word


@pytest.mark.parametrize("name", CHROMATIC)
def test_features_of_dyed_subjects_stay_readable(frames, name):
    dyed = recolour(frames, [name] * len(frames))
    inside = frames[:, 3] > 0.99
    for before, after, where in zip(frames, dyed, inside, strict=True):
        both = torch.stack([before[:3].mean(dim=0)[where], after[:3].mean(dim=0)[where]])
        assert torch.corrcoef(both)[0, 1] > 0.6
        assert both[1].std() > 0.4 * both[0].std()


@pytest.mark.parametrize("name", MATERIALS)
def test_made_frames_stay_premultiplied_and_grow_nowhere(frames, name):
    surface = made(frames, name)
    assert (surface[:, 3:] <= frames[:, 3:]).all()
    assert surface.min() >= 0
    assert (surface[:, :3] <= surface[:, 3:]).all()
    kept = surface[:, 3:].sum() / frames[:, 3:].sum()
    assert kept < 0.9 if name in SEE_THROUGH else kept > 0.9


def test_materials_are_distinguished_and_from_the_subject(frames):
    looks = [on_grey(frames), *(on_grey(made(frames, name)) for name in MATERIALS)]
    shares = frames[:, 3:].mean(dim=(1, 2, 3))
    for number, look in enumerate(looks):
        for other in looks[:number]:
            apart = (look - other).abs().mean(dim=(1, 2, 3)) / shares
            assert apart.min() > 0.06
            assert apart.mean() > 0.1


def test_drawing_makes_no_tensor_on_another_device(frames):
    # Mixing tensors of the meta device with others raises, as a GPU's would.
    elsewhere, normals = frames.to("meta"), facing(frames).to("meta")
    assert recolour(elsewhere, [*COLOURS, *["none"] * len(frames)][: len(frames)]).is_meta
    materials = [*MATERIALS, *["none"] * len(frames)][: len(frames)]
    assert remake(elsewhere, normals, materials, MATERIALS).is_meta
