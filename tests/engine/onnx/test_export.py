"""Exported graphs draw what the networks draw."""

from dataclasses import replace

import pytest

import swiftpie
from swiftpie.backbones.components import load_components
from swiftpie.engine.onnx.export import check, export_onnx, export_openvino, parts_of
from swiftpie.engine.onnx.graphs import SHEET, read_sheet
from swiftpie.errors import CapabilityError, WeightsError
from tests.backbones import tiny_models
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


def test_a_sheet_of_another_format_is_refused(tmp_path):
    (tmp_path / SHEET).write_text('{"format": "swiftpie-graphs/0"}')
    with pytest.raises(WeightsError, match="its format is 'swiftpie-graphs/0'"):
        read_sheet(tmp_path)
