"""The package's own transforms: OpenVINO, networks that take turns, and quicker layers."""

from functools import partial

from swiftpie.engine.transforms import Phase, Transform
from swiftpie.registry import later

TO_OPENVINO = later("swiftpie.engine.openvino:to_openvino")

TRANSFORMS = {
    "folded-upsampling": Transform(
        summary="Exact: convolutions after upsampling run on the small picture; for full decoders.",
        apply=later("swiftpie.engine.layers:with_folded_upsampling"),
    ),
    "token-downsampling": Transform(
        summary="Finest self-attention to a quarter of its tokens; quicker for large pictures.",
        apply=later("swiftpie.engine.layers:with_token_downsampling"),
    ),
    "offload": Transform(
        summary="Networks rest in main memory and take turns on the graphics card.",
        apply=later("swiftpie.engine.offload:apply"),
        phase=Phase.PLACES,
    ),
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
        extra="int8",
        packages=("nncf", "openvino", "threadpoolctl"),
    ),
}
