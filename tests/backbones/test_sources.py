import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from huggingface_hub import constants
from PIL import Image

import swiftpie
from swiftpie.backbones.hub import PINS
from swiftpie.backbones.sources import face_folder, fetch_files, plan_files, with_files
from swiftpie.errors import WeightsError
from swiftpie.faces import FACE_ENCODERS, FaceSettings
from swiftpie.faces.encoders.onnx import ARCFACE, SFACE, YUNET
from tests.fixtures.mock_hub import Repository, clean_machine, serving
from tests.tiny.folders import make_model
from tests.tiny.networks import tiny_autoencoder

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    make_model(root, "sd21")
    (cached(root / "home") / REVISION).symlink_to(root / "pipeline")
    return root


def cached(home):
    repository = home / "hub" / "models--stabilityai--sd-turbo"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots").mkdir()
    return repository / "snapshots"


def load(root, **options):
    parts = {"adapter": root / "own.safetensors", "image_encoder": root / "encoder"}
    return swiftpie.load("sd-turbo", dtype="float32", **parts, **options)


def test_a_cached_repository_loads_by_its_name_offline(root, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "home" / "hub"))
    pictures = []
    for session in (load(root, offline=True), load(root, weights=root / "pipeline")):
        identity = session.encode_identity(Image.new("RGBA", (64, 64), (255, 0, 0, 254)))
        result = session.personalize(identity, "a red cube", seed=3, size=(64, 64))
        pictures.append(result.images[0].tobytes())
    assert pictures[0] == pictures[1]


def test_another_autoencoder_takes_the_place_of_the_pipelines_own(root, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "home" / "hub"))
    torch.manual_seed(5)
    tiny_autoencoder().save_pretrained(tmp_path / "other")
    found = load(root, offline=True, autoencoder=tmp_path / "other").components
    own = load(root, offline=True).components
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = AutoencoderKL.from_pretrained(tmp_path / "other")
    pixels = found.autoencoder.decode(latents)
    scale = expected.config.scaling_factor
    assert torch.equal(pixels, expected.decode(latents / scale).sample)
    assert not torch.equal(pixels, own.autoencoder.decode(latents))
    assert found.fingerprint != own.fingerprint
    with pytest.raises(WeightsError, match="no autoencoder"):
        load(root, offline=True, autoencoder=root / "encoder")


def test_the_pipelines_autoencoder_is_not_needed_beside_another(root, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    without = cached(tmp_path) / REVISION
    shutil.copytree(root / "pipeline", without, ignore=shutil.ignore_patterns("vae"))
    load(root, offline=True, autoencoder=root / "pipeline" / "vae")
    with pytest.raises(WeightsError, match="not on this machine"):
        load(root, offline=True)


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
    needs = plan_files(["opencv"], {})
    assert [part.licence for part in needs.parts] == ["MIT", "Apache-2.0"]
    assert not hub.files
    fetch_files(["opencv"])
    folder = face_folder()
    assert FACE_ENCODERS.get("opencv").is_in(folder)
    assert hub.files == {f"{file.repository}:{file.name}" for file in (YUNET, SFACE)}
    hub.forget()
    fetch_files(["opencv"], {"offline": True})
    assert not plan_files(["opencv"], {}).parts
    assert not hub.asked


def test_offline_missing_files_are_refused(hub):
    with pytest.raises(WeightsError, match="face_models"):
        fetch_files(["opencv"], {"offline": True})
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
