from importlib.util import find_spec
from itertools import islice
from random import Random

import numpy as np
import pytest

from swiftpie.errors import CapabilityError
from swiftpie_lab.data.light_pairs import (
    SIZE_PX,
    THINGS,
    bodies_of,
    deal,
    decode,
    encode,
    grow,
    is_held_out,
    missing,
    mix,
    read_scene,
)
from tests.lab.data.light_scenes import INDOORS, OUTDOORS, scene

NAMES = [*THINGS, *(f"set/{number}.obj" for number in range(60))]


def test_equal_seeds_deal_equal_scenes():
    scenes = [deal(Random(f"{seed}/5"), 5, NAMES) for seed in (0, 0, 1)]
    assert scenes[0] == scenes[1] != scenes[2]


def test_scenes_for_evaluation_have_things_that_training_never_has():
    dealt = [deal(Random(f"0/{number}"), number, NAMES) for number in range(80)]
    evaluated = {name for scene in dealt if scene.is_evaluated for name in scene.things}
    trained = {name for scene in dealt if not scene.is_evaluated for name in scene.things}
    assert {"heron", "tripod"} & evaluated
    assert all(map(is_held_out, evaluated))
    assert not any(map(is_held_out, trained))
    assert sum(scene.is_evaluated for scene in dealt) == 8


def test_eight_bits_hold_light_within_two_percent_and_darkness_exactly():
    light = np.exp2(np.linspace(-13.9, 0, 3 * 64).reshape(1, 8, 8, 3)) * 30
    light[0, 0, 0] = 0
    code, top = encode(light)
    assert code.dtype == np.uint8
    np.testing.assert_allclose(decode(code, top), light, rtol=0.021)
    assert (decode(code, top)[0, 0, 0] == 0).all()


def test_a_folder_goes_on_with_the_scenes_that_it_lacks(tmp_path):
    begun = list(islice(missing(tmp_path, 3), 12))
    assert [number for number, path in begun if path.parent.name == "evaluation"] == [9]
    for _, path in begun[:4]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert next(missing(tmp_path, 3)) == begun[4]
    assert next(missing(tmp_path, 4))[0] == 0


@pytest.mark.parametrize("name", THINGS)
def test_a_thing_is_dealt_anew_by_each_seed(name):
    first, again, other = (bodies_of(name, Random(seed), {}) for seed in (0, 0, 1))
    for body, same, different in zip(first, again, other, strict=True):
        assert np.isfinite(body.points).all()
        assert body.faces.max() < len(body.points) == len(body.colours)
        np.testing.assert_array_equal(body.points, same.points)
        assert not np.allclose(body.points, different.points)


@pytest.mark.parametrize("size_px", [64, 128])
def test_gains_turn_the_place_and_other_light_into_what_was_rendered(size_px):
    rendered = scene(OUTDOORS, size_px=size_px, kept=0.25)
    for seed in range(8):
        pair = mix(rendered, 1, np.random.default_rng(seed))
        assert pair.place.shape == (SIZE_PX, SIZE_PX, 3)
        np.testing.assert_allclose(pair.ground_gain, 0.25, rtol=0.05)
        assert (pair.sun[:3].any(), pair.sun[3:].any()) == (pair.kind == "sun",) * 2
        assert pair.own.max() <= 1
        inside = pair.alpha[..., 0] == 1
        lit = (pair.thing_gain * pair.own)[inside]
        assert 0.05 < lit.mean() / pair.place.mean() < 20


def test_equal_deals_mix_equal_pairs_and_others_differ():
    rendered = scene(INDOORS)
    first, again, other = (mix(rendered, 0, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.panorama, again.panorama)
    assert not np.allclose(first.panorama, other.panorama)
    assert first.kind in INDOORS


def test_a_scene_is_read_as_it_was_written(tmp_path):
    made = scene()
    np.savez_compressed(tmp_path / "made.npz", **made)
    read = read_scene(tmp_path / "made.npz")
    assert all((read[name] == array).all() for name, array in made.items())


@pytest.mark.skipif(find_spec("bpy") is not None, reason="Blender is installed")
def test_without_blender_it_says_how_to_install_it(tmp_path):
    with pytest.raises(CapabilityError, match="pip install bpy"):
        next(grow(tmp_path, seed=0, assets=None))


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("bpy") is None, reason="needs Blender")
def test_blender_renders_a_scene_whose_things_take_light_from_the_ground(tmp_path):
    path, lit = next(grow(tmp_path, seed=0, assets=None))
    rendered = read_scene(path)
    assert lit == 3 * len(rendered["sun"])
    empty, ground = (
        decode(rendered[name], rendered[f"{name}_top"]) for name in ("empty", "ground")
    )
    assert ((ground < 0.7 * empty) & (empty > 0)).any(axis=(2, 3, 4)).all()
    assert (rendered["alpha"].max(axis=(2, 3)) == 255).all()
