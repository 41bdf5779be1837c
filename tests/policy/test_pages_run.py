"""What all pages tell a reader to type works in one folder, in their order, and again."""

import re
import shlex
import shutil
import subprocess
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftpie.cli.main import app
from tests.policy.project import shown
from tests.policy.test_docs import BLOCK, ELSEWHERE, PAGES, QUICK, SERVING, WRITES, lines_in

SLOWER = {"animate", "batch", "samples"}
READ = re.compile(r"[\w./-]+\.(?:png|jpg|webp|spid|txt|jsonl|csv)")
# Pages run their models alone, or say what else has to be brought.
NEEDED = {"--face", *ELSEWHERE}


def lines_of(page):
    """Yield the language of each block or, of a shell's, each line, and its text."""
    for language, body in BLOCK.findall(page.read_text()):
        yield from ((language, line) for line in (lines_in(body) if language == "bash" else [body]))


def is_to_run(words):
    """Whether a line of a shell is a command that needs neither more models nor missing files."""
    if words[:1] != ["swiftpie"] or words[1] not in QUICK | SLOWER or not NEEDED.isdisjoint(words):
        return False
    read = [
        word
        for before, word in pairwise(words)
        if before == "--subjects" or (READ.fullmatch(word) and before not in WRITES)
    ]
    return all(Path(word).exists() for word in read)


@pytest.mark.thorough
@pytest.mark.timeout(900)  # much is drawn, and other tests may run beside it
def test_all_pages_run_in_one_folder_and_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with as_file(files("swiftpie") / "assets" / "mini") as weights:
        shutil.copytree(weights, tmp_path / "runs" / "mini_world" / "export")
    assert CliRunner().invoke(app, ["samples", "."]).exit_code == 0
    typed = [run_page(page, is_again=False) for page in PAGES if page != SERVING]
    assert sum(typed) > 70
    assert [run_page(page, is_again=True) for page in PAGES if page != SERVING] == typed


def run_page(page, *, is_again):
    """Run what stands on a page from top to bottom, and return how many commands."""
    names, count = {}, 0
    for language, text in lines_of(page):
        if language == "python":
            exec(compile(text, shown(page), "exec"), names)
        words = shlex.split(text, comments=True) if language == "bash" else []
        if words[:1] == ["printf"]:
            subprocess.run(text, shell=True, check=True)
        if is_to_run(words):
            done = CliRunner().invoke(app, words[1:])
            # A command never replaces what it wrote before without being asked to.
            is_refused = is_again and "--force" in done.output
            assert done.exit_code == 0 or is_refused, (shown(page), text, done.output)
            count += 1
    return count
