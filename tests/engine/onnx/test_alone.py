"""Exported graphs draw where neither SwiftPie nor PyTorch is installed."""

import subprocess
import sys
import sysconfig
from importlib.resources import as_file, files
from pathlib import Path

import pytest

import swiftpie
from swiftpie.engine.onnx.export import export_onnx
from swiftpie.imageio.decoding import load_image
from tests.policy.project import ROOT

ABSENT = ("swiftpie", "torch", "diffusers", "transformers")
RUN = """
import runpy, sys
from importlib.util import find_spec
sys.path.append(sys.argv[1])
present = [name for name in sys.argv[3:] if find_spec(name)]
assert not present, present
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The installed packages, but for SwiftPie and those that it alone needs."""
    folder = tmp_path_factory.mktemp("packages")
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            if not path.name.startswith(ABSENT) and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
def test_the_example_draws_without_swiftpie_and_pytorch(packages, tmp_path):
    (tmp_path / "mini-onnx").mkdir()
    export_onnx(swiftpie.load("mini").components, tmp_path / "mini-onnx")
    with as_file(files("swiftpie") / "assets" / "samples" / "1f439.webp") as sample:
        load_image(sample).save(tmp_path / "dog.png")
    # `-I` hides this folder and PYTHONPATH, `-S` the installed packages and their .pth files.
    command = [sys.executable, "-I", "-S", "-c", RUN]
    example = ROOT / "examples" / "onnxruntime_alone.py"
    ended = subprocess.run(
        [*command, packages, example, *ABSENT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "wrote out.png\n"
    picture = load_image(tmp_path / "out.png")
    assert picture.size == (256, 256)
    assert max(high - low for low, high in picture.getextrema()) > 100
