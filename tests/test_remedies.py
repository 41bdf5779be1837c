"""Messages are written once in words of Python; each surface says them in its own."""

import re

import pytest

from swiftpie import errors
from swiftpie.mini.word_edits import LARGER, NotDrawn
from swiftpie.places.reading import MESSAGES
from swiftpie.remedies import PHRASES, REMEDIES, Tongue, said_of, spelled
from swiftpie.types import REMEDY
from tests.policy.project import ROOT

SAID = [  # in Python, over HTTP, and to an assistant
    ("turn it by `tilt=30`.", "turn it by swiftpie.tilt 30.", "turn it by tilt 30."),
    ("or `scene='words'` too", "or swiftpie.scene 'words' too", "or scene 'words' too"),
    ("or `scene='stone wall'`", "or swiftpie.scene 'stone wall'", "or scene 'stone wall'"),
    ("`text_scale=9.5` came", "swiftpie.scales.text_scale 9.5 came", "scales.text_scale 9.5 came"),
    ("by `method=chord`", "by swiftpie.edit.method 'chord'", "by edit.method 'chord'"),
    ("`mode=EditMode.PAPER`", "swiftpie.edit.mode 'paper'", "edit.mode 'paper'"),
    ("`to_box=(0.1, 0.2, 0.3, 1)`", *("{}animate.to_boxes [0.1, 0.2, 0.3, 1]",) * 2),
    ("as in `box=0.2,0.3,0.8,0.95`.", *("as in {}box [0.2,0.3,0.8,0.95].",) * 2),
    ("`flip=True` and `prompt=`", *("{}flip true and prompt",) * 2),
    ("Load with `dtype='bfloat16'`.", *("Load with --dtype bfloat16 of the server.",) * 2),
    (f"as {LARGER}.", *("as that of a server with the recipe swiftedit.",) * 2),
    ("a `plain` word", *("a `plain` word",) * 2),
]


@pytest.mark.parametrize(("text", "http", "tools"), SAID)
def test_a_message_has_the_words_of_its_surface(text, http, tools):
    assert spelled(text, Tongue.HTTP) == http.format("swiftpie.")
    assert spelled(text, Tongue.TOOLS) == tools.format("")


def test_an_error_has_the_remedy_of_its_surface():
    for name, own in REMEDIES.items():
        error = getattr(errors, name)("It is so.", "Do `x=`.")
        for tongue in own:
            assert said_of(error, tongue) == f"It is so. {own[tongue]}"
        assert said_of(error, Tongue.COMMANDS) == "It is so. Do --x."


@pytest.mark.parametrize("message", [*(why.remedy for why in NotDrawn), REMEDY])
def test_no_advice_names_what_a_caller_cannot_do(message):
    for tongue in (Tongue.HTTP, Tongue.TOOLS):
        said = spelled(str(message), tongue)
        assert not re.search(r"`swiftpie |\w=|`personalize`", said), said
    assert "/v1/" not in spelled(str(message), Tongue.TOOLS)


def test_each_phrase_is_one_that_a_message_has():
    files = (path for path in (ROOT / "src").rglob("*.py") if path.name != "remedies.py")
    sources = " ".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in files)
    sources += " ".join(text for table in MESSAGES.values() for text in table.values())
    sources = sources.replace("{LARGER}", LARGER)
    assert [written for written, *_ in PHRASES if not re.search(written, sources)] == []
