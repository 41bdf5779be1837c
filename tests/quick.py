"""Parameters of which `make test` takes a part and the thorough tests take the rest."""

import pytest


def thorough_but(cases, quick):
    return [
        case if case in quick else pytest.param(case, marks=pytest.mark.thorough) for case in cases
    ]
