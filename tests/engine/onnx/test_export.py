"""Exported graphs are those that are shipped, and draw what the networks draw."""

import os
import shutil
from dataclasses import replace

import pytest

import swiftpie
from swiftpie.backbones.components import load_components
from swiftpie.engine.onnx.draw import ASSETS
from swiftpie.engine.onnx.export import check, export_onnx, export_openvino, parts_of
from swiftpie.engine.onnx.graphs import SHEET, read_sheet
from swiftpie.errors import CapabilityError, WeightsError
from tests.backbones import tiny_models
from tests.engine.onnx.renew import renew
from tests.parity.pipelines import preset_of


@pytest.mark.slow
def test_openvino_has_graphs_of_its_own(tmp_path):
    components = swiftpie.load("mini").components
    export_openvino(components, tmp_path)
    assert check(components, tmp_path, runtime="openvino") > 60


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
def test_models_of_stable_diffusion_are_exported_with_their_adapters(tmp_path, family, adapter):
    pipeline = tiny_models.make_pipeline(tmp_path / "pipeline", family, is_shallow=True)
    make = getattr(tiny_models, f"make_{adapter}_adapter")
    file = make(tmp_path / "adapter.safetensors", family, is_shallow=True)
    components = load_components(
        preset_of(family), weights=pipeline, adapter=file, image_encoder=tmp_path / "encoder"
    )
    (tmp_path / "graphs").mkdir()
    sheet = export_onnx(components, tmp_path / "graphs")
    assert len(sheet.tokenizers) == 1 + (family == "sdxl")
    assert check(components, tmp_path / "graphs", runtime="onnxruntime") > 60


def test_a_first_pass_is_named_as_what_cannot_be_exported(session):
    preset = replace(session.components.preset, detail_mask="two-pass")
    with pytest.raises(CapabilityError, match="first pass"):
        parts_of(replace(session.components, preset=preset))


@pytest.mark.slow
def test_the_shipped_graphs_are_what_make_light_writes(tmp_path):
    """Other versions of the exporter number nodes otherwise, which changes no picture."""
    shutil.copytree(ASSETS, tmp_path / "assets", copy_function=os.symlink)
    written = [*(tmp_path / "assets").rglob("*.onnx"), tmp_path / "assets" / "mini" / SHEET]
    for file in written:
        file.unlink()
    renew(tmp_path / "assets")
    shipped, made = (read_sheet(folder / "mini") for folder in (ASSETS, tmp_path / "assets"))
    assert replace(shipped, made_with={}) == replace(made, made_with={})
    for file in written:
        assert file.is_file()
        if shipped.made_with == made.made_with:
            usual = ASSETS / file.relative_to(tmp_path / "assets")
            assert file.read_bytes() == usual.read_bytes(), file.name


def test_a_sheet_of_another_format_is_refused(tmp_path):
    text = (ASSETS / "mini" / SHEET).read_text()
    (tmp_path / SHEET).write_text(text.replace("swiftpie-graphs/1", "swiftpie-graphs/0"))
    with pytest.raises(WeightsError, match="its format is 'swiftpie-graphs/0'"):
        read_sheet(tmp_path)
