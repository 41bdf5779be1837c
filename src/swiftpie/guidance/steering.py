"""What a style does to guidance and attention."""

from swiftpie.attention.shaping import AM1, AM2, STABLE_AM2
from swiftpie.guidance.base import METHODS, Steering
from swiftpie.guidance.style import Style

SHAPINGS = {
    Style.AM1: AM1,
    Style.AM2: AM2,
    Style.DCG_AM1: AM1,
    Style.DCG_AM2: STABLE_AM2,
}


def steering_of(style: Style, num_steps: int) -> Steering:
    """Return guidance and reshaping of attention for so many steps."""
    has_dcg = style in {Style.DCG, Style.DCG_AM1, Style.DCG_AM2}
    return {
        "guidance": METHODS.get("dcg")(num_steps) if has_dcg else None,
        "shaping": SHAPINGS.get(style),
    }
