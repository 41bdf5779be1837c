"""Methods of steering that were tried on the embedded model, and what each brings.

Run `python -m benchmarks.steering_trials subjects` or `… styles`. All pictures are drawn from words
alone, in one step, so that nothing but the denoiser shows the subject or the style. Judges read
them as in `swiftpie evaluate world` and `styles`.

MONKEY (arXiv:2510.07656): a first call finds the region, by its own rule, for a second call.
Pick-and-Draw (arXiv:2401.16762): the noise follows the gradient of the unidirectional relaxed earth
mover's distance of features in the subject's place to the palette, those of the reference.
VisCtrl (arXiv:2406.06258): self-attention in that place reads the reference instead of itself.
RB-Modulation (arXiv:2405.17401): Adam lowers the terminal cost of the clean latents, the distance
of a descriptor of their picture to that of the style picture.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.attention_processor import Attention
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

import swiftpie
from benchmarks.steering import counted
from benchmarks.tables import table
from swiftpie.attention.condition import MAP_PREFIX, AttentionCondition, Notes
from swiftpie.attention.kernels import attend, merge_heads, split_heads, token_grid
from swiftpie.attention.style import StyleTokens
from swiftpie.engine.session import Session
from swiftpie.imageio.images import to_pil, to_tensor
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import read_notes
from swiftpie.models.tiny import CELL_PX
from swiftpie.pipelines.drawing.denoise import Clock, Prepared, decode, denoise
from swiftpie.pipelines.drawing.prepare import prepare
from swiftpie.pipelines.drawing.request import PersonalizeRequest, Subject
from swiftpie.pipelines.drawing.settings import MaskSource
from swiftpie.scenes import WORDS_ALONE
from swiftpie.types import Identity
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.benchmarks.styles import StyleBenchmark
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.evaluation.run import Results, score

HALF = 0.5  # MONKEY's threshold, of the range of a map; of a cell that is seen
BASES = {"semantic branch alone": True, "all of mini": False}
TWO_PASS, IN_WORDS = "--mask two-pass", "style in words"
FIGURES = {
    "subjects": ("subject-recognition", "setting-accuracy", "subject-psnr", "psnr"),
    "styles": ("rendition-accuracy", "subject-recognition"),
}
Draw = Callable[["Trial"], Tensor]  # returns clean latents
Asked = tuple[str, Draw, Callable[[], "Trial"]]  # a method by name, and what begins its picture
Pictures = Mapping[str, Image.Image]  # that are known of a case
B = TypeVar("B", bound=WorldBenchmark)


@dataclass(frozen=True, eq=False)
class Trial:
    """A picture that is about to be drawn."""

    start: Prepared
    identity: Identity
    place: Tensor  # (1, 1, h, w) in [0, 1] where the subject is put
    style: Tensor | None = None  # (1, 3, H, W) in [-1, 1]

    def latents(self) -> Tensor:
        """Return clean latents, as they are drawn without a method."""
        return denoise(self.start).latents

    def with_attention(self, **changes: Any) -> "Trial":  # noqa: ANN401 - fields of the condition
        """Return the trial with other fields of its attention condition."""
        condition = self.start.condition
        changed = condition._replace(attention=condition.attention._replace(**changes))
        return replace(self, start=self.start._replace(condition=changed))

    def call(self, latents: Tensor) -> Notes:
        """Return what layers note when they are called with other latents."""
        notes: Notes = {}
        start = self.start
        timestep = start.components.schedule.steps[0].timestep
        start.components.denoiser(latents, timestep, start.text, start.condition, notes)
        return notes

    def palette(self) -> Notes:
        """Return the reference's features by layer, (1, N, D)."""
        components, known = self.start.components, self.identity
        return read_notes(
            components.denoiser,
            components.autoencoder,
            pixels=known.pixels[:1],
            mask=known.mask[:1],
            empty_text=components.text.encode([""]),
        )

    def seen(self, count: int) -> Tensor:
        """Return which of a layer's `count` cells of the reference show the subject, (N,)."""
        rows, columns = (side // CELL_PX for side in self.identity.mask.shape[-2:])
        cover = resize_mask(self.identity.mask[:1], token_grid(count, rows, columns)).flatten()
        return cover >= cover.amax().clamp_max(HALF)


def two_pass(trial: Trial) -> Tensor:
    """Draw in the region that MONKEY's rule finds by a first call."""
    maps = [value for name, value in trial.call(trial.start.latents).items() if MAP_PREFIX in name]
    finest = max((one.shape[-2], one.shape[-1]) for one in maps)
    found = torch.stack([resize_mask(one, finest) for one in maps]).mean(dim=0)
    low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
    region = ((found - low) >= HALF * (high - low)).to(found)
    size = trial.start.condition.attention.region.shape[-2:]
    return trial.with_attention(region=resize_mask(region, (size[0], size[1]))).latents()


def picked(trial: Trial, *, steps: int, rate: float) -> Tensor:
    """Draw from noise that Pick-and-Draw's appearance guidance has moved, by `rate` of its length.

    The paper guides each of many steps. One step gives no second chance, so the noise moves first.
    """
    start, noise = trial.start, trial.start.latents
    decoding = [*start.components.denoiser.installation.detail][-2:]
    known, place = trial.palette(), trial.place
    moved = noise
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        with torch.enable_grad():
            notes, cost = trial.call(moved), torch.zeros(())
            for name in decoding:
                cells = token_grid(notes[name].shape[1], *noise.shape[-2:])
                inside = resize_mask(place, cells).flatten() >= HALF
                colours = F.normalize(known[name][0, trial.seen(known[name].shape[1])], dim=1)
                own = F.normalize(notes[name][0, inside], dim=1)
                cost = cost + (1 - own @ colours.T).amin(dim=1).mean()
            (slope,) = torch.autograd.grad(cost, moved)
        moved = moved.detach() - rate * slope * noise.norm() / slope.norm()
        moved = moved * noise.norm() / moved.norm()
    return replace(trial, start=start._replace(latents=moved)).latents()


class _Injecting(nn.Module):
    """A layer that reads the reference instead of itself where the subject is."""

    def __init__(self, layer: nn.Module, noted: Tensor, place: Tensor) -> None:
        super().__init__()
        self.layer, self.noted, self.place = layer, noted, place

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        del encoder_hidden_states, attention_mask  # diffusers passes them to every processor
        usual = self.layer(attn, hidden_states, condition=condition, notes=notes)
        query, key, value = (
            split_heads(to(states), attn.heads)
            for to, states in zip(
                (attn.to_q, attn.to_k, attn.to_v),
                (hidden_states, self.noted, self.noted),
                strict=True,
            )
        )
        read: Tensor = attn.to_out[0](merge_heads(attend(query, key, value)))
        cells = token_grid(hidden_states.shape[1], *condition.region.shape[-2:])
        inside = resize_mask(self.place, cells).flatten(2).transpose(1, 2)
        return torch.lerp(usual, read, inside)


@contextmanager
def injecting(trial: Trial) -> Iterator[None]:
    """Let all layers with a detail branch inject in the block."""
    unet, known = trial.start.components.denoiser.installation.network, trial.palette()
    before = dict(unet.attn_processors)
    changed = dict(before)
    for name, noted in known.items():
        read = noted[:, trial.seen(noted.shape[1])]
        path = f"{name}.processor"
        changed[path] = _Injecting(before[path], read, trial.place)
    unet.set_attn_processor(changed)
    try:
        yield
    finally:
        unet.set_attn_processor(before)


def injected(trial: Trial) -> Tensor:
    """Draw with VisCtrl's feature injection, once."""
    with injecting(trial):
        return trial.latents()


def describe(trial: Trial, pixels: Tensor) -> Tensor:
    """Return mean and deviation over cells of what mini's image encoder sees, (1, F).

    The paper's descriptor of styles, CSD, is a network of its own.
    """
    seen = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
    seen = F.interpolate(seen, (128, 128), mode="bilinear", antialias=True)
    stem: Any = trial.start.components.encoder_of_identity().stem
    cells = stem(seen).flatten(2)
    return torch.cat([cells.mean(dim=2), cells.std(dim=2)], dim=1)


def controlled(trial: Trial, *, steps: int, rate: float = 0.1) -> Tensor:
    """Draw, and lower the terminal cost by Adam; the paper takes 3 steps of 0.1 at each of many.

    After the only step of denoising no network makes a picture of what Adam finds.
    """
    assert trial.style is not None, "a style picture is followed"
    decoder = trial.start.components.autoencoder
    found = trial.latents().clone().requires_grad_()
    target, optimizer = describe(trial, trial.style), torch.optim.Adam([found], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            cost = 1 - F.cosine_similarity(describe(trial, decoder.decode(found)), target)
            (found.grad,) = torch.autograd.grad(cost.sum(), found)
            optimizer.step()
    return found.detach()


def aggregated(trial: Trial) -> Tensor:
    """Draw with RB-Modulation's aggregation, as `--style-by aggregation` does elsewhere."""
    assert trial.style is not None, "a style picture is followed"
    components = trial.start.components
    tokens = components.encoder_of_identity()(trial.style, torch.ones_like(trial.style[:, :1]))
    read = StyleTokens(tokens, torch.ones(1))
    return trial.with_attention(
        aggregated=dict.fromkeys(components.denoiser.installation.semantic, read)
    ).latents()


SUBJECTS: Mapping[str, Draw] = {
    "plain": Trial.latents,
    TWO_PASS: Trial.latents,
    "MONKEY's rule": two_pass,
    "picking, 1 update": lambda trial: picked(trial, steps=1, rate=0.05),
    "picking, 3 updates": lambda trial: picked(trial, steps=3, rate=0.1),
    "injection": injected,
}
STYLES: Mapping[str, Draw] = {
    "plain": Trial.latents,
    IN_WORDS: Trial.latents,
    "aggregation": aggregated,
    "terminal cost, 3 steps": lambda trial: controlled(trial, steps=3),
    "terminal cost, 30 steps": lambda trial: controlled(trial, steps=30),
}


def begin(
    session: Session,
    identity: Identity,
    prompt: str,
    seed: int,
    *,
    mask: MaskSource = MaskSource.NONE,
    is_semantic: bool = False,
    style: Tensor | None = None,
) -> Trial:
    """Prepare a picture from words, maybe with nothing but the semantic branch to show it."""
    request = PersonalizeRequest(
        subjects=(Subject(identity.without_detail() if is_semantic else identity),),
        prompt=prompt,
        seeds=(seed,),
        scene=WORDS_ALONE,
        mask=mask,
    )
    start = prepare(session.components, request, Clock())
    aligned = start.condition.aligned
    place = aligned[:, 0, -(CELL_PX**2) :].mean(dim=1, keepdim=True)
    if is_semantic:
        silent = start.condition._replace(aligned=torch.zeros_like(aligned))
        start = start._replace(condition=silent)
    return Trial(start, identity, place, style)


def subjects(
    session: Session, benchmark: WorldBenchmark, case: WorldCase, known: Pictures
) -> Iterator[Asked]:
    """Yield what is drawn of a case, with nothing but the semantic branch and with everything."""
    del benchmark
    identity = session.encode_identity(known["reference"], masks=known["reference-mask"])
    for (base, is_semantic), (name, draw) in product(BASES.items(), SUBJECTS.items()):
        mask = MaskSource.TWO_PASS if name == TWO_PASS else MaskSource.NONE
        chosen: dict[str, Any] = {"mask": mask, "is_semantic": is_semantic}
        begins = partial(begin, session, identity, case.prompt, case.seed, **chosen)
        yield f"{base}: {name}", draw, begins


def styles(
    session: Session, benchmark: StyleBenchmark, case: WorldCase, known: Pictures
) -> Iterator[Asked]:
    """Yield what is drawn of a case in the style of a picture."""
    identity = session.encode_identity(known["reference"], masks=known["reference-mask"])
    style = to_tensor(benchmark.style(case))
    for name, draw in STYLES.items():
        prompt = case.prompt if name == IN_WORDS else benchmark.plainly(case)
        yield name, draw, partial(begin, session, identity, prompt, case.seed, style=style)


def main() -> None:
    """Draw, judge and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*FIGURES])
    parser.add_argument("--cases", type=int, default=28)
    parser.add_argument("--data", type=Path, help="the pack of subjects, if it is elsewhere")
    options = parser.parse_args()
    session, pack = swiftpie.load("mini"), load_subjects(options.data or default_pack())
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "styles":
            art = StyleBenchmark(pack)
            told = measure(session, art, art.cases()[: options.cases], styles, Path(folder))
        else:
            world = WorldBenchmark(pack)
            plain = [*world.deal(WorldKind.PLAIN, options.cases)]
            told = measure(session, world, plain, subjects, Path(folder))
    sys.stdout.write(told + "\n")


@torch.no_grad()
def measure(
    session: Session,
    benchmark: B,
    cases: Sequence[WorldCase],
    trials: Callable[[Session, B, WorldCase, Pictures], Iterator[Asked]],
    folder: Path,
) -> str:
    """Return a line for each method: its calls of the denoiser, and what judges say."""
    calls: dict[str, int] = {}
    results: dict[str, Results] = {}
    for case in track(cases, "drawing", console=Console(stderr=True)):
        known = benchmark.known(case)
        for number, (name, draw, begins) in enumerate(trials(session, benchmark, case, known)):
            here = results.setdefault(name, Results(folder / str(number)))
            (here.root / "images").mkdir(parents=True, exist_ok=True)
            with counted(session.components) as counts:
                trial = begins()
                latents = draw(trial)
            calls[name] = counts["denoiser"]
            drawn = {"model": to_pil(decode(trial.start.components, latents))[0]}
            for kind, picture in {**known, **drawn, "model-mask": known["truth-mask"]}.items():
                here.write(case, kind, picture)
    metrics = {name: METRICS.get(name) for name in FIGURES[trials.__name__]}
    networks, lines = Networks(panel=benchmark.panel()), []
    for name, here in results.items():
        rows = [*score(benchmark, cases, here, networks)]
        cells = []
        for figure, metric in metrics.items():
            values = [row.scores[figure]["model"] for row in rows if figure in row.scores]
            cells.append(format_interval(interval(values), unit=metric.unit))
        lines.append([name, calls[name], *cells])
    return table(["method", "calls", *(one.label for one in metrics.values())], lines)


if __name__ == "__main__":
    main()
