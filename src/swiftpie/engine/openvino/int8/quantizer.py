"""Networks in whole numbers of 8 bits, by NNCF, calibrated on pictures in the package."""

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftpie.backbones.components import Components
from swiftpie.engine.openvino.arguments import flatten, plain
from swiftpie.engine.openvino.encoders import TEXT, TOWER
from swiftpie.engine.openvino.export import Function, number_of
from swiftpie.engine.openvino.int8.drawing import denoiser_calls
from swiftpie.engine.openvino.int8.pictures import (
    Call,
    decoder_calls,
    encoder_calls,
    inversion_calls,
    tower_calls,
)
from swiftpie.engine.openvino.networks import DECODER, DENOISER, ENCODER, INVERSION
from swiftpie.engine.openvino.runtime import load, unreported, versions
from swiftpie.errors import SwiftPieError

logger = logging.getLogger(__name__)

RECIPE = 4  # changes with what is quantised, so that older graphs are not used
FOLDED, MULTIPLIED = "Convolution", "MatMul"
UNFOLDED, ROUNDED = "ConvolutionBackpropData", "FakeQuantize"
LEVELS = 256  # of 8 bits, of which a range around 0 leaves one on the negative side alone
EXACT = ["ScaledDotProductAttention"]  # 8 bits blur attention, whose keys have places
RANGES = "nncf.quantization.range_estimator"
WEIGHT, WIDENED = "Constant", "Convert"
SOURCES: Mapping[str, Callable[[Components, Any], Sequence[Call]]] = {
    DENOISER: denoiser_calls,
    INVERSION: inversion_calls,
    ENCODER: encoder_calls,
    DECODER: decoder_calls,
    TOWER: tower_calls,
}
"""Where calls of a network come from that computes in 8 bits."""
SMOOTHED = {TOWER}  # few channels of CLIP's states are far larger than all others
NARROWED = {TEXT}  # weights alone: with 8-bit states, single pictures fell to 33 dB


class Quantizer:
    """Turns convolutions and linear layers of exported networks to whole numbers.

    What smooths activations into weights is for transformers that need it alone, and no value is
    cut as an outlier: with either, single pictures of the embedded model fell from 40 dB to 21.
    """

    def __init__(self, components: Components) -> None:
        """Calibrate with the untransformed `components`.

        Raises:
            MissingExtra: NNCF is not installed.
        """
        self._nncf = load("nncf")
        self._nncf.set_log_level(logging.ERROR)  # else it prints what it does
        self._components = components
        self.settings = json.dumps([RECIPE, versions("nncf")])

    def wants(self, function: Function) -> bool:
        """Tell whether `function` is of a network that is turned."""
        return function.name in SOURCES or function.name in NARROWED

    def __call__(self, function: Function, form: Any, graph: Any) -> Any:  # noqa: ANN401 - see `Change`
        """Return `graph` quantised, or None, with a warning, where nothing can calibrate it."""
        if function.name in NARROWED:
            return self._narrowed(in_single(graph))
        reason = "the pictures in the package make no call like this"
        calls: Sequence[Call] = ()
        try:
            calls = SOURCES[function.name](self._components, form)
        except SwiftPieError as error:
            reason = str(error)
        if not calls:
            logger.warning("A call of the %s is not quantised: %s", function.name, reason)
            return None
        with _quietly():
            return self._quantized(in_single(graph), calls, smooths=function.name in SMOOTHED)

    def _narrowed(self, graph: Any) -> Any:  # noqa: ANN401 - see `Change`
        with _quietly():
            return self._nncf.compress_weights(graph, mode=self._nncf.CompressWeightsMode.INT8_ASYM)

    def _quantized(self, graph: Any, calls: Sequence[Call], *, smooths: bool) -> Any:  # noqa: ANN401 - see `Change`
        nncf = self._nncf
        smoothing = nncf.AdvancedSmoothQuantParameters()
        if not smooths:
            smoothing = nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        made = nncf.quantize(
            graph,
            nncf.Dataset(calls, lambda call: _inputs(call, graph)),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calls),
            ignored_scope=nncf.IgnoredScope(
                names=[*_ends(graph), *_products(graph)], types=EXACT, validate=False
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=smoothing,
                activations_range_estimator_params=load(RANGES).RangeEstimatorParametersSet.MINMAX,
            ),
        )
        return mirrored(made)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Let NNCF neither draw progress bars nor report its use inside of the block."""
    with unreported(), contextlib.redirect_stdout(io.StringIO()):
        yield


def _inputs(call: Call, graph: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - OpenVINO's class
    tensors = flatten(call)
    return {one.get_any_name(): plain(tensors[number_of(one)]).numpy() for one in graph.inputs}


def in_single(graph: Any) -> Any:  # noqa: ANN401 - OpenVINO's classes
    """Return `graph` with all that it computed in bfloat16 in float32, as NNCF needs it.

    Weights stay as they are and are widened where they are used.
    """
    openvino = load("openvino")
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in (WEIGHT, WIDENED) or node.get_element_type() != openvino.Type.bf16:
            continue
        users = node.output(0).get_target_inputs()
        narrow = node.output(0) if kind == WEIGHT else node.input_value(0)
        for user in users:
            user.replace_source_output(openvino.opset13.convert(narrow, "f32").output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def mirrored(graph: Any) -> Any:  # noqa: ANN401 - OpenVINO's classes
    """Return `graph` with ranges around 0 before transposed convolutions.

    OpenVINO computes these in whole numbers only if 0 is in the middle.
    """
    opset = load("openvino").opset13
    for node in graph.get_ordered_ops():
        if node.get_type_name() != UNFOLDED:
            continue
        rounding = node.input_value(0).get_node()
        if rounding.get_type_name() != ROUNDED:
            continue
        ends = [abs(rounding.input_value(place).get_node().get_data()).max() for place in (1, 2)]
        high = max(ends)
        low = -high * (LEVELS / (LEVELS - 2))
        bounds = [np.float32(one) for one in (low, high, low, high)]
        made = opset.fake_quantize(rounding.input_value(0), *bounds, LEVELS)
        node.input(0).replace_source_output(made.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _products(graph: Any) -> list[str]:  # noqa: ANN401 - OpenVINO's class
    """Return the products of two computed matrices, among them places, which 8 bits would blur."""
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == MULTIPLIED]
    return [node.get_friendly_name() for node in nodes if not _has_weights(node)]


def _has_weights(node: Any) -> bool:  # noqa: ANN401 - OpenVINO's class
    sources = [node.input_value(place).get_node() for place in range(2)]
    sources += [one.input_value(0).get_node() for one in sources if one.get_type_name() == WIDENED]
    return any(one.get_type_name() == WEIGHT for one in sources)


def _ends(graph: Any) -> list[str]:  # noqa: ANN401 - OpenVINO's class
    """Return the first and the last convolution of `graph`, which lose most."""
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == FOLDED]
    return [node.get_friendly_name() for node in (*nodes[:1], *nodes[-1:])]
