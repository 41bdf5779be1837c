import pytest
from PIL import Image

from swiftpie.data.scenes import SCENES
from swiftpie.errors import ConfigError
from swiftpie.evaluation.grid import draw_rows, labelled_sheet


def test_the_seed_deals_subjects_and_scenes_in_the_order_of_the_cases(benchmark):
    scenes = benchmark.first_scenes(3)
    rows = benchmark.grid(num_subjects=4, scenes=scenes)
    first = benchmark.cases(4)
    assert [row[0].code for row in rows] == [case.code for case in first]
    assert scenes == [case.scene for case in first[:3]]
    assert [[case.scene for case in row] for row in rows] == [scenes] * 4
    assert [case.seed for row in rows for case in row] == list(range(12))


def test_prompts_change_in_their_scene_alone(benchmark):
    names = [scene.name for scene in SCENES]
    row = benchmark.grid(num_subjects=1, scenes=names)[0]
    same = {
        case.scene: case
        for case in benchmark.cases(benchmark.num_pairs())
        if case.code == row[0].code
    }
    assert [case.prompt for case in row] == [same[name].prompt for name in names]


def test_more_than_there_is_is_refused(benchmark):
    with pytest.raises(ConfigError, match="13 held-out subjects"):
        benchmark.grid(num_subjects=13, scenes=["beach"])
    with pytest.raises(ConfigError, match="25 scenes"):
        benchmark.first_scenes(25)


def test_a_row_is_the_reference_and_a_picture_a_case(session, benchmark):
    cases = benchmark.grid(num_subjects=1, scenes=["beach", "snow"])
    row = next(draw_rows(session, benchmark, cases))
    assert len(row) == 3
    assert row[0] == benchmark.known(cases[0][0])["reference"]
    assert row[1] != row[2]


def test_a_sheet_has_pictures_and_labels_where_they_belong():
    red, blue = (Image.new("RGB", (10, 10), colour) for colour in ("red", "blue"))
    sheet = labelled_sheet([[red, blue]], columns=["", "a word"], names=["row"], cell_px=40)
    assert sheet.width == 80
    top = next(y for y in range(sheet.height) if sheet.getpixel((20, y)) == (255, 0, 0))
    assert sheet.getpixel((60, top + 20)) == (0, 0, 255)
    head = sheet.crop((40, 0, 80, top))
    name = sheet.crop((0, top + 40, 80, sheet.height))
    blank = sheet.crop((0, 0, 40, top))
    assert [min(part.convert("L").getextrema()) < 100 for part in (head, name, blank)] == [
        True,
        True,
        False,
    ]
