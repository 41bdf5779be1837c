import sys
import sysconfig
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import pytest

import swiftpie
from swiftpie.engine.graphs.export import check, export_onnx
from swiftpie.errors import CapabilityError
from swiftpie.imageio.decoding import load_image
from tests.policy.project import ROOT
from tests.processes import printed
from tests.tiny.sessions import components_in

ABSENT = ("swiftpie", "torch", "diffusers", "transformers")
RUN = """
import runpy, sys
from importlib.util import find_spec
sys.path.append(sys.argv[1])
present = [name for name in sys.argv[3:] if find_spec(name)]
assert not present, present
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("family", "adapter"),
    [
        ("sd15", "public"),
        # As sd15, but for their sizes and the adapter.
        pytest.param("sd21", "own", marks=pytest.mark.slow),
        pytest.param("sdxl", "own", marks=pytest.mark.slow),
    ],
)
def test_models_of_stable_diffusion_are_exported_with_their_adapters(
    models, tmp_path, family, adapter
):
    components = components_in(models / family, adapter)
    (tmp_path / "graphs").mkdir()
    sheet = export_onnx(components, tmp_path / "graphs")
    assert len(sheet.tokenizers) == 1 + (family == "sdxl")
    assert check(components, tmp_path / "graphs", sheet) > 60
    louder = replace(sheet, defaults={name: 2 * scale for name, scale in sheet.defaults.items()})
    with pytest.raises(CapabilityError, match="differs"):
        check(components, tmp_path / "graphs", louder)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
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
    assert printed(*command, packages, example, *ABSENT, cwd=tmp_path) == "wrote out.png\n"
    picture = load_image(tmp_path / "out.png")
    assert picture.size == (256, 256)
    assert max(high - low for low, high in picture.getextrema()) > 100
