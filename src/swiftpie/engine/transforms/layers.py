"""Layers that compute the same with less: folded upsampling and fewer tokens."""

from swiftpie.engine.transforms import Transform
from swiftpie.registry import later

TRANSFORMS = {
    "folded-upsampling": Transform(
        summary="Exact: convolutions after upsampling run on the small picture; for full decoders.",
        apply=later("swiftpie.engine.layers:with_folded_upsampling"),
    ),
    "token-downsampling": Transform(
        summary="Finest self-attention to a quarter of its tokens; quicker for large pictures.",
        apply=later("swiftpie.engine.layers:with_token_downsampling"),
    ),
}
