"""Words for the colours and materials of subjects; it loads no tensor library."""

import re
from collections.abc import Mapping

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {  # stand before the noun
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "orange coloured", "bright orange"),
    "yellow": ("yellow", "bright yellow", "lemon yellow"),
    "green": ("green", "emerald green", "grass green"),
    "turquoise": ("turquoise", "aqua", "cyan"),
    "blue": ("blue", "cobalt blue", "royal blue"),
    "purple": ("purple", "violet", "deep purple"),
    "pink": ("pink", "rose pink", "bright pink"),
    "brown": ("brown", "chestnut brown", "hazel brown"),
    "black": ("black", "jet black", "pitch black"),
    "white": ("white", "snow white", "pure white"),
    "grey": ("grey", "gray", "ash grey"),
}
MATERIAL_PHRASES: Mapping[str, tuple[str, ...]] = {  # follow the noun
    "gold": ("made of gold", "made of polished gold", "cast in gold"),
    "silver": ("made of silver", "made of polished silver", "cast in silver"),
    "wood": ("made of wood", "carved from wood", "made of timber"),
    "stone": ("made of stone", "carved from stone", "made of granite"),
    "marble": ("made of marble", "carved from marble", "made of white marble"),
    "glass": ("made of glass", "blown from glass", "made of clear glass"),
    "ice": ("made of ice", "carved from ice", "made of frozen water"),
    "chocolate": ("made of chocolate", "cast in chocolate", "made of dark chocolate"),
    "wool": ("made of wool", "knitted from wool", "made of yarn"),
    "toy bricks": ("made of toy bricks", "built from toy bricks", "made of plastic bricks"),
}
MATERIAL_WORDS: Mapping[str, tuple[str, ...]] = {  # stand before the noun
    "gold": ("golden", "solid gold"),
    "silver": ("silver", "chrome-plated"),
    "wood": ("wooden", "carved wooden"),
    "stone": ("stone", "granite"),
    "marble": ("marble", "veined marble"),
    "glass": ("glass", "transparent glass"),
    "ice": ("icy", "frozen"),
    "chocolate": ("chocolate", "dark chocolate"),
    "wool": ("woollen", "knitted", "crocheted"),
    "toy bricks": ("brick-built", "toy brick"),
}
TEXTURED = ("wool", "toy bricks")
"""Their stitches and studs are too small for the cells of latents."""

ELSEWHERE = re.compile(
    r"\b(?:in|on|at|by|near|beside|before|behind|inside|under|with|wearing|holding|and)\b|,",
    re.IGNORECASE,
)
