"""Denoisers partly in whole numbers of 8 bits, by NNCF, calibrated on pictures in the package."""

import contextlib
import io
import json
import logging
from typing import Any

from numpy.typing import NDArray

from swiftpie.backbones.components import Components
from swiftpie.engine.openvino.arguments import flatten, plain
from swiftpie.engine.openvino.calibration import NUM_CALLS, Call, calls_like
from swiftpie.engine.openvino.export import Function, number_of
from swiftpie.engine.openvino.networks import DENOISER
from swiftpie.engine.openvino.runtime import load, unreported, versions
from swiftpie.errors import SwiftPieError

logger = logging.getLogger(__name__)

RECIPE = 2  # changes with what is quantised, so that older graphs are not used
FOLDED = "Convolution"
EXACT = ["MatMul", "ScaledDotProductAttention"]  # 8 bits blur attention, whose keys have places


class Quantizer:
    """Turns convolutions of exported denoisers to whole numbers, all but the first and the last."""

    def __init__(self, components: Components) -> None:
        """Calibrate with the untransformed `components`.

        Raises:
            MissingExtra: NNCF is not installed.
        """
        self._nncf = load("nncf")
        self._nncf.set_log_level(logging.ERROR)  # else it prints what it does
        self._components = components
        self.settings = json.dumps([RECIPE, NUM_CALLS, versions("nncf")])

    def wants(self, function: Function) -> bool:
        """Tell whether `function` is a denoiser's."""
        return function.name == DENOISER

    def __call__(self, form: Any, graph: Any) -> Any:  # noqa: ANN401 - see `Change`
        """Return `graph` quantised, or None, with a warning, where nothing can calibrate it."""
        reason = "the pictures in the package make no call like this"
        try:
            calls = calls_like(self._components, form)
        except SwiftPieError as error:
            calls, reason = [], str(error)
        if not calls:
            logger.warning("A call of the denoiser is not quantised: %s", reason)
            return None
        nncf = self._nncf
        with unreported(), contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars
            return nncf.quantize(
                graph,
                nncf.Dataset(calls, lambda call: _inputs(call, graph)),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(calls),
                ignored_scope=nncf.IgnoredScope(names=_ends(graph), types=EXACT, validate=False),
            )


def _inputs(call: Call, graph: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - OpenVINO's class
    tensors = flatten(call)
    return {one.get_any_name(): plain(tensors[number_of(one)]).numpy() for one in graph.inputs}


def _ends(graph: Any) -> list[str]:  # noqa: ANN401 - OpenVINO's class
    """Return the first and the last convolution of `graph`, which lose most."""
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == FOLDED]
    return [node.get_friendly_name() for node in (nodes[0], nodes[-1])]
