import json
from itertools import islice
from random import Random

import numpy as np

from swiftpie_lab.data import light_pairs as pairs
from swiftpie_world.rays import Camera


def made_scene(*lights, size_px=64, kept=0.25):
    """Return a scene in the format of files, whose things leave the ground `kept` of its light."""
    draw, shape = np.random.default_rng(len(lights)), (len(lights), size_px, size_px, 3)
    is_sun = np.array([light == "sun" for light in lights])[:, None]
    places = np.linspace(-1, 1, size_px)
    disc = np.where(np.hypot(places[:, None], places) < 0.4, 255, 0).astype(np.uint8)
    empty, thing = draw.uniform(0.1, 1, shape), draw.uniform(0.1, 1, (3, *shape))
    arrays = {
        "alpha": np.broadcast_to(disc, (3, 2, size_px, size_px)),
        "flat": np.broadcast_to(disc[..., None], (3, size_px, size_px, 4)),
        "panorama": np.full((len(lights), 8, 16, 3), 0.3) * ~is_sun[..., None, None],
        "sun": np.array([[0.6, 0.0, 0.8, 3, 3, 3]]) * is_sun,
        "camera": np.array([*Camera.aimed(0.8, 2.0, 0.2, 1.1, (0.5, 0.7)), 0.5]),
        "about": np.array(json.dumps({"lights": lights})),
    }
    ground = np.broadcast_to(kept * empty, (3, *shape))
    for name, light in (("empty", empty), ("ground", ground), ("thing", thing)):
        arrays[name], arrays[f"{name}_top"] = pairs.encode(light)
    return arrays


def test_equal_seeds_deal_equal_scenes_and_some_things_are_for_evaluation_alone():
    names = [*pairs.THINGS, *(f"set/{number}.obj" for number in range(60))]
    dealt, again = ([pairs.deal(Random(row), row, names) for row in range(80)] for _ in range(2))
    assert dealt == again
    assert dealt[0] != dealt[1]
    for row, scene in enumerate(dealt):
        assert {pairs.is_held_out(name) for name in scene.things} == {row % 10 == 9}
    for name in pairs.THINGS:
        first, same, other = (pairs.bodies_of(name, Random(seed), {}) for seed in (0, 0, 1))
        assert np.array_equal(first[0].points, same[0].points), name
        assert not np.allclose(first[0].points, other[0].points), name


def test_eight_bits_hold_light_within_two_percent_and_darkness_exactly():
    light = np.exp2(np.linspace(-13.9, 0, 3 * 64).reshape(1, 8, 8, 3)) * 30
    light[0, 0, 0] = 0
    np.testing.assert_allclose(pairs.decode(*pairs.encode(light)), light, rtol=0.021)


def test_a_folder_goes_on_with_the_scenes_that_it_lacks(tmp_path):
    begun = list(islice(pairs.missing(tmp_path, 3), 12))
    assert [row for row, path in begun if path.parent.name == "evaluation"] == [9]
    begun[0][1].parent.mkdir()
    for _, path in begun[:4]:
        path.write_bytes(b"")
    assert (next(pairs.missing(tmp_path, 3)), next(pairs.missing(tmp_path, 4))[0]) == (begun[4], 0)


def test_gains_turn_a_place_and_other_light_into_what_was_rendered():
    for seed, size_px in ((0, 64), (1, 64), (2, 128), (3, 128)):
        scene = made_scene("sky", "sun", "sun", size_px=size_px)
        pair, same = (pairs.mix(scene, 1, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(pair.thing_gain, same.thing_gain)
        np.testing.assert_allclose(pair.ground_gain, 0.25, rtol=0.05)
        assert (pair.sun[:3].any(), pair.sun[3:].any()) == (pair.kind == "sun",) * 2
        lit = (pair.thing_gain * pair.own)[pair.alpha[..., 0] == 1]
        assert 0.5 < lit.mean() / pair.place.mean() < 2, "both are of the same light"
