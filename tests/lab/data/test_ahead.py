import os
import subprocess
import sys

import pytest

from swiftpie_lab.data.ahead import Ahead


def square_and_process(number):
    return number**2, os.getpid()


def build():
    return square_and_process


@pytest.mark.thorough
def test_draws_are_those_of_their_numbers_and_made_elsewhere():
    ahead = Ahead(build, 2)
    for numbers in ((4, 5, 6), (10, 13, 16, 19), (2,)):
        drawn = [ahead(number) for number in numbers]
        assert [square for square, _ in drawn] == [number**2 for number in numbers]
        assert os.getpid() not in {process for _, process in drawn}


SLOW = """
import time
from swiftpie_lab.data.ahead import Ahead

def draw(number):
    time.sleep(0 if number == 0 else 600)
    return number

def build():
    return draw

def main():
    ahead = Ahead(build, 2)
    assert ahead(0) == 0
    {end}

if __name__ == "__main__":
    main()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise SystemExit(3)", 3)])
def test_a_program_ends_without_the_draws_that_it_does_not_need(end, code, tmp_path):
    program = tmp_path / "slow.py"
    program.write_text(SLOW.format(end=end))
    done = subprocess.run([sys.executable, program], timeout=120, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (code, b"")
