import pytest

from swiftpie.faces import FACE_ENCODERS
from tests.tiny.faces import make_models, photo


@pytest.fixture(scope="session")
def face_models(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def encoder(face_models):
    return FACE_ENCODERS.get("opencv").open(face_models)


@pytest.fixture
def portrait():
    return photo()
