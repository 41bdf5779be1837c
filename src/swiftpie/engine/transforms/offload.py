"""Networks that take turns on an accelerator."""

from swiftpie.engine.transforms import Phase, Transform
from swiftpie.registry import later

TRANSFORM = Transform(
    summary="Networks rest in main memory and take turns on the graphics card.",
    apply=later("swiftpie.engine.offload:apply"),
    phase=Phase.PLACES,
)
