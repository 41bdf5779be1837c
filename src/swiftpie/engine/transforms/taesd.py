"""Small autoencoders in place of those of Stable Diffusion."""

from functools import partial

from swiftpie.engine.transforms import Transform
from swiftpie.registry import later

WITH_TINY = later("swiftpie.engine.taesd:with_tiny")

TRANSFORMS = {
    "tiny-decoder": Transform(
        summary="Stable Diffusion's latents decoded by TAESD: much quicker, slightly softer.",
        apply=partial(WITH_TINY, decodes=True),
        needs=later("swiftpie.engine.taesd:needs"),
    ),
    "tiny-encoder": Transform(
        summary="Pictures encoded by TAESD, for edits: much quicker, and less exact.",
        apply=partial(WITH_TINY, decodes=False),
        needs=later("swiftpie.engine.taesd:needs"),
    ),
}
