"""What the README and the first pages tell a newcomer to type works, line by line."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftpie.cli.main import app
from tests.policy.project import shown
from tests.policy.test_docs import BLOCK, ELSEWHERE, FIRST, QUICK, SERVING, lines_in

SLOWER = {"animate", "batch", "samples"}
LIST = re.compile(r"[\w./-]+\.(?:txt|jsonl|csv)")  # pages show what stands in them


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in FIRST if page != SERVING], ids=shown)
def test_a_page_runs_line_by_line_in_an_empty_folder(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}

    def run(words):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (shlex.join(words), done.output)

    run(["samples", "."])
    for language, body in BLOCK.findall(page.read_text()):
        if language == "python":
            exec(compile(body, shown(page), "exec"), names)
        for line in lines_in(body) if language == "bash" else ():
            words = shlex.split(line, comments=True)
            if words[:1] == ["printf"]:
                subprocess.run(line, shell=True, check=True)
            is_own = words[:1] == ["swiftpie"] and words[1] in QUICK | SLOWER
            is_here = all(Path(word).exists() for word in words if LIST.fullmatch(word))
            if is_own and is_here and {*ELSEWHERE, "--face"}.isdisjoint(words):
                run(words[1:])
