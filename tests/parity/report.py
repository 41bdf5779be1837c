"""Prints every comparison with other implementations as one table; fails if one is out of bounds.

Each module beside this one with a function `rows()` is a part of the table.
"""

import importlib
import pkgutil
import sys
import time
import warnings
from pathlib import Path

import diffusers
import transformers
from rich.console import Console
from rich.table import Table


def modules():
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    others = [name for name in names if name != "report" and not name.startswith("test_")]
    found = {name: importlib.import_module(f"tests.parity.{name}") for name in others}
    return {name: module for name, module in found.items() if hasattr(module, "rows")}


def is_within(row):
    _, largest, bound = row
    return largest <= bound


def main(chosen):
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    console, progress = Console(width=110), Console(stderr=True)
    table = Table("", "Largest difference", "Bound", "Compared")
    failed, total = [], 0
    for name, module in modules().items():
        if chosen and name not in chosen:
            continue
        started = time.perf_counter()
        rows = module.rows()
        progress.print(f"{name}: {time.perf_counter() - started:.0f} s")
        table.add_section()
        table.add_row("", "", "", f"{name}: {len(rows)} comparisons", style="bold")
        for row in rows:
            what, largest, bound = row
            verdict = "PASS" if is_within(row) else "FAIL"
            table.add_row(verdict, f"{largest:.1e}", f"{bound:.0e}", what)
            failed += [] if is_within(row) else [f"{name}: {what}"]
        total += len(rows)
    console.print(table)
    console.print(f"{total - len(failed)} of {total} comparisons are within their bounds.")
    for line in failed:
        console.print(f"FAIL {line}", markup=False)
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
