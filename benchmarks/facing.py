"""Fits which way outlines face, and says how often that is right: `python -m benchmarks.facing`.

Emoji of animals and vehicles that are seen from a side face left, so those of the library are
examples, and their mirror images those of the other side. Ridge regression of a constant by the
outline less its mirror image is fitted to them. Each is also judged by what the others say, and the
least score of a side is chosen from which 95 % of these verdicts are right.
"""

import argparse
import json
import sys

import numpy as np

from swiftpie.geometry.ground import ASSETS
from swiftpie.imageio.images import plane
from swiftpie.library import subject_library
from swiftpie.photo.stance import FACING, GRID, sides

RIDGE, RIGHT_SHARE = 100.0, 0.95
# Animals and vehicles of the library that are seen from a side.
EXAMPLES = """ambulance|articulated lorry|auto rickshaw|automobile|baby chick|badger|beaver|bicycle
bird|bison|black bird|black cat|bug|bullet train|camel|cat|chipmunk|cow|cricket|deer|delivery truck
dodo|dog|dolphin|donkey|dove|dragon|duck|eagle|elephant|ewe|fire engine|fish|flamingo|giraffe|goat
goose|guide dog|hedgehog|helicopter|hippopotamus|honeybee|horse|kangaroo|kick scooter|leopard
light rail|llama|locomotive|mammoth|monorail|motor boat|motor scooter|motorcycle|mouse|ox|parrot
passenger ship|pickup truck|pig|poodle|rabbit|racing car|ram|rat|rhinoceros|rooster|sauropod|seal
service dog|shark|ship|shrimp|skunk|snail|speedboat|sport utility vehicle|swan|t rex|taxi|tiger
tractor|tropical fish|turkey|turtle|two hump camel|unicorn|water buffalo|whale|zebra"""


NAMES = EXAMPLES.replace("\n", "|").split("|")


def fitted() -> tuple[np.ndarray, np.ndarray]:
    """Return weights (GRID, GRID), and the score of each example by what the others say."""
    library = subject_library()
    outlines = [plane(library.image(name).convert("RGBA").getchannel("A")) for name in NAMES]
    rows = np.stack([sides(outline).ravel() for outline in outlines])
    inverse = np.linalg.inv(rows @ rows.T + RIDGE * np.eye(len(rows)))
    shares = inverse @ np.ones(len(rows))
    return (rows.T @ shares).reshape(GRID, GRID), 1 - shares / np.diag(inverse)


def least_score(scores: np.ndarray) -> float:
    """Return the least size of a score from which most verdicts are right."""
    sizes = np.sort(np.abs(scores))
    right = [(scores[np.abs(scores) >= size] > 0).mean() >= RIGHT_SHARE for size in sizes]
    first = max((number + 1 for number, is_right in enumerate(right) if not is_right), default=0)
    return float(sizes[min(first, len(sizes) - 1)])


def measure(weights: np.ndarray, scores: np.ndarray) -> str:
    """Return the file of the measure."""
    half = np.rint(1000 * weights[:, : GRID // 2]).astype(int).tolist()
    rows = ",\n".join(json.dumps(row) for row in half)
    names, least = json.dumps(NAMES), least_score(scores)
    return f'{{"least": {least:.3f}, "left": {names}, "weights": [\n{rows}\n]}}\n'


def main() -> int:
    """Write the measure, print figures, and return the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    weights, scores = fitted()
    (ASSETS / FACING).write_text(measure(weights, scores), encoding="utf-8")
    said = np.abs(scores) >= least_score(scores)
    figures = {
        "examples": len(scores),
        "right": round(float((scores > 0).mean()), 3),
        "said": round(float(said.mean()), 3),
        "right_of_said": round(float((scores[said] > 0).mean()), 3),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
