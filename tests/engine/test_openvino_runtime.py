"""OpenVINO is there when it is asked for, and tells nobody."""

import importlib
import importlib.util
import sys

import pytest

from swiftpie.engine.openvino.runtime import (
    TELEMETRY,
    Precision,
    load,
    preferred_precision,
    unreported,
)
from swiftpie.errors import MissingExtra


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingExtra, match=r"swiftpie\[openvino\]"):
        load("no_such_package")


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_what_reports_use_is_never_imported(package):
    load(package)
    assert TELEMETRY not in sys.modules
    assert importlib.util.find_spec(TELEMETRY) is not None  # it is there, and could have been
    used = sys.modules["openvino.tools.ovc.telemetry_utils"].tm
    assert used.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_it_can_be_imported_by_others_afterwards():
    with unreported():
        with pytest.raises(ImportError):
            importlib.import_module(TELEMETRY)
        assert sys.modules[TELEMETRY] is None
    assert TELEMETRY not in sys.modules


def test_the_precision_is_one_that_the_processor_has():
    core = load("openvino").Core()
    has_half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert preferred_precision(core) is (Precision.HALF if has_half else Precision.SINGLE)
