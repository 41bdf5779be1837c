"""What each way of steering costs beside plain drawing: calls of networks, and milliseconds.

Run `python -m benchmarks.steering`, or with `--family sd21`, `sdxl` or `rehearsal`: networks of
that size with random weights, made in a temporary folder, whose pictures are noise. All ways take
turns. The subject is encoded before; prompts and style pictures are not.
"""

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import swiftpie
from benchmarks._machine import machine, write_report
from benchmarks._models import ADAPTER, PRESETS, REHEARSAL, make_elsewhere, prompt, reference
from benchmarks._timing import Round, interleaved, spread, timed
from benchmarks.tables import spread as spread_of
from benchmarks.tables import table
from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.pipelines.drawing.settings import IdentityGuidance, MaskSource, Scales, StyleBy

MINI, PLAIN = "mini", "plain"
MASKS: dict[str, dict[str, Any]] = {
    "--mask inline": {"mask": MaskSource.INLINE},
    "--mask two-pass": {"mask": MaskSource.TWO_PASS},
}
Ways = Mapping[str, Mapping[str, Any]]  # keywords of `Session.personalize`, by what users type


def main() -> None:
    """Draw by all ways in turns, and print a table or JSON."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with contextlib.ExitStack() as stack:
        if options.family == MINI:
            session = swiftpie.load(MINI, steps=options.steps)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
            session = load_random(folder, options)
        side = options.side_px or session.components.preset.image_size_px
        rows = measure(session, side=side, rounds=options.rounds)
    if options.json:
        write_report({**machine(session.components.device), **vars(options), "rows": rows})
        return
    lines = [
        [row["way"], *row["calls"].values(), spread_of(row["ms"]), f"{row['times_plain']:.2f}"]
        for row in rows
    ]
    heads = ["Way", *(f"Calls of the {name}" for name in rows[0]["calls"])]
    sys.stdout.write(table([*heads, "ms [quartiles]", "Times plain"], lines) + "\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    families = (MINI, "sd21", "sdxl", REHEARSAL)
    parser.add_argument("--family", choices=families, default=MINI)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side-px", type=int, help="by default the preset's")
    parser.add_argument("--dtype", default="bfloat16", help="of networks with random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", help="where the temporary folder goes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def load_random(folder: Path, options: argparse.Namespace) -> Session:
    """Return a session of networks with random weights, whose detail branch needs no weights."""
    make_elsewhere(folder, family=options.family, dtype="float16")
    return swiftpie.load(
        PRESETS["sd21" if options.family == REHEARSAL else options.family],
        device=options.device,
        dtype="float32" if options.family == REHEARSAL else options.dtype,
        weights=folder / "pipeline",
        adapter=folder / ADAPTER,
        image_encoder=folder / "image_encoder",
        detail="joint",
        steps=options.steps,
        offline=True,
    )


def ways_of(session: Session, *, side: int) -> Ways:
    """Return what is compared, plain drawing first; the detail branch speaks where it is named."""
    style = Image.new("RGB", (side, side), "orange")
    style.paste(reference(side).convert("RGB").rotate(90), (0, 0))
    if session.components.layout_predictor is not None:
        words = {name: {**given, "scene": "words"} for name, given in {PLAIN: {}, **MASKS}.items()}
        rendition = {"--style-reference, by rendition": {"style_reference": style}}
        return {**words, "plain, in a scene": {}, **rendition}
    silent = Scales(detail_scale=0.0)
    common: dict[str, dict[str, Any]] = {
        PLAIN: {},
        **MASKS,
        **{
            f"--identity-guidance {way.value}": {"identity_guidance": way}
            for way in (IdentityGuidance.AM1, IdentityGuidance.AM2)
        },
    }
    if len(session.components.schedule.steps) > 1:
        common["--identity-guidance dcg"] = {"identity_guidance": IdentityGuidance.DCG}
    for way in (StyleBy.BLOCKS, StyleBy.ATTENTION, StyleBy.AGGREGATION):
        if way is not StyleBy.BLOCKS or session.components.preset.family == "sdxl":
            given = {"style_reference": style, "style_by": way}
            common[f"--style-reference, by {way.value}"] = given
    ways = {name: {**given, "scales": silent} for name, given in common.items()}
    return {**ways, "--detail joint": {}}


def measure(session: Session, *, side: int, rounds: int) -> list[dict[str, Any]]:
    """Return calls and milliseconds of each way."""
    identity = session.encode_identity(reference(side))
    components, ways = session.components, ways_of(session, side=side)

    def draw(number: int, given: Mapping[str, Any]) -> Round:
        fresh = Session(components)  # that has encoded no prompt and no style
        sample, _ = timed(
            lambda: fresh.personalize(
                identity, prompt(number), seed=number, size_px=(side, side), **given
            ),
            components.device,
        )
        return {PLAIN: sample}

    calls = {}
    for name, given in ways.items():
        with counted(components) as counts:
            draw(0, given)  # which also warms up
        calls[name] = dict(counts)  # as all ways have them, in one order
    contenders = {
        name: lambda number, given=given: draw(number, given) for name, given in ways.items()
    }
    found = interleaved(contenders, rounds=rounds)
    ms = {name: spread([one[PLAIN].ms for one in some]) for name, some in found.items()}
    plain = ms[PLAIN].median
    return [
        {
            "way": name,
            "calls": calls[name],
            "ms": vars(ms[name]),
            "times_plain": ms[name].median / plain,
        }
        for name in ways
    ]


@contextlib.contextmanager
def counted(components: Components) -> Iterator[Counter[str]]:
    """Count the calls of denoiser and image encoder in the block."""
    networks: dict[str, nn.Module | None] = {
        "denoiser": components.denoiser.installation.network,
        "image encoder": components.image_encoder,
    }
    counts = Counter(dict.fromkeys(networks, 0))
    hooks = [
        network.register_forward_hook(lambda *_, name=name: counts.update([name]))
        for name, network in networks.items()
        if network is not None
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


if __name__ == "__main__":
    main()
