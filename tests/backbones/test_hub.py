"""How parts of repositories are called, and what is said where they cannot be had."""

import errno
from types import SimpleNamespace

import pytest
from huggingface_hub import errors

from swiftpie.backbones.hub import Host, RepoReference, explain, parse_reference
from swiftpie.cli.console import in_options

NAMED = {
    "stabilityai/sdxl-turbo": RepoReference("stabilityai/sdxl-turbo"),
    "stabilityai/sdxl-turbo@71153311d3db": RepoReference(
        "stabilityai/sdxl-turbo", revision="71153311d3db"
    ),
    "h94/IP-Adapter:sdxl_models/image_encoder": RepoReference(
        "h94/IP-Adapter", "sdxl_models/image_encoder"
    ),
    "h94/IP-Adapter:models/ip-adapter_sd15.safetensors@refs/pr/1": RepoReference(
        "h94/IP-Adapter", "models/ip-adapter_sd15.safetensors", "refs/pr/1"
    ),
    "github:owner/code:weights/unet_ema@v1.0": RepoReference(
        "owner/code", "weights/unet_ema", "v1.0", Host.GITHUB
    ),
}


@pytest.mark.parametrize("text", NAMED)
def test_a_reference_is_read_and_spelled_alike(text):
    assert parse_reference(text) == NAMED[text]
    assert str(NAMED[text]) == text


@pytest.mark.parametrize(
    "text",
    [
        *("adapter.safetensors", "models/adapter.safetensors", "./owner/name", "/owner/name"),
        *("a/b/c", "C:/weights/unet", "owner/name:", "owner/name:../up", "owner/name:a//b"),
        *(
            "owner/name:a\\b",
            "owner/name:a:b",
            "owner/name@",
            "owner/n\u00e4me",
            "hub:owner/name:x@",
        ),
    ],
)
def test_what_can_only_be_a_path_is_no_reference(text):
    assert parse_reference(text) is None


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_reference("owner/name") == RepoReference("owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert parse_reference("owner/name") is None


def test_a_file_is_told_from_a_folder_by_its_suffix():
    told = {one: parse_reference(f"a/b:{one}").is_file for one in ("sdxl/x.bin", "v1.5", "unet")}
    assert told == {"sdxl/x.bin": True, "v1.5": False, "unet": False}
    assert not RepoReference("a/b").is_file


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
        (answered(401), "status 401", "hf auth whoami"),
        (answered(503), "status 503", "try again later"),
        (errors.OfflineModeIsEnabled("offline"), "not on this machine", "HF_HUB_OFFLINE"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "HF_HOME"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else None,
)
def test_what_the_hub_refuses_is_said_in_our_words_with_what_to_do(error, reason, remedy):
    told = in_options(explain(RepoReference("a/b", "c.safetensors"), "weights", error))
    assert told.startswith("'a/b:c.safetensors' cannot be downloaded: ")
    assert reason in told
    assert remedy in told
    assert told.endswith("or get it another way and pass its path as --weights.")
    assert "Error" not in told
    assert "Request ID" not in told
