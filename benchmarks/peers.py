"""Compares SwiftPie at full size with the pipelines that people would take instead.

Run `python -m benchmarks.peers` in the folder of the repository, on a machine that does nothing
else. Weights are random and go to a temporary folder, 6 GB for SD2.1; graphs go there too. Each
peer takes turns with each of ours in one process, round by round. Pictures are noise: only figures
count. Graphs are exported at the first call of each kind; where one of ours is loaded again for
another peer, its first call finds them.

`--chord` measures edits by ChordEdit instead, without adapter and second U-Net: the fast form and
the published one, each against a plain loop of the same form. With `--made` a second run finds the
graphs of the first one. `--likeness` measures no time: it prints the PSNR of the pictures of each
engine to those without any.
"""

import argparse
import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._contenders import (
    BOTH_TINY,
    CHORD,
    FORMS,
    FULL,
    TINY,
    DiffusersPersonalizing,
    Editing,
    Modules,
    Ours,
    OursByChord,
    Personalizing,
    PlainChord,
    autoencoders_of,
    load,
    networks_of,
    pipeline_of,
    plain_modules,
    without_weights,
)
from benchmarks._machine import (
    EAGER,
    RECORDED,
    Action,
    Ratio,
    Round,
    Row,
    held_memory_mib,
    interleaved,
    machine,
    peak_memory_mib,
    ratio,
    row,
    spread,
    tell,
    usable_cores,
    write_report,
)
from benchmarks._models import (
    DTYPES,
    PRESETS,
    REHEARSAL,
    WITHOUT_ADAPTER,
    Scene,
    make_elsewhere,
    prompt,
)
from swiftpie.backbones.components import Components
from swiftpie.engine.graphs.runtime import Precision
from swiftpie.engine.session import Session
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.evaluation.metrics.pixels import psnr

ENGINES = {"cpu": f"{EAGER},openvino,openvino-int8", "cuda": f"{EAGER},compile"}
PEER_EDIT = "edit"  # what a peer does for a second edit too, as it keeps nothing
OURS = "swiftpie"
FLOAT32 = "float32"

Actions = dict[str, list[Action]]  # by contender; what each is called for in a round
OPENVINO = "peer-openvino"


@dataclass(frozen=True, eq=False)
class Entry:
    """Something to be measured, not yet loaded."""

    name: str
    operations: tuple[str, ...]  # that it can do
    open: Callable[[tuple[str, ...]], Actions]  # takes the operations that are measured


@dataclass(frozen=True)
class PeerRow:
    """A row, and what it took turns with."""

    loaded: tuple[str, str]
    row: Row


def main() -> None:
    """Measure and write JSON to standard output."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    facts: dict[str, object] = {"machine": machine(device), "settings": vars(options)}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        made = options.made or Path(folder)
        os.environ["SWIFTPIE_HOME"] = str(made)  # where OpenVINO's graphs are kept
        if options.made is None:
            tell("writing random weights")
            make_elsewhere(made, family=options.family, dtype=options.dtype)
        compare = likeness if options.likeness else measure
        facts |= compare(scene_of(made, options), options)
    facts["peak_memory_mib"] = round(peak_memory_mib(), 1)
    if device.type == "cuda":
        facts["peak_card_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    write_report(facts)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=[*sorted(PRESETS), REHEARSAL], default="sd21")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side-px", type=int, default=512)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of PyTorch")
    parser.add_argument("--rounds", type=int, default=3, help="calls of each kind that count")
    parser.add_argument("--pictures", type=int, default=1, help="that one call draws")
    parser.add_argument("--engines", help=f"of ours, joined by commas; {EAGER} is without any")
    parser.add_argument("--fp32", action="store_true", help="the peer in float32 too")
    parser.add_argument(
        "--openvino-fp32", action="store_true", help="OpenVINO computes in float32, as on laptops"
    )
    parser.add_argument("--compile", action="store_true", help="the peer compiled by torch too")
    parser.add_argument("--no-openvino-peer", action="store_true")
    parser.add_argument(
        "--decoders", help="of ours, joined by commas; by default each that is read"
    )
    parser.add_argument("--no-edit", action="store_true", help="leave the second U-Net out")
    parser.add_argument("--chord", action="store_true", help="edits by ChordEdit alone")
    parser.add_argument("--likeness", action="store_true", help="of pictures, and no time")
    parser.add_argument("--folder", help="where the temporary folder goes")
    parser.add_argument("--made", type=Path, help="weights that benchmarks._models wrote")
    options = parser.parse_args()
    options.engines = options.engines or ENGINES[options.device.partition(":")[0]]
    return options


def scene_of(folder: Path, options: argparse.Namespace) -> Scene:
    """Return what is drawn."""
    can_edit = options.family not in {"sdxl", *WITHOUT_ADAPTER}
    return Scene(
        folder,
        family=options.family,
        dtype=DTYPES[options.dtype],
        device=torch.device(options.device),
        side_px=options.side_px,
        num_images=options.pictures,
        can_edit=can_edit and not (options.no_edit or options.chord),
        is_plain=options.chord,
        precision=Precision.SINGLE if options.openvino_fp32 else None,
    )


def measure(scene: Scene, options: argparse.Namespace) -> dict[str, object]:
    """Measure each peer in turns with each of ours."""
    components = load(scene)
    ours = our_entries(components, scene, options)
    rows, ratios = list[PeerRow](), list[Ratio]()
    for peer, own in product(peer_entries(scene, options), ours):
        firsts, found = run((peer, own), peer.operations, rounds=options.rounds)
        for name, rounds in found.items():
            for operation in rounds[0]:
                made = row(name, operation, rounds, first=firsts[name])
                rows.append(PeerRow((peer.name, own.name), made))
                tell(f"{name}, {operation}: {made.ms.median} ms")
        made_here = ratios_of(found)
        ratios.extend(made_here)
        tell("\n".join(table(found, made_here)))
    return {"rows": rows, "ratios": ratios}


def likeness(scene: Scene, options: argparse.Namespace) -> dict[str, object]:
    """Return the PSNR, in dB, of the pictures of our engines to the plain ones, by decoder."""
    components = load(scene)
    identity = Session(components).encode_identity(scene.subject)
    size = (scene.side_px, scene.side_px)
    plain, found = dict[str, list[Tensor]](), dict[str, list[float]]()
    for engine in (EAGER, *options.engines.split(",")):
        for decoder, variant in autoencoders_of(components, engine, scene).items():
            if decoder not in (options.decoders or decoder).split(","):
                continue
            draw = partial(Session(variant).personalize, identity, size=size)
            drawn = [to_tensor(draw(prompt(n), seed=n).images[0]) for n in range(options.rounds)]
            truth = plain.setdefault(decoder, drawn)
            name = f"{OURS}-{engine}/{decoder}"
            found[name] = [psnr(*pair) for pair in zip(drawn, truth, strict=True)]
            tell(f"{name}: {', '.join(f'{value:.1f}' for value in found[name])} dB")
        gc.collect()
    return {"likeness_db": found}


def run(
    entries: Sequence[Entry], operations: tuple[str, ...], *, rounds: int
) -> tuple[dict[str, Round], dict[str, list[Round]]]:
    """Load `entries`, call each contender once, then all in turns; forget them."""
    actions: dict[str, Action] = {}
    for entry in entries:
        tell(f"loading {entry.name}")
        actions |= {name: joined(parts) for name, parts in entry.open(operations).items()}
    firsts = {name: first_call(name, action) for name, action in actions.items()}
    found = interleaved(actions, rounds=rounds, tell=tell)
    actions.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return firsts, found


def first_call(name: str, action: Action) -> Round:
    """Return the times of a first call."""
    tell(f"first call of {name}, {held_memory_mib() / 2**10:.1f} GiB held")
    found = action(0)
    tell(", ".join(f"{operation}: {sample.ms:.0f} ms" for operation, sample in found.items()))
    return found


def joined(parts: Sequence[Action]) -> Action:
    """Return one action that does several, one after the other."""

    def action(number: int) -> Round:
        return {name: sample for part in parts for name, sample in part(number).items()}

    return action


def ratios_of(found: Mapping[str, Sequence[Round]]) -> list[Ratio]:
    """Return how many times quicker each of ours is than each peer, by operation."""
    ours = [name for name in found if name.startswith(OURS)]
    made = []
    for slower, quicker in product([name for name in found if name not in ours], ours):
        # Where both name a decoder or a form, it is the same one.
        if not set(slower.split("/")[1:]) <= set(quicker.split("/")[1:]):
            continue
        for operation in found[quicker][0]:
            theirs = PEER_EDIT if operation == "second_edit" else operation
            if theirs in found[slower][0]:
                made.append(ratio(found, slower=(slower, theirs), quicker=(quicker, operation)))
    return made


def table(found: Mapping[str, Sequence[Round]], ratios: Sequence[Ratio]) -> Iterator[str]:
    """Yield the lines of a table of the seconds of both, and how many times quicker ours is."""

    def seconds(name: str, operation: str) -> str:
        ms = spread([sample[operation].ms for sample in found[name]]).median
        return f"{name} | {ms / 1000:.2f}"

    yield "| operation | ours | s | peer | s | times |\n|---|---|---|---|---|---|"
    for made in ratios:
        ours = seconds(made.quicker, made.operation)
        theirs = seconds(made.slower, made.slower_operation)
        times = f"{made.times.median:.2f} [{made.times.least:.2f}, {made.times.most:.2f}]"
        yield f"| {made.operation} | {ours} | {theirs} | {times} |"


def our_entries(components: Components, scene: Scene, options: argparse.Namespace) -> list[Entry]:
    """Return ours by engine; the plain networks are in memory already."""
    engines = options.engines.split(",")
    decoders = options.decoders and options.decoders.split(",")
    identity = None if scene.is_plain else Session(components).encode_identity(scene.subject)

    def opener(engine: str) -> Callable[[tuple[str, ...]], Actions]:
        def opened(operations: tuple[str, ...]) -> Actions:
            actions: Actions = {}
            for name, variant in autoencoders_of(components, engine, scene).items():
                if decoders and name not in decoders:
                    continue
                if identity is None:
                    for form in FORMS:
                        own = OursByChord(variant, scene, form)
                        actions[f"{OURS}-{engine}/{name}/{form}"] = [own]
                    continue
                ours = Ours(variant, identity, scene)
                parts: list[Action] = [] if name == BOTH_TINY else [ours.personalize]
                if not scene.has_adapter:
                    parts.append(ours.generate)
                if "edit" in operations and name != TINY:
                    parts.append(ours.edit)
                if parts:
                    actions[f"{OURS}-{engine}/{name}"] = parts
            return actions

        return opened

    return [Entry(f"{OURS}-{engine}", operations_of(scene), opener(engine)) for engine in engines]


def peer_entries(scene: Scene, options: argparse.Namespace) -> list[Entry]:
    """Return the pipelines of others."""

    def entry(name: str, dtype: torch.dtype, *, compiles: bool = False) -> Entry:
        opened = partial(diffusers_actions, name, scene, dtype, compiles=compiles)
        return Entry(name, operations_of(scene), opened)

    made = [entry(f"diffusers-{options.dtype}", scene.dtype)]
    if options.compile:
        made.append(entry(f"diffusers-{options.dtype}-compiled", scene.dtype, compiles=True))
    if options.fp32:
        made.append(entry(f"diffusers-{FLOAT32}", torch.float32))
    can_export = scene.device.type == "cpu" and scene.family != "sdxl"
    if can_export and not options.no_openvino_peer:
        opened = partial(openvino_actions, scene, options.decoders)
        made.append(Entry(OPENVINO, operations_of(scene), opened))
    return made


def operations_of(scene: Scene) -> tuple[str, ...]:
    """Return what is measured where a contender can do everything."""
    if scene.is_plain:
        return (CHORD,)
    return (scene.drawing, "edit") if scene.can_edit else (scene.drawing,)


def diffusers_actions(
    name: str,
    scene: Scene,
    dtype: torch.dtype,
    operations: tuple[str, ...],
    *,
    compiles: bool = False,
) -> Actions:
    """Return the pipeline as documented."""
    networks = pipeline_of(scene, dtype=dtype)
    pipeline = networks.drawing
    # Kernels are recorded for peers as for ours, by the mode that diffusers' page of speed names.
    mode = RECORDED if scene.device.type == "cuda" else None
    if compiles:
        networks.inversion.compile(mode=mode)
        pipeline.unet.compile(mode=mode)
        pipeline.vae.decode = torch.compile(pipeline.vae.decode, mode=mode)
    modules = plain_modules(networks, scene)
    if scene.is_plain:
        return by_chord(name, modules, scene)
    first: list[Action] = [DiffusersPersonalizing(pipeline, scene)]
    if "edit" in operations:
        first.append(Editing(modules, scene))
    return {name: first}


def by_chord(name: str, modules: Modules, scene: Scene) -> Actions:
    """Return the plain loop of each form of ChordEdit."""
    return {f"{name}/{form}": [PlainChord(modules, scene, form)] for form in FORMS}


def openvino_actions(scene: Scene, decoders: str | None, operations: tuple[str, ...]) -> Actions:
    """Return the same modules in OpenVINO with each decoder, exported already."""
    networks = networks_of(scene, scene.folder / "peer")
    kinds = decoders.split(",") if decoders else [TINY]
    if not decoders and scene.family not in WITHOUT_ADAPTER:
        kinds = [FULL, TINY, *([BOTH_TINY] if scene.is_plain or scene.can_edit else [])]
    actions: Actions = {}
    for kind in kinds:
        name, modules = f"{OPENVINO}/{kind}", networks.modules(kind)
        if scene.is_plain:
            actions |= by_chord(name, modules, scene)
            continue
        parts: list[Action] = [] if kind == BOTH_TINY else [Personalizing(modules, scene)]
        if "edit" in operations and kind != TINY:
            parts.append(Editing(modules, scene))
        actions[name] = parts
    for action in [action for parts in actions.values() for action in parts]:
        action(0)  # exports
    without_weights(networks)
    return actions


if __name__ == "__main__":
    main()
