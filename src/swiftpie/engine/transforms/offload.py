"""Networks in main memory that come to the graphics card one at a time."""

from swiftpie.backbones.components import Components
from swiftpie.engine.offload import Resting, rested
from swiftpie.engine.transform import Transform, Turn
from swiftpie.errors import CapabilityError


def apply(components: Components) -> Resting:
    """Return components whose networks are on their device only while they run.

    Raises:
        CapabilityError: The networks are in main memory anyway.
    """
    if components.device.type == "cpu":
        raise CapabilityError(
            "'offload' was asked for on the CPU, where networks are in main memory anyway. It "
            "needs a graphics card. Load with device='cuda', or leave it out."
        )
    return rested(components, components.device)


TRANSFORM = Transform(
    summary="Networks rest in main memory and take turns on the graphics card.",
    apply=apply,
    turn=Turn.PLACES,
)
