"""What `hf_hub_download` lacks, and `swiftpie.backbones.acquire.download` therefore does itself.

If a test fails here after an update of huggingface_hub, that part of our own code can go.
"""

import random
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from tests.fixtures.mock_hub import Fault, Repository, clean_machine, serving

NAME = "model.safetensors"
LARGE = random.Random(0).randbytes(1_000_000)


@pytest.fixture
def hub(tmp_path):
    repositories = {"an/owner": Repository({NAME: LARGE})}
    with serving(repositories) as hub, clean_machine(hub, tmp_path):
        yield hub


def test_a_second_download_begins_anew(hub):
    hub.faults.append(Fault(NAME, cut=500_000))
    hub.faults.append(Fault(NAME, status=500))
    with pytest.raises(HfHubHTTPError):
        hf_hub_download("an/owner", NAME)
    hub.forget()
    hf_hub_download("an/owner", NAME)
    assert [(one.start, one.sent) for one in hub.asked] == [(0, len(LARGE))]


def test_a_file_with_another_checksum_is_kept(hub):
    hub.faults.append(Fault(NAME, changes=True))
    assert Path(hf_hub_download("an/owner", NAME)).read_bytes() != LARGE


def test_a_busy_server_sets_the_wait(hub, monkeypatch):
    waits = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    hub.faults.append(Fault(NAME, status=429, headers={"Retry-After": "3600"}))
    hf_hub_download("an/owner", NAME)
    assert max(waits) > 3600
