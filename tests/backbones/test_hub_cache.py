"""A preset by its public name, from the cache that hub downloads leave, without a network."""

import os
import subprocess
import sys

import pytest

from tests.backbones import tiny_models

REVISION = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import json, sys
from pathlib import Path
import swiftpie
from PIL import Image

root = Path(sys.argv[1])
session = swiftpie.load(
    "sd-turbo", offline=True, adapter=root / "own.safetensors", image_encoder=root / "encoder"
)
folder = swiftpie.load(
    "sd-turbo",
    weights=root / "pipeline",
    adapter=root / "own.safetensors",
    image_encoder=root / "encoder",
)
pictures = []
for one in (session, folder):
    identity = one.encode_identity(Image.new("RGBA", (64, 64), (255, 0, 0, 254)))
    result = one.personalize(identity, "a red cube", seed=3, size_px=(64, 64))
    pictures.append(result.images[0].tobytes())
print(json.dumps(pictures[0] == pictures[1]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tiny pipeline as a folder, and as a snapshot in the cache of the hub."""
    root = tmp_path_factory.mktemp("hub")
    tiny_models.make_pipeline(root / "pipeline", "sd21")
    tiny_models.make_own_adapter(root / "own.safetensors", "sd21")
    repository = root / "home" / "hub" / "models--stabilityai--sd-turbo"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / REVISION).symlink_to(root / "pipeline")
    return root


def run(root, home):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)],
        env=os.environ | {"HF_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cached_repository_loads_by_its_name_offline(root):
    result = run(root, root / "home")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "true"


def test_without_a_cache_the_repository_is_named(root):
    result = run(root, root / "empty")
    assert result.returncode != 0
    assert "WeightsError" in result.stderr
    assert "stabilityai/sd-turbo" in result.stderr
