"""Single-coloured studio backgrounds."""

from torch import Tensor

from swiftpie.data.scenes.fields import Fields
from swiftpie.data.scenes.scene import Draw, Light, Scene

_STUDIO = Light(shade=0.08)


def _backdrop(red: int, green: int, blue: int) -> Draw:
    def draw(fields: Fields) -> Tensor:
        glow = 1.04 - 0.16 * fields.distance(0.5, 0.45) + 0.08 * (fields.u(6) - 0.5)
        return fields.rgb(red, green, blue) * glow

    return draw


def _plain(name: str, draw: Draw) -> Scene:
    phrases = (
        f"on a {name} background",
        f"in front of a {name} wall",
        f"on a plain {name} background",
        f"with a {name} background",
        f"on {name}",
    )
    return Scene(name, phrases, draw, _STUDIO)


PLAIN = (
    _plain("pink", _backdrop(250, 150, 190)),
    _plain("blue", _backdrop(90, 150, 240)),
    _plain("yellow", _backdrop(250, 215, 80)),
    _plain("white", _backdrop(245, 245, 246)),
    _plain("green", _backdrop(110, 200, 120)),
)
