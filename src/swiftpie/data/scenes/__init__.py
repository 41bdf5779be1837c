"""The catalogue of scenes; a scene's index in `SCENES` is its label."""

from swiftpie.data.scenes.land import LAND
from swiftpie.data.scenes.plain import PLAIN
from swiftpie.data.scenes.scene import Light, Scene
from swiftpie.data.scenes.sky import SKY
from swiftpie.data.scenes.town import TOWN
from swiftpie.data.scenes.water import WATER

SCENES: tuple[Scene, ...] = (*WATER, *LAND, *SKY, *TOWN, *PLAIN)

__all__ = ["SCENES", "Light", "Scene"]
