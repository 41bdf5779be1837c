"""What the page knows of prompts, as JSON: the same words and rules by which Python reads them."""

import re
from typing import Any

from swiftpie.mini import scenes
from swiftpie.mini.look_words import ELSEWHERE as LOOKS_END
from swiftpie.mini.look_words import MATERIAL_PHRASES, MATERIAL_WORDS, TEXTURED

GROUP = re.compile(r"\(\?P<")


def words_of_prompts() -> dict[str, Any]:
    """Return the lists and patterns that `static/words.js` reads prompts by.

    Patterns are those of Python in the spelling of JavaScript, and ignore case.
    """
    return {
        "settings": [
            list(values.values()) for values in (scenes.TIMES, scenes.WEATHERS, scenes.SEASONS)
        ],
        "cloudy": scenes.CLOUDY,
        "snowfall": scenes.SNOWFALL,
        "winter": scenes.WINTER,
        "prepositions": sorted(scenes.PREPOSITIONS),
        "ofAThing": sorted(scenes.OF_A_THING),
        "adverbs": sorted(scenes.ADVERBS),
        "articles": sorted(scenes.ARTICLES),
        "mostBetween": scenes.MOST_BETWEEN,
        "photos": sorted(scenes.PHOTOS),
        "outdoors": scenes.OUTDOORS,
        "backdrops": scenes.BACKDROPS,
        "withoutIt": scenes.WITHOUT_IT,
        "turning": sorted(scenes.TURNING),
        "patterns": {
            "inTheAir": _spelled(scenes.IN_THE_AIR),
            "artAtEnd": _spelled(scenes.ART_AT_END),
            "worn": _spelled(scenes.WORN_PHRASE),
            "looksEnd": _spelled(LOOKS_END),
        },
        "renditions": [phrase for phrases in scenes.RENDITIONS.values() for phrase in phrases],
        "textures": [
            phrase
            for name in TEXTURED
            for phrase in (*MATERIAL_PHRASES[name], *MATERIAL_WORDS[name])
        ],
        **scenes.packaged().to_json(),
    }


def _spelled(pattern: re.Pattern[str]) -> str:
    """Return a pattern as JavaScript spells it."""
    return GROUP.sub("(?<", pattern.pattern)
