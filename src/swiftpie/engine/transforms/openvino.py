"""Networks in OpenVINO, for servers and batches: each kind of call is compiled once a process."""

from functools import partial

from swiftpie.engine.transforms import Phase, Transform
from swiftpie.registry import later

TO_OPENVINO = later("swiftpie.engine.openvino:to_openvino")

TRANSFORMS = {
    "openvino": Transform(
        summary="OpenVINO on the CPU, in bfloat16 where it can; quicker in servers and batches",
        apply=TO_OPENVINO,
        phase=Phase.CALLS,
        extra="openvino",
        packages=("openvino", "threadpoolctl"),
    ),
    "openvino-int8": Transform(
        summary="OpenVINO on the CPU, the large networks in whole numbers of 8 bits",
        apply=partial(TO_OPENVINO, quantizes=True),
        phase=Phase.CALLS,
        extra="openvino",
        packages=("nncf", "openvino", "threadpoolctl"),
    ),
}
