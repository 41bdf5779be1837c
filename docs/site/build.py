"""Build the site: pages, Python reference, a table of models and a gallery; `make docs` runs it.

Everything comes from this repository. Links out of `docs` become links into the repository on the
web, and a link that leads nowhere stops the build.
"""

import argparse
import ast
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS, HERE = ROOT / "docs", ROOT / "docs" / "site"
REPOSITORY = "https://github.com/swiftpie/swiftpie/blob/main"
HUB = "https://huggingface.co"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
HEADINGS = (
    "model",
    "kind",
    "for",
    "px",
    "steps",
    "parameters",
    "memory",
    "licence",
    "commercial use",
)
BYTES_A_NUMBER = 2  # in 16 bits
ANSWERS = {True: "yes", False: "no", None: "depends"}


def main() -> int:
    """Write the sources of the site and build it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "build" / "site")
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    pages = out / "pages"
    write_pages(pages)
    config = (HERE / "zensical.toml").read_text().replace("../../src", str(ROOT / "src"))
    (out / "zensical.toml").write_text(config)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=out, check=False).returncode


def write_pages(pages: Path) -> None:
    """Write all sources of the site into a folder."""
    pages.mkdir(parents=True)
    for page in sorted(DOCS.glob("*.md")):
        (pages / page.name).write_text(with_links(page))
    for file in (*DOCS.glob("*.png"), *DOCS.glob("*.webp"), HERE / "table.js", HERE / "table.css"):
        shutil.copy(file, pages)
    (pages / "index.md").write_text(home())
    (pages / "models.md").write_text(models())
    (pages / "gallery.md").write_text(gallery())
    (pages / "api.md").write_text(reference())


def with_links(page: Path) -> str:
    """Return a page whose links out of the site lead into the repository.

    Raises:
        SystemExit: A link leads nowhere.
    """

    def on_site(link: re.Match[str]) -> str:
        target, mark, anchor = link[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = (page.parent / target).resolve()
        if not path.exists():
            raise SystemExit(f"{page}: the link {link[2]} leads nowhere")
        if path.parent == DOCS:
            return f"{link[1]}{path.name}{mark}{anchor}{link[3]}"
        return f"{link[1]}{REPOSITORY}/{path.relative_to(ROOT).as_posix()}{mark}{anchor}{link[3]}"

    return LINK.sub(on_site, page.read_text())


def home() -> str:
    """Return the first page: the README."""
    return with_links(ROOT / "README.md")


def models() -> str:
    """Return the table of recipes and presets, as the command line prints them."""
    rows = [*recipe_rows(), *preset_rows()]
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    table = "\n".join(f"<tr>{line}</tr>" for line in lines)
    head = "".join(f"<th>{name}</th>" for name in HEADINGS)
    return f"""# Models

Write into the field to find models: `yes 1024`, `face`, `turbo`. A *recipe* is everything that
draws ([full-size pictures](full-size.md)), and a *preset* is a backbone alone. *Memory* is that of
all weights in 16 bits, and *parameters* are the numbers in them: known for recipes and for `mini`.

<input class="table-filter" type="search" aria-label="Find models" placeholder="Find models">
<table class="filtered"><thead><tr>{head}</tr></thead><tbody>
{table}
</tbody></table>
"""


def recipe_rows() -> Iterator[list[str]]:
    """Yield a row of the table for each recipe."""
    costs = (DOCS / "full-size.md").read_text()
    (headings,) = re.findall(r"^\| Recipe \|(.*\bWeights in 16 bits\b.*)\|$", costs, re.M)
    column = [heading.strip() for heading in headings.split("|")].index("Weights in 16 bits")
    for recipe in rows_of("recipes"):
        name = recipe["name"]
        row = re.search(rf"^\| `{name}` \|(.*)\|$", costs, re.M)
        memory = row[1].split("|")[column].strip() if row else ""
        licences = {part["licence"] for part in recipe["licences"]}
        place = recipe["parts"][0]["place"]
        yield [
            linked(name, place.partition(":")[0]),
            *("recipe", recipe["use"], str(recipe["image_size_px"]), str(recipe["steps"])),
            *(parameters(memory), memory, html.escape(", ".join(sorted(licences)))),
            ANSWERS[recipe["is_commercial"]],
        ]


def preset_rows() -> Iterator[list[str]]:
    """Yield a row of the table for each preset."""
    files = (ROOT / "src" / "swiftpie" / "assets" / "mini").rglob("*.safetensors")
    own = f"{sum(file.stat().st_size for file in files) / 1e9:.3f} GB"
    for preset in rows_of("presets"):
        memory = own if preset["name"] == "mini" else ""
        yield [
            linked(preset["name"], preset["repository"]),
            *(f"preset, {preset['family']}", html.escape(", ".join(preset["capabilities"]))),
            *(str(preset["image_size_px"]), str(preset["steps"]), parameters(memory), memory),
            *(html.escape(preset["licence"]), ANSWERS[preset["is_commercial"]]),
        ]


def rows_of(command: str) -> list[dict[str, Any]]:
    """Return what `swiftpie COMMAND --json` prints."""
    whole = [sys.executable, "-m", "swiftpie", command, "--json"]
    printed = subprocess.run(whole, check=True, capture_output=True, text=True).stdout
    found: list[dict[str, Any]] = json.loads(printed)
    return found


def linked(name: str, repository: str | None) -> str:
    """Return a name, with a link to where it is published."""
    code = f"<code>{html.escape(name)}</code>"
    return f'<a href="{HUB}/{repository}">{code}</a>' if repository else code


def parameters(memory: str) -> str:
    """Return how many numbers of 16 bits take this memory, which is such as '8.9 GB'."""
    if not memory:
        return ""
    billions = float(memory.split()[0]) / BYTES_A_NUMBER
    return f"{billions:.1f} billion" if billions >= 1 else f"{billions * 1000:.0f} million"


def gallery() -> str:
    """Return the page of pictures."""
    return """# Gallery

The command beside a picture draws it again. The demo is the best of four seeds, and the edits are
the better ones of fourteen; the grid is not chosen.

`swiftpie demo`:

![Photographed animals in places and lights, a flower, a drawn place, two subjects](demo.webp)

The commands of [editing](editing.md) and of [scenes](scenes.md):

![Photographs of a sheep, a dog and a flower, and what edits make of them](edits.webp)

![A dog and a sheep, each from a photograph, in front of a castle at sunset](two.webp)

`swiftpie evaluate grid -o grid.png --num-subjects 5`: subjects that the training never saw.

![Five held-out subjects in four uses, dealt by seed 1](grid.webp)

The page of `swiftpie serve`:

![A dog and a sheep in front of a castle at sunset, drawn on the page](page.webp)

![An edit of a photograph, half of it before and half after, with variations](page-edit.webp)
"""


def reference() -> str:
    """Return the page of the names that `swiftpie.__all__` promises, each documented in place."""
    tree = ast.parse((ROOT / "src" / "swiftpie" / "__init__.py").read_text())
    homes = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    (promised,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    entries = "\n\n".join(f"::: {homes[name]}.{name}" for name in promised)
    return f"""# Python

These names are promised: `import swiftpie` has all of them, and versions say when one changes.
Everything else may change.

{entries}
"""


if __name__ == "__main__":
    sys.exit(main())
