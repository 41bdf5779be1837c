"""SwiftEdit's tables and figure 9 on a small folder of PIE-Bench's layout, by random networks."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError, ConfigError
from swiftpie.pipelines.settings import EditSettings
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks._pie import read_pie
from swiftpie_lab.evaluation.benchmarks.pie import (
    ADAPTER,
    EDIT_SCALES,
    INVERSION,
    OUTER_SCALES,
    TABLES,
    TEXT_SCALES,
    WEIGHTS,
    Parts,
    TableRequest,
    read_rows,
    table_study,
)
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import render
from swiftpie_lab.evaluation.study import measure, page_of, tabulate
from tests.lab.evaluation.benchmarks.pie_folder import FOLDER, random_picture, write_pie
from tests.pipelines.tiny_editor import tiny_editor


@pytest.fixture(scope="module")
def tiny():
    return Session(tiny_editor())


@pytest.fixture
def plan(tiny, tmp_path):
    """A function that plans a table by random networks; it records what rows are loaded from."""
    pie, loaded = read_pie(write_pie(tmp_path)), []

    def load(parts):
        loaded.append(parts)
        return tiny

    def study_of(key, *, session=tiny, **given):
        request = TableRequest(pie, session, EditSettings(), given, load)
        return table_study(key, request, networks=Networks())

    study_of.loaded = loaded
    return study_of


def titles(study):
    return [variant.title for variant in study.variants]


def finished(folder):
    """Pictures that another program has edited."""
    place = folder / "annotation_images" / FOLDER
    place.mkdir(parents=True)
    for number in range(2):
        random_picture(9 + number).save(place / f"{number:012d}.jpg")
    return folder


@pytest.mark.parametrize(
    ("key", "computed", "lacking"),
    [
        ("T1", 2, {"TurboEdit", "ICD", "ReNoise", "NT-Inv + P2P", "Direct Inversion + PnP"}),
        ("T2", 1, {"without stage 1", "without stage 2", "without image branch"}),
        ("T3", 1, {"without both", "without stage 2's regulariser", "one stage for both"}),
        ("T4", 0, {"SwiftBrush v2", "SwiftBrush v1", "InstaFlow", "DMD2"}),
        ("T5", 2, {"Direct Inversion"}),
        ("T6", 2, {"TurboEdit"}),
        ("ChordEdit", 5, set()),
        ("F9", len(OUTER_SCALES) * (len(EDIT_SCALES) + len(TEXT_SCALES)), set()),
    ],
)
def test_every_table_draws_what_it_can_and_lists_what_other_rows_lack(plan, key, computed, lacking):
    if not computed:
        with pytest.raises(CapabilityError, match="swiftpie train inversion"):
            plan(key)
        return
    study = plan(key)
    assert len(study.variants) == computed
    assert len({study.key(one) for one in study.variants}) >= computed - len(OUTER_SCALES)
    assert lacking <= {*study.not_computed}
    assert {*study.columns} & {"clip-whole", "reconstruction-lpips"} <= {*study.not_computed}
    assert all("--" in lacks for lacks in study.not_computed.values())
    assert {*study.columns} <= {*study.benchmark.metrics}
    assert set(TABLES) == {"T1", "T2", "T3", "T4", "T5", "T6", "F9", "ChordEdit"}


def test_rows_of_folders_are_loaded_from_what_lies_in_them(plan, tmp_path):
    whole, network = tmp_path / "whole", tmp_path / "network"
    for name in (INVERSION, WEIGHTS):
        (whole / name).mkdir(parents=True)
    (whole / ADAPTER).touch()
    network.mkdir()
    study = plan("T4", **{"InstaFlow": whole, "SwiftBrush v1": network})
    assert titles(study) == ["SwiftBrush v1", "InstaFlow"]
    assert plan.loaded == [
        Parts("swiftbrush-v1", None, network, None),
        Parts("instaflow", whole / WEIGHTS, whole / INVERSION, whole / ADAPTER),
    ]
    assert titles(plan("T3", **{"without both": network})) == ["full", "without both"]
    with pytest.raises(ConfigError, match="no row 'nobody'"):
        plan("T3", nobody=network)


def test_figure_9_varies_one_scale_at_every_level_of_another(plan):
    study = plan("F9")
    found = {
        (scales.identity_scale, scales.background_scale, scales.text_scale)
        for scales in (variant.drawer.settings.scales for variant in study.variants)
    }
    assert found == {(edit, outer, 2.0) for edit in EDIT_SCALES for outer in OUTER_SCALES} | {
        (0.0, outer, text) for text in TEXT_SCALES for outer in OUTER_SCALES
    }
    assert len(study.sweeps) == 2 * len(OUTER_SCALES)


def test_a_table_is_measured_over_all_and_by_type_as_drawn_and_composed(plan, tmp_path):
    study = plan("T1", TurboEdit=finished(tmp_path / "turbo"))
    lines = list(measure(study, tmp_path / "out"))
    assert [line.title for line in lines][2:] == ["TurboEdit"]
    for line in lines[:2]:
        assert {*line.groups} == {"1 change object", "2 add object"}
        (composed,) = [one for title, one in line.others.items() if "put back" in title]
        assert composed["unedited-mse"].mean <= line.figures["unedited-mse"].mean
        mean = sum(one["unedited-mse"].mean for one in line.groups.values()) / 2
        assert line.figures["unedited-mse"].mean == pytest.approx(mean)
    ablations = tabulate(study, lines)
    stored = json.loads(ablations.to_json())
    assert "TurboEdit" not in stored["not_computed"]
    assert stored["published"][0]["key"] == "T1"
    page = render(page_of(study, ablations, tmp_path / "out"))
    for text in (page, ablations.to_markdown()):
        assert "not measured here" in text
        assert "Not computed: ICD; SwiftPie does not have this method" in text


def test_reconstructions_have_figures_of_their_own(plan, tmp_path):
    network = tmp_path / "network"
    network.mkdir()
    study = plan("T2", **{"without image branch": network})
    full, alone = measure(replace(study, cases=study.cases[:1]), tmp_path / "out")
    for line in (full, alone):
        names = {"reconstruction-psnr", "reconstruction-mse", "reconstruction-ssim"}
        assert names <= {*line.figures}
    assert full.figures["reconstruction-psnr"] != alone.figures["reconstruction-psnr"]


def test_rows_are_a_title_and_a_folder(tmp_path):
    assert read_rows([f"NT-Inv + P2P={tmp_path}"]) == {"NT-Inv + P2P": tmp_path}
    for wrong in (["TurboEdit"], [f"A={tmp_path}/nowhere"], [f"A={tmp_path}"] * 2):
        with pytest.raises(ConfigError, match="TurboEdit=results"):
            read_rows(wrong)


def test_the_command_repeats_a_table(tmp_path):
    root, out = write_pie(tmp_path), tmp_path / "out"
    turbo = finished(tmp_path / "turbo")
    arguments = ["pie", str(root), "--table", "T1", "--row", f"TurboEdit={turbo}", "--cases", "1"]
    arguments += ["--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "SwiftEdit, ground-truth mask" in result.stdout
    assert "not measured here" in result.stdout
    stored = json.loads((out / "report.json").read_text())
    assert [line["title"] for line in stored["lines"]][2:] == ["TurboEdit"]
    with pytest.raises(ConfigError, match="--mask came with --table"):
        CliRunner().invoke(app, [*arguments, "--mask", "true"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="--row came with no --table"):
        CliRunner().invoke(app, ["pie", str(root), "--row", "A=b"], catch_exceptions=False)


@pytest.mark.parametrize("key", ["ChordEdit", "T5"])
def test_methods_without_masks_of_their_own_change_the_whole_picture(plan, key, tmp_path):
    study = plan(key)
    some = [one for one in study.variants if "SwiftEdit" not in one.title][:2]
    lines = list(measure(replace(study, variants=some, cases=study.cases[:1]), tmp_path))
    assert len({line.figures["unedited-mse"].mean for line in lines}) == len(some)
    assert all(line.figures["unedited-mse"].mean > 0 for line in lines)
