import itertools
from contextlib import suppress

import pytest

from swiftpie import SwiftPieError
from tests.fuzz.kinds import KINDS
from tests.quick import thorough_but

CASES = 8  # of a kind and seed


@pytest.mark.filterwarnings("ignore")  # of libraries, about what they are given
@pytest.mark.parametrize("seed", thorough_but([0, 1], [0]))
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_end_in_a_sentence_or_are_read(kind, seed, tmp_path):
    for number, (_, data) in enumerate(itertools.islice(KINDS[kind].cases(seed), CASES)):
        (tmp_path / str(number)).mkdir()
        with suppress(SwiftPieError):
            KINDS[kind].read(data, tmp_path / str(number))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_cases_again(kind):
    first, again = (list(itertools.islice(KINDS[kind].cases(3), CASES)) for _ in range(2))
    assert first == again
