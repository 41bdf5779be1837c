"""Parameters of which `make test` takes a part and the thorough tests take the rest."""

import pytest


def thorough_but(cases, quick):
    """Return `cases`; those outside `quick` are thorough."""
    return [
        case if case in quick else pytest.param(case, marks=pytest.mark.thorough) for case in cases
    ]
