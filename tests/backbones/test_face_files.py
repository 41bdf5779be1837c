"""Published files of face encoders are fetched, and no others."""

from pathlib import Path

import pytest

from swiftpie.backbones.face_files import face_folder, fetch_faces, plan_faces, with_files
from swiftpie.backbones.presets import PINS
from swiftpie.errors import WeightsError
from swiftpie.faces import FACE_ENCODERS, FaceSettings
from swiftpie.faces.encoders.onnx import ARCFACE, SFACE, YUNET
from tests.fixtures.mock_hub import Repository, clean_machine, serving


@pytest.fixture
def hub(tmp_path):
    published = {
        file.repository: Repository(
            {file.name: file.name.encode(), "LICENSE": b"not needed"},
            revision=PINS[file.repository],
        )
        for file in (YUNET, SFACE)
    }
    with serving(published) as hub, clean_machine(hub, tmp_path):
        yield hub


def test_they_come_once_to_one_folder_and_nothing_else_does(hub):
    needs = plan_faces(["opencv"], {})
    assert [part.licence for part in needs.parts] == ["MIT", "Apache-2.0"]
    assert not hub.files
    folder = fetch_faces(["opencv"])
    assert folder == face_folder()
    assert FACE_ENCODERS.get("opencv").is_in(folder)
    assert hub.files == {f"{file.repository}:{file.name}" for file in (YUNET, SFACE)}
    hub.forget()
    assert fetch_faces(["opencv"], {"offline": True}) == folder
    assert not plan_faces(["opencv"], {}).parts
    assert not hub.asked


def test_offline_missing_files_are_refused(hub):
    with pytest.raises(WeightsError, match="face_models"):
        fetch_faces(["opencv"], {"offline": True})
    assert not hub.asked


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("given", "encoder_is", "judge_is"),
    [
        ({}, "fetched", "fetched"),
        ({"face_models": Path("mine")}, Path("mine"), None),
        ({"judge_models": Path("mine")}, "fetched", Path("mine")),
        ({"encoder": "arcface"}, None, None),
        ({"encoder": "insightface", "judge": "opencv"}, None, "fetched"),
        (
            {"encoder": "arcface", "face_models": Path("mine"), "judge": "opencv"},
            Path("mine"),
            None,
        ),
    ],
)
def test_folders_of_the_user_go_first(given, encoder_is, judge_is):
    made = with_files(FaceSettings(**given))
    places = {"fetched": face_folder()}
    assert made.face_models == places.get(encoder_is, encoder_is)
    assert made.judge_models == places.get(judge_is, judge_is)


def test_what_only_its_user_may_bring_is_never_fetched():
    assert not ARCFACE.repository
    assert [name for name, one in FACE_ENCODERS.all().items() if one.is_published] == ["opencv"]
