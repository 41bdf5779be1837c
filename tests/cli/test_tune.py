import json

import pytest
from typer.testing import CliRunner

from swiftpie.cli.main import app
from swiftpie.pipelines.identity_file import read_identity_header


@pytest.mark.thorough
def test_the_command_writes_an_identity_and_refuses_to_replace_it(sprite, tmp_path):
    picture, out = tmp_path / "one.png", tmp_path / "one.spid"
    sprite.save(picture)
    words = ["tune", str(picture), "-o", str(out), "--steps", "1", "--num-scenes", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["psnr"] >= facts["first_psnr"]
    assert read_identity_header(out).tuned == facts["tuned"]
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "one.spid"}  # no state is left
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
