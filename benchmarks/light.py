"""How well light and shadow are drawn: `python -m benchmarks.light PAIRS [--network DIR] [-o DIR]`.

PAIRS is a folder of `swiftpie data light`, whose evaluation scenes show things and places that are
never trained: animals, furniture and cut-outs under suns, skies, windows and lamps, by Cycles.
Printed is the error of the logarithm of light, by kind of light: on the ground near a thing, and on
the thing, whose exposure is left out. `none` draws no light, `now` is the network of the package,
with the panorama of the place, and `blind` is the same without it; the network of DIR is one of
`swiftpie train world-light-pairs`. The scenes are dealt by a seed; the sheets of `-o` show no
light, the truth, and what was drawn.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from swiftpie.models.light import LightNetwork
from swiftpie.places.light import light_network
from swiftpie_lab.training.stages.light import LightPairsConfig, LightPairsStage

KINDS = ("", "_sun", "_sky", "_panorama", "_window", "_lamp", "_thing")


def main() -> None:
    """Print a row a way of drawing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", type=Path, help="a folder of `swiftpie data light`")
    parser.add_argument("--network", type=Path, help="a folder that training exported")
    parser.add_argument("--scenes", type=int, default=64, help="at most so many")
    parser.add_argument("-o", "--out", type=Path, help="where sheets are written")
    given = parser.parse_args()
    config = LightPairsConfig(str(given.pairs), validation_scenes=given.scenes)
    stage = LightPairsStage(config, "cpu")
    ways = {"now": light_network()}
    if given.network:
        ways["network"] = LightNetwork.from_pretrained(given.network).eval()
    rows: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for name, network in ways.items():
            errors = stage.sample(network, out / f"{name}.png")
            known = [kind for kind in KINDS if f"none{kind}" in errors]
            rows["none"] = {kind: errors[f"none{kind}"] for kind in known}
            rows[name] = {kind: errors[f"drawn{kind}"] for kind in rows["none"]}
            blind = "blind" if name == "now" else f"{name}, blind"
            rows[blind] = {kind: errors[f"blind{kind}"] for kind in rows["none"]}
    titles = [kind.removeprefix("_") or "ground" for kind in rows["none"]]
    sys.stdout.write(f"{'':16}" + "".join(f"{title:>10}" for title in titles) + "\n")
    for name, errors in rows.items():
        cells = "".join(f"{error:10.3f}" for error in errors.values())
        sys.stdout.write(f"{name:16}{cells}\n")


if __name__ == "__main__":
    main()
