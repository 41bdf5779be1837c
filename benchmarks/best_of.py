"""What the best of several pictures shows more: `python -m benchmarks.best_of FOLDER`.

FOLDER has a folder of photographs a subject, as DreamBench's. `mini` draws each in one of six
places. The first table compares the best of 4 pictures with the first of them. The second says how
often a score puts first what was chosen of 8 pictures by eye, before any score was known.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch.nn import functional as F

import swiftpie
from swiftpie.imageio.images import plane, to_tensor
from swiftpie_lab.evaluation.judges import shipped_embedder
from swiftpie_lab.judges import cut, subject_crops

PLACES = (
    *("in a park", "on a beach at sunset", "in a forest"),
    *("in the snow", "on a street at night", "in a kitchen"),
)
NOUNS = {
    "bear_plushie": "teddy bear",
    "berry_bowl": "bowl",
    "colorful_sneaker": "shoe",
    "dog2": "dog",
    "dog3": "dog",
    "dog5": "dog",
    "dog6": "dog",
    "dog7": "dog",
    "duck_toy": "duck",
    "grey_sloth_plushie": "toy",
    "pink_sunglasses": "sunglasses",
    "poop_emoji": "toy",
    "rc_car": "car",
    "robot_toy": "robot",
    "shiny_sneaker": "shoe",
}
CHOSEN = {  # of 8 by eye, counted from 1
    "backpack": 5,
    "bear_plushie": 4,
    "berry_bowl": 4,
    "can": 5,
    "candle": 6,
    "cat": 6,
    "clock": 4,
    "colorful_sneaker": 5,
    "dog": 4,
    "dog2": 6,
    "dog3": 7,
    "dog5": 8,
    "dog6": 8,
    "dog7": 4,
    "duck_toy": 3,
    "grey_sloth_plushie": 6,
    "pink_sunglasses": 2,
    "poop_emoji": 5,
    "rc_car": 7,
    "robot_toy": 4,
    "shiny_sneaker": 3,
    "vase": 6,
}
COUNT, STEP, FIRST = 8, 37, 1000  # pictures of a subject; from seed 1000, and 37 more for the next


@torch.no_grad()
def scored(
    session: swiftpie.Session, photo: Path, prompt: str, seed: int
) -> dict[int, dict[str, float]]:
    """Return the scores of 8 pictures by seed, among them that of the lab's judge."""
    judge, identity = shipped_embedder(), session.encode_identity(photo)
    known = judge(cut(identity.pixels[:1], subject_crops(identity.mask[:1])))
    drawn = session.personalize(identity, prompt, seed=seed, num_images=COUNT, best_of=COUNT)
    found = {}
    for image, mask, number, scores in zip(
        drawn.images, drawn.subject_masks, drawn.seeds, drawn.scores, strict=True
    ):
        cover = plane(mask)
        seen = judge(cut(to_tensor(image) * cover, subject_crops(cover)))
        likeness = float(F.cosine_similarity(seen, known))
        found[number] = {**scores, "judge, masked": likeness, "side": float(cover.mean()) ** 0.5}
    return dict(sorted(found.items()))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    session, rows = swiftpie.load("mini"), {}
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    for number, name in enumerate(names):
        photo = min((folder / name).glob("*.jpg"))
        prompt = f"a {NOUNS.get(name, name)} {PLACES[number % len(PLACES)]}"
        rows[name] = [*scored(session, photo, prompt, FIRST + STEP * number).values()]
    _compare(rows)
    _by_eye(rows)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _compare(rows: dict[str, list[dict[str, float]]]) -> None:
    _say(f"{len(rows)} subjects: the best of 4 by the score of the first column, and the first")
    scores = [*rows[next(iter(rows))][0]]
    for by in ("identity_score", "place_score"):
        for score in scores:
            pairs = [
                (four[0][score], max(four, key=lambda one: one[by])[score])
                for four in (each[:4] for each in rows.values())
            ]
            first, best = zip(*pairs, strict=True)
            more = [b - a for a, b in pairs]
            _say(
                f"  {by:15} {score:15} first {fmean(first):.4f}  best {fmean(best):.4f}  more "
                f"{fmean(more):+.4f} (deviation over subjects {stdev(more):.4f})"
            )


def _by_eye(rows: dict[str, list[dict[str, float]]]) -> None:
    known = [(rows[name], chosen - 1) for name, chosen in CHOSEN.items() if name in rows]
    _say(
        f"\n{len(known)} subjects, 8 pictures each. Chance: first {len(known) / COUNT:.1f}, mean "
        "rank 4.5"
    )
    for score in known[0][0][0]:
        ranks = [
            1 + sum(one[score] > eight[chosen][score] for one in eight) for eight, chosen in known
        ]
        _say(
            f"  {score:15} puts the chosen one first {ranks.count(1):2d} times, among the first 4 "
            f"{sum(rank <= 4 for rank in ranks):2d} times, mean rank {fmean(ranks):.2f}"
        )


if __name__ == "__main__":
    main()
