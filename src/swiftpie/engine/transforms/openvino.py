"""Networks in OpenVINO: in bfloat16 where the processor computes in it, or in 8-bit integers."""

from functools import partial

from swiftpie.engine.graphs.networks import to_openvino
from swiftpie.engine.transforms import Phase, Transform

TRANSFORMS = {
    "openvino": Transform(
        summary="OpenVINO on the CPU, in bfloat16 where the processor has it, else float32",
        apply=to_openvino,
        phase=Phase.CALLS,
        extra="openvino",
        packages=("openvino", "threadpoolctl"),
    ),
    "openvino-int8": Transform(
        summary="OpenVINO on the CPU, the large networks in whole numbers of 8 bits",
        apply=partial(to_openvino, quantizes=True),
        phase=Phase.CALLS,
        extra="openvino",
        packages=("nncf", "openvino", "threadpoolctl"),
    ),
}
