import ast
import json
import re
import runpy
import shlex
import shutil
import tomllib
from dataclasses import asdict, fields
from functools import cache
from importlib.resources import as_file, files
from importlib.util import find_spec
from itertools import pairwise

import pytest
import typer
from typer.main import get_command

from benchmarks._machine import weights_mark
from swiftpie.backbones.presets import PRESETS
from swiftpie.cli.main import app
from swiftpie.engine.transforms import TRANSFORMS
from swiftpie.imageio.decoding import load_image
from swiftpie.pipelines.settings import EditMode, Scales
from swiftpie.scenes import PHOTOGRAPH_PX, scene_library
from swiftpie_lab.cli.train import _configure, _recipes, parse_duration
from swiftpie_lab.training.recipes.mini import mini_world
from tests.policy.project import ROOT, shown

README, DOCS = ROOT / "README.md", ROOT / "docs"
ALONE = "onnxruntime_alone.py"  # tests/engine/graphs runs it, beside an export
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != ALONE)
FIRST = ["quickstart", "editing", "scenes", "full-size", "serving", "batch"]
LATER = sorted(page.stem for page in DOCS.glob("*.md") if page.stem not in FIRST)
PAGES = [README, *(DOCS / f"{name}.md" for name in (*FIRST, *LATER))]
SERVING = DOCS / "serving.md"  # whose programs need a server: tests/server runs them
COMMANDS = DOCS / "batch.md"
MAX_EXAMPLE_LINES = 60
MAX_README_LINES = 150
MAX_PAGES, MAX_WORDS = 14, 25_800

QUICK = {  # commands that need neither a network nor weights of others
    *("cutout", "doctor", "edit", "identity", "insert", "library", "personalize", "presets"),
    *("recipes", "remove", "replace", "show"),
}
# Of other models, of the network, and of pictures that the workspace does not hold.
ELSEWHERE = {"--recipe", "--adapter", "--weights", "--engine", "--preset"}
ELSEWHERE |= {"check", "signed.png", "--where"}

WRITES = {"-o", "--out", "--save-region", "--save-subject-mask", "--report"}
PICTURE = re.compile(r"[\w./-]+\.(?:png|jpg|webp|gif|mp4|spid)")
SAVED = re.compile(r"\bsave\w*\((?:[\w.]+, )?\"([^\"]+)\"")

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page, language):
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


def command_lines(page):
    whole = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    return [words for line in whole.splitlines() if (words := shlex.split(line, comments=True))]


command_tree = cache(get_command)  # it takes 40 ms, and the pages have hundreds of command lines
recipes = cache(_recipes)


def parse(words):
    """Let the command line understand `words` without doing anything."""
    command, context, rest = command_tree(app), None, words[1:]
    while rest and hasattr(command, "get_command"):
        context = typer.Context(command, parent=context)
        found = command.get_command(context, rest[0])
        if found is None:
            break
        command, rest = found, rest[1:]
    if hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
        raise ValueError(f"there is no command {rest[0]}")
    return command.make_context("swiftpie", list(rest), parent=context)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with as_file(files("swiftpie") / "assets") as assets:
        load_image(assets / "samples" / "1f439.webp").save("dog.png")
        for name in ("dog.jpg", "sheep.jpg"):
            shutil.copy(assets / "photos" / name, name)
        load_image(assets / "samples" / "1f916.webp").save("robot.png")
        load_image(assets / "photos" / "dahlia.jpg").save("photo.jpg")
        shutil.copytree(assets / "mini", tmp_path / "runs" / "mini_world" / "export")
    return tmp_path


@pytest.mark.thorough
@pytest.mark.parametrize("example", EXAMPLES, ids=shown)
def test_an_example_is_short_runs_and_leaves_pictures(example, workspace, capsys):
    before = {*workspace.iterdir()}
    runpy.run_path(str(example), run_name="__main__")
    created = sorted({*workspace.iterdir()} - before)
    pictures = [path for path in created if path.suffix == ".png"]
    assert pictures
    assert all(load_image(path).width >= 128 for path in pictures)
    printed = capsys.readouterr().out
    assert any(path.name in printed for path in pictures)
    assert len(example.read_text().splitlines()) <= MAX_EXAMPLE_LINES


def test_the_pages_are_few_and_short_and_the_readme_names_each():
    assert len(PAGES) - 1 <= MAX_PAGES
    # The bars and dashes of tables are no words.
    words = [word for page in PAGES for word in page.read_text().split() if re.search(r"\w", word)]
    assert len(words) <= MAX_WORDS
    assert len(README.read_text().splitlines()) <= MAX_README_LINES
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= {*LINK.findall(README.read_text())}


def test_the_six_lines_of_the_readme_write_a_picture(workspace):
    (body, *_) = blocks(README, "python")
    assert len(ast.parse(body).body) <= 6
    exec(compile(body, "README.md", "exec"), {})
    assert load_image(workspace / "out.png").size == PHOTOGRAPH_PX


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_command_lines_on_a_page_parse(page):
    lines = command_lines(page)
    for words in (words for words in lines if words[:2] == ["python", "-m"]):
        assert words[2] == "http.server" or find_spec(words[2]), words
    for words in (words for words in lines if words[0] == "swiftpie"):
        context = parse(words)
        if words[1] == "train" and context.params["names"]:
            for recipe in context.params["names"]:
                _configure(recipes(), recipe, context.params["overrides"] or [])
            assert parse_duration(context.params["time_limit"] or "1s") > 0


def lines_in(body):
    return [line for line in body.replace("\\\n", " ").splitlines() if line.strip()]


def sample_names():
    with as_file(files("swiftpie") / "assets") as assets:
        drawn = json.loads((assets / "samples" / "subjects.json").read_text())
        photographed = {path.name for path in (assets / "photos").glob("*.jpg")}
    return photographed | {f"{one['name'].replace(' ', '-')}.png" for one in drawn}


def test_commands_of_pages_read_what_is_there_and_take_no_name_twice():
    """A page reads samples and what it wrote itself; a reader may have run all pages before it."""
    samples, taken, lost = sample_names(), set(), []
    written = dict.fromkeys(samples, "")  # by name, what wrote it
    for page in PAGES:
        there = set(samples)
        for language, body in BLOCK.findall(page.read_text()):
            for name in SAVED.findall(body) if language == "python" else ():
                taken |= {(shown(page), name)} if name in samples else set()
                there.add(name)
                written[name] = shown(page)
            for line in lines_in(body) if language == "bash" else ():
                words = shlex.split(line, comments=True)
                if words[:1] != ["swiftpie"]:
                    continue
                targets = {name for before, name in pairwise(words) if before in WRITES}
                if page.stem in {"README", *FIRST} and {*ELSEWHERE, "--face"}.isdisjoint(words):
                    pictures = {word for word in words[2:] if PICTURE.fullmatch(word)}
                    lost += [(line, name) for name in pictures - targets - there]
                # A run of many pictures goes on in its folder.
                source = " ".join(words[2:3]) if words[1] == "batch" else line
                others = {name for name in targets if written.get(name, source) != source}
                taken |= {(line, name) for name in others if "--force" not in words}
                there |= targets
                written |= dict.fromkeys(targets, source)
    assert (lost, taken) == ([], set())


def test_the_page_of_commands_shows_every_command():
    lines = [words for words in command_lines(COMMANDS) if words[0] == "swiftpie"]
    shown_commands = {words[1] for words in lines}
    assert {*command_tree(app).commands} <= shown_commands
    known = command_tree(app).commands.items()
    nested = {(name, part) for name, one in known for part in getattr(one, "commands", ())}
    assert nested <= {(words[1], words[2]) for words in lines if len(words) > 2}


def anchors(page):
    """What links may name behind `#`: the headings of a page, as GitHub and the site spell them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


CARDS = sorted((ROOT / "src").rglob("*.md"))


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=shown)
def test_links_into_the_repository_lead_somewhere(page):
    lost = []
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not re.match(r"[a-z]+:", link) and (
            not target.exists() or (anchor and anchor not in anchors(target))
        ):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize(("name", "folder"), [("swiftpie", ROOT), ("swiftpie-lab", ROOT / "lab")])
def test_extras_on_pages_exist(name, folder):
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    texts = [page.read_text() for page in PAGES]
    named = {extra for text in texts for extra in re.findall(rf"\b{name}\[([a-z,]+)\]", text)}
    assert {word for extra in named for word in extra.split(",")} <= {
        *project["optional-dependencies"]
    }


def rows_of(page, heading):
    below = page.read_text().partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", below, re.M)[0]
    return [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_scales_on_the_page_about_scenes_are_those_of_the_program():
    _, _, *rows = rows_of(DOCS / "scenes.md", "## Scales")
    parameters = command_tree(app).commands["personalize"].params
    options = {flag: option.name for option in parameters for flag in option.opts}
    preset = Scales.of(PRESETS.get("mini"))
    assert {name for _, name, *_ in rows} == {field.name for field in fields(Scales)}
    for option, name, default, _ in rows:
        assert options.get(option, name) == name
        assert (option == "none") == (f"--{name.replace('_', '-')}" not in options)
        value = None if default == "none" else float(default.rpartition(" ")[2])
        assert getattr(preset, name) == value


def test_scales_on_the_page_about_editing_are_those_of_the_program():
    rows = rows_of(DOCS / "editing.md", "## Two versions of one method")
    (line,) = (row for row in rows if row[0].startswith("default identity"))
    paper, mini = re.fullmatch(r"(.*) \(`mini`: (.*)\)", line[1]).groups()
    published = PRESETS.get("swiftbrush-v2")
    for listed, chosen in (
        (paper, Scales.for_edit(published)),
        (mini, Scales.for_edit(PRESETS.get("mini"))),
        (line[2], Scales.for_edit(published, mode=EditMode.RELEASED)),
    ):
        found = (chosen.identity_scale, chosen.background_scale, chosen.text_scale)
        assert tuple(map(float, listed.split(", "))) == found


def test_shares_on_the_page_about_training_are_those_of_the_recipe():
    text = " ".join((DOCS / "training.md").read_text().split())
    sentence = re.search(r"practises one task: (.*?)\. ", text)[1]
    stated = [float(share) for share in re.findall(r"\((?:share )?(0\.\d+)\)", sentence)]
    shares = [share for share in asdict(mini_world().stage.tasks).values() if share]
    assert stated == [pytest.approx(1 - sum(shares)), *shares]


def test_engines_on_the_page_about_performance_are_those_of_the_program():
    named = [row[0] for row in rows_of(DOCS / "performance.md", "## Engines")[2:]]
    assert {*named} <= {*TRANSFORMS.names()}
    assert {*TRANSFORMS.names()} - {*named} <= {"offload"}  # not measured


def test_the_embedded_model_knows_the_words_of_prompts_on_pages(session):
    known = session.components.own.vocabulary
    strange = []
    for page in (README, COMMANDS, DOCS / "quickstart.md", DOCS / "scenes.md"):
        for words in command_lines(page):
            if words[:2] == ["swiftpie", "personalize"] and "--preset" not in words:
                prompt = parse(words).params["prompt"]
                if not prompt.startswith("@"):  # it names a file
                    strange += known.unknown_in(scene_library().in_known_words(prompt))
    assert strange == []


def test_the_page_of_figures_names_the_weights_that_they_were_measured_with():
    page = DOCS / "performance.md"
    named = re.findall(r"weights `([0-9a-f]{12})`", page.read_text())
    assert named == [weights_mark()], "measure again, and name these weights and the commit"


def test_the_page_about_scenes_names_every_place():
    rows = rows_of(DOCS / "scenes.md", "## Places")[2:]
    named = {name.strip() for row in rows[:-1] for name in row[1].split(",")}
    colours = rows[-1][1].removesuffix(" backdrop").replace(" or ", ", ").split(", ")
    assert named | {f"{colour} backdrop" for colour in colours} == {*scene_library().names()}
