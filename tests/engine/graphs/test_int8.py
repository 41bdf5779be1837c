import numpy as np
import pytest

from swiftpie.engine.graphs.int8 import mirrored
from swiftpie.engine.graphs.runtime import load

RANGES = [(-2.0, 6.0), (-6.0, 2.0), (-3.0, 3.0)]


def rounded(low, high, *, turns):
    openvino = load("openvino")
    opset = openvino.opset13
    pixels = opset.parameter([1, 2, 4, 4], np.float32)
    bounds = [np.float32(bound) for bound in (low, high, low, high)]
    states = opset.fake_quantize(pixels, *bounds, 256)
    kernel = opset.constant(np.ones((2, 2, 4, 4), dtype=np.float32))
    if turns:
        made = opset.convolution_backprop_data(
            states, kernel, [2, 2], pads_begin=[1, 1], pads_end=[1, 1]
        )
    else:
        made = opset.convolution(states, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return openvino.Model([made], [pixels])


def bounds_of(graph):
    (node,) = (node for node in graph.get_ordered_ops() if "Convolution" in node.get_type_name())
    rounding = node.input_value(0).get_node()
    return [float(rounding.input_value(k).get_node().get_data()) for k in range(1, 5)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_ranges_before_transposed_convolutions_alone_are_around_0(low, high):
    widest = max(-low, high)
    found = bounds_of(mirrored(rounded(low, high, turns=True)))
    assert found == pytest.approx([-widest * 128 / 127, widest] * 2)
    step = (found[1] - found[0]) / 255
    assert found[0] / step == pytest.approx(-128)  # so 0 is one of the levels
    others = mirrored(rounded(low, high, turns=False))
    assert bounds_of(others) == pytest.approx([low, high, low, high])


def test_values_stay_within_a_step():
    pixels = np.random.default_rng(0).uniform(-2, 6, (1, 2, 4, 4)).astype(np.float32)
    core = load("openvino").Core()
    graphs = [rounded(-2.0, 6.0, turns=True), mirrored(rounded(-2.0, 6.0, turns=True))]
    exact, found = (core.compile_model(graph, "CPU")([pixels])[0] for graph in graphs)
    assert np.abs(found - exact).max() <= 8 * (6 * 255 / 127 / 255)  # 8 products, a step each
