import itertools
import os
import time
from contextlib import suppress

import pytest

from swiftpie import SwiftPieError
from tests.fuzz.kinds import KINDS

CASES = 8  # of a kind and seed
SEEDS = range(int(os.environ.get("FUZZ_SEEDS", "1")))
LONGEST_S = 5.0  # of a processor's time


@pytest.mark.filterwarnings("ignore")  # of libraries, about what they are given
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_end_in_a_sentence_or_are_read(kind, seed, tmp_path):
    cases = KINDS[kind].cases(seed)
    next(KINDS[kind].cases(seed))  # makes what all cases of a kind share
    for number, (name, data) in enumerate(itertools.islice(cases, CASES)):
        (tmp_path / str(number)).mkdir()
        began = time.process_time()
        with suppress(SwiftPieError):
            KINDS[kind].read(data, tmp_path / str(number))
        assert time.process_time() - began < LONGEST_S, name
