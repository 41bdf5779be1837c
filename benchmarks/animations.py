"""How steady animations are, and what they take: `python -m benchmarks.animations`.

Each animation is of a packaged photograph, with 16 frames of 256 px. Likeness is the cosine of
frames and their subject by the package's judge, as a share of that of single pictures drawn as the
first and the last frame are. Flicker is the largest change, in levels of 255, of a pixel away from
subjects and their shadows between frames of an animation whose light stays. Times are in turns with
single pictures.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from typing import Any, NamedTuple

import torch

import swiftpie
from benchmarks._machine import machine, tell, write_report
from swiftpie.imageio.images import plane, to_tensor
from swiftpie.masks import grow
from swiftpie.types import GenerationResult, Identity
from swiftpie_lab.evaluation.judges import shipped_embedder
from swiftpie_lab.judges import cut, subject_crops

SIZE, NUM_FRAMES, SEED = (256, 256), 16, 9
AWAY_PX = 48  # from subjects: where no shadow falls


class Animation(NamedTuple):
    """What moves, and the options of its first and last frame."""

    subject: str
    prompt: str
    first: dict[str, Any]
    last: dict[str, Any]
    stays: bool  # the light of the place does


ANIMATIONS = {
    "to night": Animation(
        "dog", "a dog in a meadow", {}, {"prompt": "a dog in a meadow at night"}, stays=False
    ),
    "rain comes": Animation(
        "sheep", "a sheep in a park", {}, {"prompt": "a sheep in a park in the rain"}, stays=False
    ),
    "a walk": Animation(
        *("bison", "a bison in a meadow"),
        {"box": (0.05, 0.5, 0.45, 0.85)},
        {"box": (0.55, 0.5, 0.95, 0.85)},
        stays=True,
    ),
    "a turn": Animation(
        *("hedgehog", "a hedgehog on a stone wall"),
        {"box": (0.2, 0.4, 0.8, 0.9), "view": (0.0, 0.0)},
        {"box": (0.2, 0.4, 0.8, 0.9), "view": (45.0, 0.0)},
        stays=True,
    ),
}


def main() -> None:
    """Measure each animation and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    session, rows = swiftpie.load("mini"), {}
    for name, animation in ANIMATIONS.items():
        tell(name)
        with as_file(files("swiftpie") / "assets" / "photos" / f"{animation.subject}.jpg") as path:
            subject = session.encode_identity(path)
        rows[name] = measured(session, subject, animation, rounds=options.rounds)
    write_report({"machine": machine(session.components.device), "animations": rows})


def measured(
    session: swiftpie.Session, subject: Identity, animation: Animation, *, rounds: int
) -> dict[str, float]:
    """Return times of a single picture, likeness and flicker of one animation."""

    def single(options: dict[str, Any]) -> GenerationResult:
        given = {"prompt": animation.prompt, **options}
        return session.personalize(subject, **given, size=SIZE, seed=SEED)

    ends = [single(animation.first), single({**animation.first, **animation.last})]
    last = {f"to_{name}".removesuffix("_prompt"): end for name, end in animation.last.items()}

    def animated() -> GenerationResult:
        return session.animate(
            *(subject, animation.prompt),
            **animation.first | last,
            num_frames=NUM_FRAMES,
            size=SIZE,
            seed=SEED,
        )

    frames, times = animated(), []
    for _ in range(rounds):
        picture_s = statistics.median(seconds(lambda: single(animation.first)) for _ in range(5))
        times.append(seconds(animated) / picture_s)
    usual = min(value for end in ends for value in likenesses(end, subject))
    facts = {
        "pictures": round(statistics.median(times), 1),
        "least_likeness": round(min(likenesses(frames, subject)) / usual, 3),
    }
    return {**facts, "flicker": flicker(frames)} if animation.stays else facts


def seconds(draw: Callable[[], object]) -> float:
    """Return what a call takes."""
    started = time.perf_counter()
    draw()
    return time.perf_counter() - started


@torch.no_grad()
def likenesses(drawn: GenerationResult, subject: Identity) -> list[float]:
    """Return the cosine of each picture's subject and its reference, by the package's judge."""
    embedder = shipped_embedder()

    def vector(pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return embedder(cut(pixels, subject_crops(mask)))

    reference = vector(subject.pixels[:1], subject.mask[:1])
    pairs = zip(drawn.images, drawn.subject_masks, strict=True)
    seen = [vector(to_tensor(image), plane(mask)) for image, mask in pairs]
    return [float((each * reference).sum()) for each in seen]


def flicker(drawn: GenerationResult) -> int:
    """Return the largest change of a pixel away from subjects, in levels of 255."""
    near = torch.stack([plane(mask) for mask in drawn.subject_masks]).amax(dim=0)
    away = (grow((near > 0).float(), AWAY_PX) == 0)[0, 0]
    frames = torch.cat([to_tensor(image) for image in drawn.images])[..., away]
    return round(float((frames.amax(dim=0) - frames.amin(dim=0)).max()) * 127.5)


if __name__ == "__main__":
    main()
