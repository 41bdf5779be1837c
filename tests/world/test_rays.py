import torch

from swiftpie_world.rays import Camera


def test_a_pixel_sees_the_ground_where_its_ray_meets_it():
    camera = Camera.aimed(1.2, 3.0, 0.2, 1.1, (0.4, 0.75))
    places, is_ground = camera.ground(200)
    assert places[:, 149:151, 79:81].mean((1, 2)).abs().max() < 0.02
    # A point four metres away, half a metre to the right, through the lens.
    depth, above = 4 * 0.98007 + 1.2 * 0.19867, 4 * 0.19867 - 1.2 * 0.98007
    column, row = 200 * (0.4 + 1.1 * 0.5 / depth), 200 * (camera.row - 1.1 * above / depth)
    seen = places[:, round(row - 0.5), round(column - 0.5)]
    assert torch.allclose(seen, torch.tensor([0.5, 1.0]), atol=0.1)
    horizon = 200 * (camera.row - 1.1 * 0.2027)
    assert torch.equal(is_ground[0, :, 0], torch.arange(200) + 0.5 > horizon)
