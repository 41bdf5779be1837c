import pytest
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.masks import iou
from swiftpie.models import isnet
from swiftpie.models.cutout import cut_out
from swiftpie.types import CutoutMethod
from tests.shapes import HEIGHT, WIDTH, as_mask, ellipse, star

SIDES = (1024, 512, 256, 128, 64, 32)  # of the maps that the published graph returns


def red_finder():
    onnx = pytest.importorskip("onnx", reason="needs swiftpie[export]")
    pytest.importorskip("onnxruntime", reason="needs swiftpie[cutout]")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("weights", kind, (1, 3, 1, 1), [20.0, 0.0, -20.0])
    nodes, outputs = [helper.make_node("Conv", ["input_image", "weights"], ["odds"])], []
    nodes.append(helper.make_node("Sigmoid", ["odds"], ["map"]))
    for number, side in enumerate(SIDES):
        step = isnet.SIDE_PX // side
        pooled = helper.make_node(
            "AveragePool", ["map"], [f"d{number}"], kernel_shape=[step] * 2, strides=[step] * 2
        )
        nodes.append(pooled)
        outputs.append(helper.make_tensor_value_info(f"d{number}", kind, (1, 1, side, side)))
    shown = helper.make_tensor_value_info("input_image", kind, (1, 3, 1024, 1024))
    graph = helper.make_graph(nodes, "red", [shown], outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def two_things():
    right = ellipse((300, 60, 400, 250))
    image = Image.new("RGB", (WIDTH, HEIGHT), (40, 120, 130))
    image.paste((30, 40, 220), mask=star())
    image.paste((220, 30, 20), mask=right)
    return image, as_mask(right)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    path = tmp_path / isnet.FILE
    path.write_bytes(red_finder())
    monkeypatch.setattr(isnet, "locate", lambda: path)
    return path


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("search", ["auto", "0.6,0.1,1,0.95"])
def test_the_fetched_network_cuts_out_what_it_sees_wherever_no_point_is_given(search):
    image, truth = two_things()
    found = cut_out(image, search)
    assert found.how.way == CutoutMethod.FETCHED
    assert iou(found.mask, truth).item() > 0.9


@pytest.mark.usefixtures("fetched")
def test_points_stay_with_the_packaged_network():
    assert cut_out(two_things()[0], "0.5,0.5").how.way != CutoutMethod.FETCHED


def test_a_damaged_file_is_refused_with_the_command_that_brings_it(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs swiftpie[cutout]")
    path = tmp_path / isnet.FILE
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="swiftpie fetch cutout"):
        isnet.find(two_things()[0], path)
