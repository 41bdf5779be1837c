"""Networks in OpenVINO, in bfloat16 where the processor computes in it."""

from swiftpie.engine.openvino.networks import to_openvino
from swiftpie.engine.transform import Phase, Transform

TRANSFORM = Transform(
    summary="OpenVINO on the CPU, in bfloat16 where the processor has it, else float32",
    apply=to_openvino,
    phase=Phase.CALLS,
    extra="openvino",
    packages=("openvino", "threadpoolctl"),
)
