import json
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from swiftpie.backbones.downloads import DownloadList
from swiftpie.cli.loading import print_download
from tests.fixtures.mock_hub import clean_machine
from tests.fixtures.published_world import TINY


def of(repository, *files):
    return {f"{repository}:{file}" for file in files}


XL_ADAPTER = "h94/IP-Adapter:sdxl_models/ip-adapter_sdxl_vit-h.safetensors"
VAE, ENCODERS = "madebyollin/sdxl-vae-fp16-fix", "h94/IP-Adapter:models/image_encoder"


@pytest.fixture
def machine(hub, tmp_path):
    with clean_machine(hub, tmp_path / "home") as home:
        yield home


@pytest.mark.usefixtures("machine")
def test_an_adapter_by_its_place_in_a_repository_is_drawn_with(call, hamster, tmp_path):
    adapter = "h94/IP-Adapter:sdxl_models/ip-adapter_sdxl_vit-h.safetensors"
    out = tmp_path / "out.png"
    result = call(
        *("personalize", hamster, "a hamster", "-o", out, "--preset", "sdxl-turbo"),
        *("--adapter", adapter, "--size", "64x64", "--yes"),
    )
    assert "adapter: h94/IP-Adapter@018e402774ae" in result.stderr
    assert "to fetch" in result.stderr
    assert out.exists()


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--preset", "sdxl-turbo", "--adapter", "h94/IP-Adapter"], "is not a file"),
        (["--preset", "sdxl-turbo", "--adapter", f"{XL_ADAPTER[:-12]}.bin"], "is a pickle"),
        (["--preset", "sdxl-turbo", "--adapter", XL_ADAPTER.replace("_v", "-v")], "Did you mean"),
        (["--preset", "sdxl-turbo", "--weights", "stabilityai/sd-turbo"], "holds no 'text_enc"),
        (["--preset", "sdxl-turbo", "--autoencoder", ENCODERS], "no autoencoder"),
    ],
)
def test_what_names_or_settings_show_costs_nothing_large(
    call, hub, hamster, tmp_path, options, reason
):
    result = call(
        "personalize", hamster, "x", "-o", tmp_path / "out.png", *options, "--yes", code=1
    )
    assert reason in result.stderr
    assert all(path.endswith("config.json") for path in hub.files)


@pytest.mark.usefixtures("machine")
def test_what_a_transform_needs_is_planned_with_the_rest(call):
    planned = call("fetch", "sdxl-turbo", "--engine", "tiny-decoder", "--dry-run", "--json")
    found = [
        file for file in json.loads(planned.stdout)["files"] if "taesdxl" in file["repository"]
    ]
    assert [part["part"] for part in found] == ["tiny autoencoder"] * 2
    assert {part["file"] for part in found} == {*TINY}


def test_a_plan_with_nothing_missing_names_no_place(capsys):
    print_download(DownloadList(memory_bytes=2_000_000, largest_bytes=1_500_000))
    text = capsys.readouterr().err
    assert "0 bytes  to fetch" in text
    assert "2.0 MB  of memory" in text
    assert "1.5 MB  of it for the largest" in text
    assert "free in" not in text


@pytest.mark.usefixtures("machine")
def test_without_a_terminal_the_line_to_type_is_reported(call, hub, hamster, tmp_path):
    options = ("-o", tmp_path / "o.png", "--recipe", "sdxl-turbo")
    result = call("personalize", hamster, "x", *options, code=2)
    assert "Add --yes" in result.stderr
    assert "swiftpie fetch" in result.stderr
    assert all(path.endswith("config.json") for path in hub.files)


ASKED_TWICE = """
from typer import Abort
from swiftpie.backbones.downloads import DownloadList, ModelPart
from swiftpie.backbones.hub import list_files, parse_reference, root_of
from swiftpie.cli.loading import confirm_download
place = parse_reference("madebyollin/sdxl-vae-fp16-fix")
listing = list_files(place)
root, files = root_of(place, listing), (listing.find("config.json"),)
part = {"listing": listing, "files": files, "licence": "mit"}
needs = DownloadList((ModelPart("autoencoder", "autoencoder", place, root, root, **part),))
try:
    confirm_download(needs, yes=False)
except Abort:
    confirm_download(needs, yes=False)
    needs.fetch()
"""


def test_on_a_terminal_people_are_asked_and_may_say_no(hub, machine):
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(machine),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    mine, theirs = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    command = [sys.executable, "-c", ASKED_TWICE]
    with subprocess.Popen(command, env=environment, **streams) as process:
        os.close(theirs)
        os.write(mine, b"n\ny\n")
        output = b""
        with suppress(OSError):  # the terminal ends with the process
            while chunk := os.read(mine, 4096):
                output += chunk
        assert process.wait() == 0, output
    os.close(mine)
    assert output.count(b"Fetch them? [Y/n]") == 2
    assert b"(licence: mit)" in output
    assert hub.files == of("madebyollin/sdxl-vae-fp16-fix", "config.json")


def test_offline_the_package_says_what_a_recipe_needs(call):
    text = call("fetch", "sdxl-turbo", "--dry-run", "--offline").stdout
    assert "5.1 GB  48fa46161a74  unet/diffusion_pytorch_model.fp16.safetensors" in text
    assert "(licence: sai-nc-community, by its card)" in text
    call("fetch", "sdxl-turbo", "--offline", code=2, says="--dry-run --offline")


def test_without_a_network_all_that_is_missing_is_named_before_a_tensor_library_is_loaded(tmp_path):
    code = """
import sys
from swiftpie.cli.main import app
try:
    app(["fetch", "sdxl-turbo", "--dry-run"])
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    away = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | away,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 False\n"
    for part in ("stabilityai/sdxl-turbo", "h94/IP-Adapter", "--weights or --adapter"):
        assert part in done.stderr
