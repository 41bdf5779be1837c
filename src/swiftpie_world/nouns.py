"""Names of subjects as captions use them."""

from random import Random

GENERIC_NAMES = ("subject", "object", "sticker", "thing")
EMPTY_PREFIXES = ("a photo of nothing", "nothing", "an empty scene", "nobody", "")
THE_SHARE = 0.2  # share of captions that say "the" where others say "a"
_GENERIC_SHARE = 0.2  # so that the reference, not the noun, carries identity
_SYNONYM_SHARE = 0.15


def draw_noun(random: Random, name: str, synonyms: tuple[str, ...]) -> str:
    """Return the name of a subject, sometimes a synonym of it or a word that fits any."""
    if random.random() < _GENERIC_SHARE:
        return random.choice(GENERIC_NAMES)
    if synonyms and random.random() < _SYNONYM_SHARE:
        return random.choice(synonyms)
    return name


def article_of(noun: str) -> str:
    """Return "a" or "an", as it stands before `noun`."""
    return "an" if noun[0] in "aeiou" else "a"
