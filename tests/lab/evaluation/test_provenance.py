"""Reports tell what made them, and nothing that they show is taken for HTML."""

import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import torch
from typer.testing import CliRunner

from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.provenance import provenance_of
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench
from tests.lab.evaluation.tiny_networks import write_dinov2

EVIL = '<script>alert("x")</script> & <img src=x onerror=y>'


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def handle_starttag(self, tag, attrs):
        self.seen.setdefault(tag, []).append(dict(attrs))


def test_versions_and_machine_are_those_of_this_process():
    found = provenance_of("swiftpie evaluate", {"dinov2/model.safetensors": "ab"})
    assert found.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"python", "diffusers", "transformers", "swiftpie"} <= {*found.versions}
    assert found.num_cores >= 1
    assert found.processor
    assert found.lines[0] == "swiftpie evaluate"
    assert found.lines[2] == "dinov2/model.safetensors ab"
    assert provenance_of("", {}).lines[0].startswith("python ")


@pytest.mark.thorough
def test_a_report_of_hostile_names_is_text_alone_and_tells_its_command(tmp_path):
    root = write_dreambench(tmp_path / EVIL.replace("/", "_"), evil=EVIL)
    judge = write_dinov2(tmp_path / "dino's network")
    rival = root / "pictures"
    rival.mkdir()
    for subject in ("dog", "vase"):
        (rival / f"{subject}-00-0.png").write_bytes((root / "dog/00.jpg").read_bytes())
    out = tmp_path / "out"
    options = ["--prompts", 1, "--seeds", 1, "--results", rival, "--dinov2", judge, "--out", out]
    done = CliRunner().invoke(app, ["dreambench", str(root), *map(str, options), "--json"])
    assert done.exit_code == 0, done.output
    page = (out / "index.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert not {"script", "img", "link", "iframe"} & {*tags.seen}
    assert all(one["href"].startswith("data:image/webp;base64,") for one in tags.seen["image"])
    assert not re.search(r"https?://|url\(|@import", page)
    assert "&lt;script&gt;alert(&#34;x&#34;)" in page
    provenance = json.loads(done.stdout)["provenance"]
    assert provenance["command"].endswith(
        "--prompts 1 --seeds 1 --dinov2 'dino'\"'\"'s network' --results pictures"
    )
    assert str(tmp_path) not in done.stdout + page
    assert "--out" not in provenance["command"]
    weights = (judge / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert provenance["judges"] == {"dinov2/model.safetensors": digest}
    assert digest in page
