"""The embedded model at its own size, for folders whose tests draw as commands and graphs do."""

import pytest

import swiftpie

__all__ = ["identity", "session"]


@pytest.fixture(scope="session")
def session():
    return swiftpie.load("mini")


@pytest.fixture(scope="session")
def identity(session, sprite):
    """The subject of `sprite`, encoded by this session: what others encode is of another size."""
    return session.encode_identity(sprite)
