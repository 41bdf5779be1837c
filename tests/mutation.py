"""Changes single places of the code, and tells which changes no test notices.

Run `make mutation`. It changes a copy of the repository, so that a run which is stopped leaves
nothing behind. Places are drawn by seed among those that cosmic-ray can change, the same number in
each module; `--seed` draws others.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkItem

from tests.policy.project import ROOT

TESTS = {  # of each module that is changed
    "src/swiftpie/masks.py": "tests/test_masks.py tests/pipelines/test_edit_region.py",
    "src/swiftpie/noise.py": "tests/test_noise.py",
    "src/swiftpie/imageio/atomic.py": "tests/imageio/test_atomic.py",
    "src/swiftpie/pipelines/identity_file.py": "tests/pipelines/test_identity.py",
    "src/swiftpie_lab/training/losses.py": "tests/lab/training/test_losses.py",
}
COPIED = ("src", "lab", "tests", "docs", "examples", "pyproject.toml", "README.md")
KINDS = tuple(  # of changes; the others mostly give programs that fail at once
    f"core/{name}"
    for name in (
        *("AddNot", "ExceptionReplacer", "NumberReplacer", "ReplaceAndWithOr"),
        *("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add"),
        *("ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul"),
        *("ReplaceComparisonOperator", "ReplaceFalseWithTrue", "ReplaceOrWithAnd"),
        *("ReplaceTrueWithFalse", "ReplaceUnaryOperator_USub_UAdd", "ZeroIterationForLoop"),
    )
)
TIMEOUT_S = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=36, help="of changes, over all modules")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = random.Random(options.seed)
    survived, noticed, total = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, copy / name)
        for module, tests in TESTS.items():
            places = places_in(copy / module)
            for item in chosen.sample(places, min(len(places), options.number // len(TESTS))):
                command = f"env -C {copy} PYTHONPATH={copy}/src:{copy} {sys.executable} -m pytest "
                command += f"-q -x -p no:cacheprovider -n 0 {tests}"
                result = mutate_and_test(item.mutations, command, TIMEOUT_S)
                is_noticed = result.test_outcome is not TestOutcome.SURVIVED
                noticed, total = noticed + is_noticed, total + 1
                verdict = "noticed " if is_noticed else "SURVIVED"
                print(verdict, module, *names_of(item), flush=True)  # noqa: T201 - a command
                if not is_noticed:
                    survived.append(result.diff)
    print(*filter(None, survived), sep="\n")  # noqa: T201
    print(f"{noticed} of {total} changes were noticed, seed {options.seed}")  # noqa: T201


def places_in(module: Path) -> list[WorkItem]:
    with use_db(":memory:", WorkDB.Mode.create) as places:
        init([module], places, {})
        return [
            change
            for change in places.work_items
            if change.mutations[0].operator_name.startswith(KINDS)
        ]


def names_of(item: WorkItem) -> list[str]:
    return [
        f"{mutation.start_pos[0]}: {mutation.operator_name.split('/')[-1]}"
        for mutation in item.mutations
    ]


if __name__ == "__main__":
    main()
