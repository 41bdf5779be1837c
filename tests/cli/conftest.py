import shutil
from importlib.resources import as_file, files

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from swiftpie.cli.main import app
from tests.fixtures.mock_hub import serving
from tests.fixtures.published_world import published_world
from tests.own_size import identity, session

__all__ = ["identity", "session"]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def call():
    runner = CliRunner()

    def call_swiftpie(*arguments, stdin=None, code=0, says=""):
        result = runner.invoke(app, [str(argument) for argument in arguments], input=stdin)
        assert code is None or result.exit_code == code, result.output
        assert says in result.stderr
        return result

    return call_swiftpie


@pytest.fixture(scope="session")
def samples():
    with as_file(files("swiftpie") / "assets" / "samples") as folder:
        yield folder


@pytest.fixture(scope="session")
def hamster(samples):
    return samples / "1f439.webp"


@pytest.fixture(scope="session")
def photo():
    with as_file(files("swiftpie") / "assets" / "photos" / "dahlia.jpg") as path:
        yield path


@pytest.fixture
def on_white(hamster):
    """The hamster without transparency, RGB."""
    with Image.open(hamster) as opened:
        sprite = opened.convert("RGBA")
    ground = Image.new("RGBA", sprite.size, "white")
    return Image.alpha_composite(ground, sprite).convert("RGB")


@pytest.fixture
def weights(tmp_path):
    with as_file(files("swiftpie") / "assets" / "mini") as folder:
        return shutil.copytree(folder, tmp_path / "weights")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serving(published_world(tmp_path_factory.mktemp("published"))) as hub:
        yield hub
