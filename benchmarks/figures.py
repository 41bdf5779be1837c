"""Numbers that stand on several pages, from one file: `python -m benchmarks.figures`.

On a page a number is marked by its name in a comment behind it, as in `71<!--places-->`. The file
has what the package holds, counted, and what other commands measured: from their reports beside it
or, of reports that are not stored, as it was put there by hand. This command counts and reads anew,
and puts the numbers into the pages; a test compares all three.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from swiftpie.library import subject_library
from swiftpie.scenes import scene_library

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FILE = RESULTS / "figures.json"
MARKED = re.compile(r"(?P<number>[\d.,]*\d)<!--(?P<name>[\w.-]+)-->")
OURS = "SwiftPie"  # in the name of who rendered a place


SPEED = "python -m benchmarks.mini_speed --engines openvino --repeats 9 --cases 0"
DREAMBENCH = "swiftpie evaluate dreambench dreambooth/dataset --seeds 1"
KLEIN = "--stored bfloat16 --engine offload --limit-gib 16 --no-edit"
AGAIN = 'fifteen calls of session.personalize(dog, "a dog on a beach", seed=k)'
# By name: the report in `benchmarks/results` that holds it, and its key there.
STORED = {"several.found": ("several.json", "found"), "several.joined": ("several.json", "joined")}
# By name: the command that prints it, whose report is not stored; its number stays as it is.
PRINTED = {
    "leakage.nearest": "swiftpie evaluate leakage --photos dreambench",
    "dreambench.cutout": DREAMBENCH,
    "dreambench.boxes": f"{DREAMBENCH} --boxes boxes.json",
    "klein.gib": f"python -m benchmarks.full_size --family klein {KLEIN}",
    "speed.new": SPEED,
    "speed.new.openvino": SPEED,
    "speed.again": AGAIN,
    "speed.again.openvino": AGAIN,
}


def pages() -> list[Path]:
    """Return all files that may have marked numbers."""
    cards = (ROOT / "src").rglob("*.md")
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *cards]


def counted() -> dict[str, str]:
    """Return what the package holds."""
    places = scene_library()
    rendered = {  # of each photographed place, which pictures are
        name: [OURS in credit["author"] for credit in places.credits_of(name)]
        for name in places.names()
        if places.is_photographed(name)
    }
    ours = [is_ours for each in rendered.values() for is_ours in each]
    counts = {
        "places": len(places.names()),
        "places.photographed": sum(not all(each) for each in rendered.values()),
        "places.rendered": sum(all(each) for each in rendered.values()),
        "places.drawn": len(places.names()) - len(rendered),
        "pictures": len(ours),
        "pictures.photographs": len(ours) - sum(ours),
        "pictures.renderings": sum(ours),
        "subjects": len(subject_library().names()),
    }
    return {name: f"{count:,}" for name, count in counts.items()}


def figures() -> dict[str, str]:
    """Return every number by its name."""
    known = json.loads(FILE.read_text(encoding="utf-8"))
    stored = {
        name: str(json.loads((RESULTS / report).read_text(encoding="utf-8"))[key])
        for name, (report, key) in STORED.items()
    }
    return {**counted(), **stored, **{name: known[name] for name in PRINTED}}


def filled(text: str, numbers: Mapping[str, str]) -> str:
    """Return a page with these numbers before their names."""
    return MARKED.sub(lambda found: f"{numbers[found['name']]}<!--{found['name']}-->", text)


def main() -> int:
    """Write the file and the pages, and return the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    numbers = figures()
    FILE.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, numbers)) != text:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
