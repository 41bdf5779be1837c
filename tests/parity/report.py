"""Prints every comparison with other implementations as one table; fails if one is out of bounds.

Each module beside this one with a function `rows()` is a part of the table.
"""

import importlib
import sys
import time
import warnings
from pathlib import Path

import diffusers
import transformers
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent


def modules():
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    others = [name for name in names if name != "report" and not name.startswith("test_")]
    found = {name: importlib.import_module(f"tests.parity.{name}") for name in others}
    return {name: module for name, module in found.items() if hasattr(module, "rows")}


def is_within(row):
    _, largest, bound = row
    return largest <= bound


def closeness(row):
    _, largest, bound = row
    if not is_within(row):
        return float("inf")
    return largest / bound if bound else 0.0


def hush():
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")


def empty_table():
    table = Table()
    table.add_column("")
    for heading in ("Largest difference", "Bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Compared", overflow="fold")
    return table


def add_section(table, name, rows):
    table.add_section()
    table.add_row("", "", "", f"{name}: {len(rows)} comparisons", style="bold")
    for row in sorted(rows, key=closeness, reverse=True):
        what, largest, bound = row
        verdict = "PASS" if is_within(row) else "FAIL"
        table.add_row(verdict, f"{largest:.1e}", f"{bound:.0e}" if bound else "0", what)


def main(chosen):
    hush()
    console, progress, table = Console(width=110), Console(stderr=True), empty_table()
    failed, total = [], 0
    for name, module in modules().items():
        if chosen and name not in chosen:
            continue
        started = time.perf_counter()
        rows = module.rows()
        progress.print(f"{name}: {time.perf_counter() - started:.0f} s")
        add_section(table, name, rows)
        failed += [f"{name}: {row[0]}" for row in rows if not is_within(row)]
        total += len(rows)
    console.print(table)
    console.print(f"{total - len(failed)} of {total} comparisons are within their bounds.")
    for line in failed:
        console.print(f"FAIL {line}", markup=False)
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
