import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from swiftpie.backbones.hub import Host, RepoReference, parse_reference

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


def test_a_file_has_a_known_suffix_and_a_folder_has_none():
    paths = ("sdxl/x.bin", "v1.5", "unet")
    assert {path: parse_reference(f"a/b:{path}").is_file for path in paths} == {
        "sdxl/x.bin": True,
        "v1.5": False,
        "unet": False,
    }
    assert not RepoReference("a/b").is_file


@pytest.mark.skipif(find_spec("socksio") is not None, reason="reaches SOCKS proxies")
def test_a_proxy_that_needs_another_package_is_refused_by_its_name():
    code = "from swiftpie.backbones.hub import check_proxy; check_proxy()"
    for proxy, is_fine in (("socks5://a:b@127.0.0.1:9", False), ("http://127.0.0.1:9", True)):
        environment = os.environ | dict.fromkeys(("ALL_PROXY", "HTTPS_PROXY"), proxy)
        words = [sys.executable, "-c", code]
        how = {"capture_output": True, "text": True, "timeout": 60}
        found = subprocess.run(words, check=False, env=environment, **how)
        assert (found.returncode == 0) == is_fine, found.stderr
        said = found.stderr.partition("MissingExtra")[2]
        assert is_fine or ("'socksio'" in said and "a:b@" not in said)
