import os

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
