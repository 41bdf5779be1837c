"""OpenVINO and NNCF as SwiftPie uses them: imported late, without reports of their use."""

import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from swiftpie.errors import MissingExtra

logger = logging.getLogger(__name__)

TELEMETRY = "openvino_telemetry"  # the package that reports to Google Analytics
DEVICE = "CPU"


class Precision(StrEnum):
    """What numbers are computed in, spelled as OpenVINO does."""

    HALF = "bf16"
    SINGLE = "f32"


@contextmanager
def unreported() -> Iterator[None]:
    """Keep OpenVINO and NNCF from finding the package that reports their use.

    It reports every import and conversion over the network unless a file in the user's home
    forbids it. Both packages do without where it is missing, and remember that it was.
    """
    if sys.modules.get(TELEMETRY) is not None:
        logger.warning(
            "OpenVINO was imported before SwiftPie and reports its use to its makers. Run "
            "`opt_in_out --opt_out` to forbid it."
        )
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # how Python marks what is missing
    try:
        yield
    finally:
        sys.modules.pop(TELEMETRY, None)


def load(package: str) -> Any:  # noqa: ANN401 - neither package has complete types
    """Import `openvino` or `nncf`, or a part of them.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        with unreported():
            return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(
            f"A network shall run in OpenVINO, which needs the package {package!r}. It is not "
            'installed. Run: pip install "swiftpie[openvino]"'
        ) from error


def compile_graph(
    core: Any,  # noqa: ANN401 - see `load`
    graph: Any,  # noqa: ANN401 - see `load`
    precision: Precision,
    threads: int,
    streams: int = 1,
) -> Any:  # noqa: ANN401 - see `load`
    """Return `graph` made ready for this processor; `streams` calls at a time share `threads`."""
    hints = {
        "INFERENCE_PRECISION_HINT": precision.value,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }
    return core.compile_model(graph, DEVICE, hints)


def preferred_precision(core: Any) -> Precision:  # noqa: ANN401 - OpenVINO's class
    """Return bfloat16 where the processor computes in it, else float32."""
    has_half = "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return Precision.HALF if has_half else Precision.SINGLE


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages by name."""
    return {name: importlib.metadata.version(name) for name in packages}
