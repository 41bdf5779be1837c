import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import labelled_sheet
from swiftpie_lab.evaluation.report import interval, summarise
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench
from tests.tiny.judges import write_dino


def test_the_interval_holds_the_mean_and_shrinks_with_more_cases():
    few, many = interval([0.0, 1.0] * 5), interval([0.0, 1.0] * 500)
    assert few.low < few.mean == many.mean < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    # A mean of 1000 coin throws has a deviation of 0.0158.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0158, rel=0.1)


def test_means_are_taken_over_all_and_by_type(edits, run):
    restyled, moved = edits.cases(2, kinds=["rendition", "place"])[::2]
    rows = [
        Row(restyled, {"inside-psnr": {"edit": 10.0}, "wish-success": {"edit": 1.0}}),
        Row(restyled, {"inside-psnr": {"edit": 30.0}, "wish-success": {"edit": 0.0}}),
        Row(moved, {"inside-psnr": {"edit": 20.0}}),
    ]
    report = summarise(edits, rows, run=run, networks=Networks())
    assert report.metrics["inside-psnr"].candidates["edit"].mean == 20
    first, second = report.groups
    assert (first.title, second.title) == ("restyle", "change place")
    assert (first.num_cases, second.num_cases) == (2, 1)
    assert first.metrics["wish-success"].candidates["edit"].mean == 0.5
    assert "wish-success" not in second.metrics


def test_a_sheet_has_pictures_and_labels_where_they_belong():
    red, blue = (Image.new("RGB", (10, 10), colour) for colour in ("red", "blue"))
    sheet = labelled_sheet([[red, blue]], columns=["", "a word"], captions=[["row"]], cell_px=40)
    assert sheet.width == 80
    top = next(y for y in range(sheet.height) if sheet.getpixel((20, y)) == (255, 0, 0))
    assert sheet.getpixel((60, top + 20)) == (0, 0, 255)
    parts = ((40, 0, 80, top), (0, top + 40, 80, sheet.height), (0, 0, 40, top))
    darkest = [min(sheet.crop(part).convert("L").getextrema()) for part in parts]
    assert [level < 100 for level in darkest] == [True, True, False]


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


EVIL = '<script>alert("x")</script> & <img src=x onerror=y>'


@pytest.mark.thorough
def test_a_report_of_hostile_names_is_text_alone_and_tells_its_command(tmp_path):
    root = write_dreambench(tmp_path / EVIL.replace("/", "_"), evil=EVIL)
    judge = write_dino(tmp_path / "dino's network")
    rival = root / "pictures"
    rival.mkdir()
    for subject in ("dog", "vase"):
        (rival / f"{subject}-00-0.png").write_bytes((root / "dog/00.jpg").read_bytes())
    out = tmp_path / "out"
    options = ["--prompts", 1, "--seeds", 1, "--results", rival]
    options += ["--dino-small", judge, "--out", out]
    done = CliRunner().invoke(app, ["dreambench", str(root), *map(str, options), "--json"])
    assert done.exit_code == 0, done.output
    page = (out / "index.html").read_text()
    tags = Tags(page).seen
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in tags}
    pictures = [attributes["href"] for tag, attributes in tags if tag == "image"]
    assert len(pictures) > 4
    assert all(href.startswith("data:image/webp;base64,") for href in pictures)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "&lt;script&gt;alert(&#34;x&#34;)" in page
    provenance = json.loads(done.stdout)["provenance"]
    assert provenance["command"].endswith(
        "--prompts 1 --seeds 1 --dino-small 'dino'\"'\"'s network' --results pictures"
    )
    assert str(tmp_path) not in done.stdout + page
    assert "--out" not in provenance["command"]
    digest = hashlib.sha256((judge / "model.safetensors").read_bytes()).hexdigest()
    assert provenance["judges"] == {"dino_small/model.safetensors": digest}
    assert digest in page
