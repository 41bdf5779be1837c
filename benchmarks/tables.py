"""Prints what other benchmarks wrote as Markdown tables, for docs/performance.md.

Run `python -m benchmarks.tables mini.json peers.json start_up.json` with any of their files.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]

SECOND_MS = 1000


def main() -> None:
    """Print the tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="what benchmarks wrote")
    for path in parser.parse_args().files:
        facts = json.loads(path.read_text())
        for key, tell in TELLERS.items():
            if facts.get(key):
                print(f"\n{path.name}, {key}\n")  # noqa: T201 - all that this command is for
                print("\n\n".join(tell(facts)))  # noqa: T201


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def calls(facts: Facts) -> list[str]:
    """Return what engines take for each operation of the embedded model."""
    heads = ["Operation", "Engine", "ms [quartiles]", "Times as quick", "Stages, ms"]
    return [table(heads, [call(row, facts["ratios"]) for row in facts["rows"]])]


def call(row: Facts, ratios: Sequence[Facts]) -> list[str]:
    """Return the cells of one contender at one operation."""
    asked = (row["contender"], row["operation"])
    times = [one["times"] for one in ratios if (one["quicker"], one["operation"]) == asked]
    stages = {name: ms for name, ms in row["stages_ms"].items() if name != "total"}
    told = ", ".join(f"{name} {shown(ms)}" for name, ms in stages.items())
    return [row["operation"], row["contender"], spread(row["ms"]), spread(*times), told]


def pictures(facts: Facts) -> list[str]:
    """Return what engines change about pictures."""
    rows = []
    for one in facts["pictures"]:
        distance = one["psnr_db"]
        told = "-" if distance is None else f"{distance['median']:.1f}, {distance['least']:.1f}"
        judged = [f"{100 * share:.1f} %" for share in one["judged"].values()]
        changed = sum(one["changed_verdicts"].values())
        rows.append([one["engine"], told, *judged, f"{changed} of {2 * one['num_cases']}"])
    heads = ["Engine", "PSNR: median, least", "Scenes", "Subjects found", "Verdicts changed"]
    return [table(heads, rows)]


def growth(facts: Facts) -> list[str]:
    """Return how long larger calls take."""
    names = [row["contender"] for row in facts["growth"][0]["rows"]]
    rows = [
        [
            f"{one['load']['axis']} {one['load']['size']}",
            *(spread(row["ms"]) for row in one["rows"]),
        ]
        for one in facts["growth"]
    ]
    return [table(["Call", *names], rows)]


def memory(facts: Facts) -> list[str]:
    """Return what a process of its own takes for each engine."""
    kinds = list(next(iter(facts["memory"].values())))
    rows = [[name, *(shown(one[k]) for k in kinds)] for name, one in facts["memory"].items()]
    return [table(["Engine", *(kind.replace("_", " ") for kind in kinds)], rows)]


def waiting(facts: Facts) -> list[str]:
    """Return what a picture takes by how threads wait, alone and beside load."""
    rows = [
        [row["contender"], spread(row["ms"]), shown(row["ms"]["most"])]
        for row in facts["beside_load"]["rows"]
        if row["operation"] == "personalize"
    ]
    return [table(["Setting", "Picture, ms", "Longest"], rows)]


def peers(facts: Facts) -> list[str]:
    """Return times and ratios of full-size models, a table for each group that took turns."""
    made = []
    for batch in facts["batches"]:
        for _, group in groupby(batch["rows"], key=lambda one: one["loaded"]):
            made.append(beside([one["row"] for one in group]))
        ratios = [
            [one["operation"], one["quicker"], one["slower"], spread(one["times"])]
            for one in batch["ratios"]
        ]
        made.append(table(["Operation", "Quicker", "Than", "Times"], ratios))
        made.append(bars(batch)[0])
    return made


def beside(rows: Sequence[Facts]) -> str:
    """Return a table of contenders and what they take for each operation."""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    found = {(row["contender"], row["operation"]): row for row in rows}
    cells = [
        [name, *(spread(found.get((name, one), {}).get("ms")) for one in operations)]
        for name in dict.fromkeys(row["contender"] for row in rows)
    ]
    return table(["Contender", *(f"{one}, ms" for one in operations)], cells)


def bars(facts: Facts) -> list[str]:
    """Return what shall be reached beside what was."""
    rows = [[one["what"], one["needed"], one["measured"], one["by"]] for one in facts["bars"]]
    return [table(["What", "Needed", "Measured", "By"], rows)]


def seconds(facts: Facts) -> list[str]:
    """Return what processes take to start."""
    rows = [
        [name.replace("_", " "), f"{one['median']:.2f} [{one['least']:.2f}, {one['most']:.2f}]"]
        for name, one in facts["seconds"].items()
    ]
    return [table(["Until", "Seconds [least, most]"], rows)]


def spread(values: Facts | None = None) -> str:
    """Return the median with its quartiles."""
    if values is None:
        return "-"
    low, high = values["lower_quartile"], values["upper_quartile"]
    return f"{shown(values['median'])} [{shown(low)}, {shown(high)}]"


def shown(value: float) -> str:
    """Return a figure with as many digits as it is worth."""
    if value >= SECOND_MS:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


TELLERS: Mapping[str, Callable[[Facts], list[str]]] = {
    "rows": calls,
    "pictures": pictures,
    "growth": growth,
    "memory": memory,
    "beside_load": waiting,
    "batches": peers,
    "bars": bars,
    "seconds": seconds,
}
"""What prints each part of what benchmarks write."""


if __name__ == "__main__":
    main()
