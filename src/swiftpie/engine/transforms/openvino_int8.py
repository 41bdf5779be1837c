"""Networks in OpenVINO, their convolutions and linear layers in whole numbers of 8 bits."""

from functools import partial

from swiftpie.engine.openvino.networks import to_openvino
from swiftpie.engine.transform import Phase, Transform

TRANSFORM = Transform(
    summary="OpenVINO on the CPU, the large networks in whole numbers of 8 bits",
    apply=partial(to_openvino, quantizes=True),
    phase=Phase.CALLS,
    extra="openvino",
    packages=("nncf", "openvino", "threadpoolctl"),
)
