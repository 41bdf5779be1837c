import pytest
import torch
from torch.nn import functional as F

from swiftpie.backbones.checkpoints.safe import write_tensors
from swiftpie.errors import WeightsError
from swiftpie.evaluation.edits.pie.lpips import FIRES, SCALE, SHIFT, WIDTHS, load_lpips

SLICES = {1: (0, 1), 2: (2, 3, 4), 3: (5, 6, 7), 4: (8, 9), 5: (10,), 6: (11,), 7: (12,)}


@pytest.fixture(scope="module")
def stored():
    """Random weights under the names of the package lpips."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else 100
        return torch.randn(*shape, generator=generator) * fan_in**-0.5

    tensors = {"net.slice1.0.weight": draw(64, 3, 3, 3), "net.slice1.0.bias": draw(64)}
    for slice_, places in SLICES.items():
        for place in (one for one in places if one in FIRES):
            channels, squeezed, half = FIRES[place]
            shapes = {
                "squeeze": (squeezed, channels, 1, 1),
                "expand1x1": (half, squeezed, 1, 1),
                "expand3x3": (half, squeezed, 3, 3),
            }
            for name, shape in shapes.items():
                tensors[f"net.slice{slice_}.{place}.{name}.weight"] = draw(*shape)
                tensors[f"net.slice{slice_}.{place}.{name}.bias"] = draw(shape[0])
    for number, width in enumerate(WIDTHS):
        weight = draw(1, width, 1, 1).abs()
        tensors[f"lin{number}.model.1.weight"] = weight
        tensors[f"lins.{number}.model.1.weight"] = weight.clone()
    tensors["scaling_layer.shift"] = torch.tensor(SHIFT).view(1, 3, 1, 1)
    tensors["scaling_layer.scale"] = torch.tensor(SCALE).view(1, 3, 1, 1)
    return tensors


def plain_distance(stored, first, second):
    """The same network as a list of operations on the stored tensors."""
    features = []
    for pixels in (first, second):
        hidden, found = (pixels - stored["scaling_layer.shift"]) / stored["scaling_layer.scale"], []
        for slice_, places in SLICES.items():
            for place in places:
                name = f"net.slice{slice_}.{place}"
                if place == 0:
                    hidden = F.conv2d(
                        hidden, stored[f"{name}.weight"], stored[f"{name}.bias"], stride=2
                    )
                elif place == 1:
                    hidden = hidden.relu()
                elif place in FIRES:
                    w = {k.removeprefix(name + "."): v for k, v in stored.items() if name in k}
                    small = F.conv2d(hidden, w["squeeze.weight"], w["squeeze.bias"]).relu()
                    one = F.conv2d(small, w["expand1x1.weight"], w["expand1x1.bias"])
                    three = F.conv2d(small, w["expand3x3.weight"], w["expand3x3.bias"], padding=1)
                    hidden = torch.cat([one, three], dim=1).relu()
                else:
                    hidden = F.max_pool2d(hidden, 3, stride=2, ceil_mode=True)
            found.append(hidden / (hidden.norm(dim=1, keepdim=True) + 1e-10))
        features.append(found)
    return sum(
        float((stored[f"lin{number}.model.1.weight"] * (a - b) ** 2).sum(dim=1).mean())
        for number, (a, b) in enumerate(zip(*features, strict=True))
    )


def test_the_distance_is_that_of_the_stored_network(stored, tmp_path):
    write_tensors(tmp_path / "lpips.safetensors", stored, metadata={})
    network = load_lpips(tmp_path / "lpips.safetensors")
    first, second = (2 * torch.rand(2, 1, 3, 67, 64, generator=torch.Generator()) - 1).unbind()
    expected = plain_distance(stored, first, second)
    assert expected > 0
    assert network.distance(first, second) == pytest.approx(expected, rel=1e-4)
    assert network.distance(first, first) == 0


def test_either_name_of_the_last_layers_will_do(stored, tmp_path):
    for number, left_out in enumerate(("lin0.", "lins.0.")):
        path = tmp_path / f"{number}.safetensors"
        few = {name: tensor for name, tensor in stored.items() if not name.startswith(left_out)}
        write_tensors(path, few, metadata={})
        assert torch.equal(load_lpips(path).weights[0].weight, stored["lin0.model.1.weight"]), (
            left_out
        )


def test_other_weights_are_refused(stored, tmp_path):
    path = tmp_path / "other.safetensors"
    few = {name: tensor for name, tensor in stored.items() if "slice7" not in name}
    write_tensors(path, few, metadata={})
    with pytest.raises(WeightsError, match="SqueezeNet"):
        load_lpips(path)
    with pytest.raises(WeightsError):
        load_lpips(tmp_path / "nowhere.safetensors")
