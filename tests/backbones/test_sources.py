"""A preset by its public name, from the cache that hub downloads leave, without a network."""

import errno
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, errors
from PIL import Image

import swiftpie
from swiftpie.backbones.sources import _unreachable
from swiftpie.cli.console import in_options
from swiftpie.errors import WeightsError, short_reason
from tests.backbones import tiny_models

REVISION = "0123456789abcdef0123456789abcdef01234567"


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


def load(root, **options):
    parts = {"adapter": root / "own.safetensors", "image_encoder": root / "encoder"}
    return swiftpie.load("sd-turbo", **parts, **options)


def test_a_cached_repository_loads_by_its_name_offline(root, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "home" / "hub"))
    pictures = []
    for session in (load(root, offline=True), load(root, weights=root / "pipeline")):
        identity = session.encode_identity(Image.new("RGBA", (64, 64), (255, 0, 0, 254)))
        result = session.personalize(identity, "a red cube", seed=3, size_px=(64, 64))
        pictures.append(result.images[0].tobytes())
    assert pictures[0] == pictures[1]


def test_without_a_cache_the_repository_is_named(root, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / "empty" / "hub"))
    with pytest.raises(WeightsError, match="stabilityai/sd-turbo"):
        load(root, offline=True)


def answered(status, kind=errors.HfHubHTTPError):
    """What the hub's client raises where the hub says no."""
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind("401 Client Error. (Request ID: Root=1-2)", response=response)


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (answered(403, errors.GatedRepoError), "licence has to be accepted", "huggingface.co/a/b,"),
        (answered(401, errors.RepositoryNotFoundError), "no such repository", "Check the name"),
        (answered(404, errors.RemoteEntryNotFoundError), "no such file", "Check the name"),
        (answered(503), "status 503", "Try again later"),
        (errors.LocalEntryNotFoundError("Got: [Errno -2]"), "not on this machine", "--offline"),
        (errors.OfflineModeIsEnabled("offline"), "not on this machine", "HF_HUB_OFFLINE"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "HF_HOME"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else None,
)
def test_what_the_hub_refuses_is_said_in_our_words_with_what_to_do(error, reason, remedy):
    told = in_options(_unreachable("a/b/c.safetensors", "weights", error))
    assert told.startswith("'a/b/c.safetensors' could not be had from the hub: ")
    assert reason in told
    assert remedy in told
    assert told.endswith("or download it yourself and pass the place as --weights.")
    assert "Error" not in told
    assert "Request ID" not in told


def test_reasons_of_others_are_cut_between_words():
    words = "something went wrong " * 30
    cut = short_reason(words)
    assert len(cut) <= 302
    assert cut.removesuffix(" …") in words
    assert cut.split()[-2] in {"something", "went", "wrong"}
    assert short_reason("brief\n reason") == "brief reason"
    assert short_reason("x" * 400) == "x" * 300 + " …"
