"""What one-step students of a small diffusion model draw, beside their teacher.

`python -m benchmarks.distillation teacher FOLDER` trains a U-Net, a text encoder and an autoencoder
on sprites of the library over plain colours, 64 px, and writes them as a pipeline of diffusers.
Students of the published figures come from:

    own="--set stage.weights=FOLDER/unet --set stage.base=FOLDER --set stage.teacher=FOLDER/unet
        --set stage.prompts=FOLDER/prompts.txt --set stage.size_px=64 --set stage.batch_size=24
        --set stage.mixed_precision=false --set stage.checkpointing=false
        --set loop.ema_decay=0.95 --set loop.warmup_steps=10"
    swiftpie train distill-vsd $own --set loop.steps=576 --set loop.learning_rates=1e-4,1e-3
        --set stage.guidance=2 --set stage.critic_rank=32 --set stage.critic_alpha=32
    swiftpie train distill-dmd2 $own --set loop.steps=500 --set loop.learning_rates=1e-4,1e-3
        --set stage.student_every=1 --set stage.adversarial=0 --set stage.guidance=2
        --set stage.critic_rank=32 --set stage.critic_alpha=32 --set loop.decay_share=0.4

`python -m benchmarks.distillation measure FOLDER --student NAME=UNET …` then compares all of them.

`python -m benchmarks.distillation toy FILE.svg` draws where one-step students of a mixture of four
normal distributions in the plane land, those of the tests.

The distance is Fréchet's of the vectors that the judge of subjects sees, times 1000, from pictures
that training showed. It is no FID: those features know sprites alone. It is smaller for more
pictures, so all rows have the same number. `found` is the share of pictures in which the judge
finds the subject of the prompt nearest among all.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from swiftpie.backbones.presets import trailing_timesteps
from swiftpie.cli.console import write_table
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.library import ASSETS, PACK
from swiftpie.models.text import TextTower
from swiftpie.noise import build_schedule
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.judges import shipped_embedder
from swiftpie_lab.training.losses import add_noise_at, levels_at
from swiftpie_lab.training.stages.distillation import Kind

SIDE_PX, CELL_PX, CHANNELS = 64, 8, 4
COLOURS = {
    "red": (0.75, -0.6, -0.6),
    "green": (-0.5, 0.3, -0.5),
    "blue": (-0.6, -0.3, 0.7),
    "white": (0.9, 0.9, 0.9),
}
SUBJECTS = [
    *("tiger", "rabbit", "crocodile", "whale", "snail", "rooster", "pig", "octopus", "turtle"),
    *("penguin", "frog", "fox", "owl", "butterfly"),
    *("taco", "tomato", "eggplant", "banana", "pineapple", "pizza"),
]
NEW_SUBJECT = "hedgehog"  # no training picture shows it: what EchoDistill is to learn
WIDTH, LENGTH = 64, 16  # of a token's state, and tokens of a prompt
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BATCH = 48  # pictures of a step of the teacher
SEED = 2**20  # of pictures that nothing was trained on


class Pictures(NamedTuple):
    """Sprites over plain colours."""

    pixels: Tensor  # (B, 3, 64, 64) in [-1, 1]
    prompts: list[str]
    subjects: Tensor  # (B,) long


class Sprites:
    """An endless supply of pictures, each by its number."""

    def __init__(self, names: Sequence[str] = SUBJECTS) -> None:
        pack = load_subjects(ASSETS / PACK)
        rows = [pack.names.index(name) for name in names]
        self.names, self.tiles = names, pack.tiles[rows].float() / 255

    def batch(self, size: int, draw: int) -> Pictures:
        """Return batch number `draw`."""
        chance = torch.Generator().manual_seed(draw)
        subjects = torch.randint(len(self.names), (size,), generator=chance)
        colours = torch.randint(len(COLOURS), (size,), generator=chance)
        grown, x, y = torch.rand(3, size, generator=chance)
        scale = 1.1 + 0.3 * grown
        zero = torch.zeros(size)
        affine = torch.stack(
            [scale, zero, (x - 0.5) * 0.4, zero, scale, (y - 0.5) * 0.4], dim=1
        ).view(size, 2, 3)
        grid = F.affine_grid(affine, [size, 4, SIDE_PX, SIDE_PX], align_corners=False)
        placed = F.grid_sample(self.tiles[subjects], grid, align_corners=False)
        colour = torch.tensor(list(COLOURS.values()))[colours][..., None, None]
        pixels = placed[:, :3] * 2 - placed[:, 3:] + (1 - placed[:, 3:]) * colour
        said = list(COLOURS)
        prompts = [
            f"a {self.names[subject]} on {said[number]}"
            for subject, number in zip(subjects.tolist(), colours.tolist(), strict=True)
        ]
        return Pictures(pixels, prompts, subjects)


def new_tokenizer() -> CLIPTokenizer:
    """Return CLIP's kind of tokenizer with each word of the prompts as one token."""
    words = [*SUBJECTS, *COLOURS, NEW_SUBJECT, "a", "on", "photo", "of", "toy"]
    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    merges: dict[str, None] = {}
    for word in words:
        done = word[0]
        for number, letter in enumerate(word[1:], start=2):
            piece = letter + "</w>" * (number == len(word))
            merges.setdefault(f"{done} {piece}")
            done += piece
    tokens = [*pieces, *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(merge.split(" ")) for merge in merges],  # type: ignore[misc]  # pairs
        model_max_length=LENGTH,
    )


def new_networks() -> tuple[AutoencoderKL, TextTower, UNet2DConditionModel]:
    """Return untrained networks, always the same."""
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=CHANNELS,
        sample_size=SIDE_PX,
    )
    tokenizer = new_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE_PX // CELL_PX,
        block_out_channels=(48, 96),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        attention_head_dim=(2, 4),
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
    )
    return autoencoder, TextTower(tokenizer, CLIPTextModel(config)), unet


def steps_within(seconds: float, parameters: Sequence[nn.Parameter], rate: float) -> Iterator[int]:
    """Yield numbers of steps for `seconds` of this process; each follows the step before it."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    began, step = time.process_time(), 0
    while (share := (time.process_time() - began) / seconds) < 1:
        optimizer.zero_grad()
        yield step
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50, 2 * (1 - share) + 0.02)
        optimizer.step()
        step += 1


def train_autoencoder(autoencoder: AutoencoderKL, sprites: Sprites, seconds: float) -> None:
    """Train it on what the sprites show, and set the scale of its latents."""
    for step in steps_within(seconds, list(autoencoder.parameters()), 2e-3):
        pixels = sprites.batch(16, step).pixels
        latents = autoencoder.encode(pixels).latent_dist.mean
        error = autoencoder.decode(latents).sample - pixels
        loss = error.abs().mean() + error.square().mean() + 1e-4 * latents.square().mean()
        loss.backward()
        if step % 100 == 0:
            distance = float(error.detach().square().mean())
            sys.stdout.write(f"autoencoder, step {step}: {distance:.4f}\n")
    with torch.no_grad():
        latents = autoencoder.encode(sprites.batch(256, SEED).pixels).latent_dist.mean
    autoencoder.register_to_config(scaling_factor=float(1 / latents.std()))


def train_teacher(
    unet: UNet2DConditionModel,
    text: TextTower,
    autoencoder: AutoencoderKL,
    *,
    sprites: Sprites,
    seconds: float,
) -> UNet2DConditionModel:
    """Train U-Net and text encoder to find noise; return the average of the U-Net's weights."""
    stored = [sprites.batch(256, number) for number in range(SEED, SEED - 48, -1)]
    scale = autoencoder.config.scaling_factor
    with torch.no_grad():
        latents = torch.cat(
            [autoencoder.encode(batch.pixels).latent_dist.mean * scale for batch in stored]
        )
    prompts = [prompt for batch in stored for prompt in batch.prompts]
    average = UNet2DConditionModel.from_config(unet.config)
    average.load_state_dict(unet.state_dict())
    weights = [*unet.parameters(), *text.encoder.parameters()]
    for step in steps_within(seconds, weights, 1e-3):
        chance = torch.Generator().manual_seed(step)
        rows = torch.randint(len(latents), (BATCH,), generator=chance)
        dropped = torch.rand(BATCH, generator=chance) < 0.1
        said = ["" if d else prompts[row] for d, row in zip(dropped, rows.tolist(), strict=True)]
        levels = levels_at(torch.randint(1000, (BATCH,), generator=chance), like=latents)
        noise = torch.randn(BATCH, *latents.shape[1:], generator=chance)
        noisy = add_noise_at(latents[rows], noise, levels)
        raw = unet(noisy, levels.timesteps, text.encode(said).hidden_states).sample
        loss = F.mse_loss(raw, noise)
        loss.backward()
        decay = min(0.999, 1 - (step + 2) ** -0.6)
        with torch.no_grad():
            for kept, current in zip(average.parameters(), unet.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        if step % 100 == 0:
            sys.stdout.write(f"teacher, step {step}: {float(loss.detach()):.4f}\n")
    return average


def write_teacher(folder: Path, *, autoencoder_s: float, teacher_s: float) -> None:
    """Train and write everything."""
    sprites = Sprites()
    autoencoder, text, unet = new_networks()
    train_autoencoder(autoencoder, sprites, autoencoder_s)
    unet = train_teacher(unet, text, autoencoder, sprites=sprites, seconds=teacher_s)
    autoencoder.save_pretrained(folder / "vae")
    text.encoder.save_pretrained(folder / "text_encoder")
    text.tokenizer.save_pretrained(folder / "tokenizer")
    unet.save_pretrained(folder / "unet")
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.save_pretrained(folder / "scheduler")
    networks = {"unet": unet, "vae": autoencoder, "scheduler": scheduler}
    index: dict[str, list[str | None]] = {
        name: ["diffusers", type(network).__name__] for name, network in networks.items()
    }
    index |= {"text_encoder": ["transformers", "CLIPTextModel"]}
    index |= {"tokenizer": ["transformers", "CLIPTokenizer"]}
    empty = ("safety_checker", "feature_extractor", "image_encoder")
    index |= {name: [None, None] for name in empty}
    about = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.40.0"}
    (folder / "model_index.json").write_text(json.dumps(about | index))
    prompts = [f"a {name} on {colour}" for name in SUBJECTS for colour in COLOURS]
    (folder / "prompts.txt").write_text("\n".join(prompts))
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    shown = Sprites((NEW_SUBJECT,)).batch(4, 1)
    for number, picture in enumerate(to_pil(shown.pixels)):
        picture.save(photos / f"{number}.png")
        (photos / f"{number}.txt").write_text(shown.prompts[number])


class Drawer(NamedTuple):
    """A U-Net and how it draws."""

    unet: UNet2DConditionModel
    num_steps: int
    guidance: float


@torch.no_grad()
def draw(drawer: Drawer, text: TextTower, prompts: list[str], noise: Tensor) -> Tensor:
    """Return clean latents (B, C, h, w) by DDIM."""
    schedule = build_schedule(trailing_timesteps(drawer.num_steps), "epsilon")
    prompted, blank = (text.encode(said).hidden_states for said in (prompts, [""] * len(prompts)))
    latents = noise
    for index, step in enumerate(schedule.steps):
        found = drawer.unet(latents, step.timestep, prompted).sample
        if drawer.guidance != 1:
            other = drawer.unet(latents, step.timestep, blank).sample
            found = other + drawer.guidance * (found - other)
        latents = schedule.advance(latents, found, index)
    return latents


def frechet(first: Tensor, second: Tensor) -> float:
    """Return Fréchet's distance of normal distributions with the moments of rows (N, D)."""
    means = [rows.double().mean(0) for rows in (first, second)]
    spreads = [rows.double().T.cov() for rows in (first, second)]
    shared = torch.linalg.eigvals(spreads[0] @ spreads[1]).real.clamp_min(0).sqrt().sum()
    total = (means[0] - means[1]).square().sum() + spreads[0].trace() + spreads[1].trace()
    return float(total - 2 * shared)


def measure(folder: Path, students: dict[str, Path], *, count: int, guidance: float) -> None:
    """Print a row for each of pictures, teacher and students, and write a sheet of them."""
    sprites, judge = Sprites(), shipped_embedder()
    autoencoder = AutoencoderKL.from_pretrained(folder / "vae").eval()
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    text = TextTower(CLIPTokenizer.from_pretrained(folder / "tokenizer"), encoder)
    scale = autoencoder.config.scaling_factor
    teacher = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    drawers = {
        "teacher, 50 steps": Drawer(teacher, 50, guidance),
        "teacher, 1 step": Drawer(teacher, 1, guidance),
    }
    for name, place in students.items():
        unet = UNet2DConditionModel.from_pretrained(place, torch_dtype=torch.float32).eval()
        drawers[name] = Drawer(unet, 1, 1.0)
    batches = [sprites.batch(64, SEED + 1 + number) for number in range(count // 64)]
    gallery = class_vectors(sprites, judge)
    seen = torch.cat([judge(batch.pixels).detach() for batch in batches])
    other = [sprites.batch(64, SEED + 10**4 + number) for number in range(count // 64)]
    real = torch.cat([judge(batch.pixels).detach() for batch in other])
    named = torch.cat([batch.subjects for batch in batches])
    rows, sheet = [("pictures", frechet(seen, real), seen)], [to_pil(batches[0].pixels[:8])]

    @torch.no_grad()
    def decode(latents: Tensor) -> Tensor:
        pixels: Tensor = autoencoder.decode(latents / scale).sample.clamp(-1, 1)
        return pixels

    def row(name: str, latents_of: Callable[[int], Tensor]) -> None:
        drawn = [decode(latents_of(n)) for n in track(range(len(batches)), name)]
        vectors = torch.cat([judge(pixels).detach() for pixels in drawn])
        rows.append((name, frechet(vectors, real), vectors))
        sheet.append(to_pil(drawn[0][:8]))

    def drawn_by(drawer: Drawer, n: int) -> Tensor:
        return draw(drawer, text, batches[n].prompts, noise_of(n))

    with torch.no_grad():
        row(
            "through the autoencoder",
            lambda n: autoencoder.encode(batches[n].pixels).latent_dist.mean * scale,
        )
    for name, drawer in drawers.items():
        row(name, partial(drawn_by, drawer))
    table = [
        (name, f"{1000 * distance:.1f}", f"{found(vectors, gallery, named):.0f} %")
        for name, distance, vectors in rows
    ]
    write_table([("drawn by", "distance", "found"), *table])
    contact_sheet(sheet, cell_px=SIDE_PX).save(folder / "sheet.png")


def noise_of(number: int) -> Tensor:
    """Return the noise of a batch."""
    side = SIDE_PX // CELL_PX
    chance = torch.Generator().manual_seed(SEED + number)
    return torch.randn(64, CHANNELS, side, side, generator=chance)


@torch.no_grad()
def class_vectors(sprites: Sprites, judge: nn.Module) -> Tensor:
    """Return the mean vector (S, D) of each subject in many pictures."""
    batches = [sprites.batch(256, SEED + 10**5 + number) for number in range(8)]
    vectors = torch.cat([judge(batch.pixels) for batch in batches])
    named = torch.cat([batch.subjects for batch in batches])
    means = [vectors[named == number].mean(0) for number in range(len(sprites.names))]
    return F.normalize(torch.stack(means), dim=1)


def found(vectors: Tensor, gallery: Tensor, named: Tensor) -> float:
    """Return the percentage of rows whose nearest subject is the named one."""
    return 100 * float(((vectors @ gallery.T).argmax(1) == named).float().mean())


def draw_toy(path: Path) -> None:
    """Draw points of students on the plane by each kind, and by regression, as an SVG."""
    from tests.lab.training.stages.test_distillation import MODES, points_of, regressed, trained

    found = {"regression": regressed(), **{kind.value: trained(kind) for kind in Kind}}
    panels = []
    for number, (name, (stage, student)) in enumerate(found.items()):
        rows = (90 + 30 * points_of(stage, student)[:400]).clamp(0, 180).round(decimals=1)
        places = "".join(f"M{x:g} {y:g}h0" for x, y in rows.tolist())
        marks = "".join(
            f'<circle cx="{90 + 30 * x:g}" cy="{90 + 30 * y:g}" r="12"/>' for x, y in MODES.tolist()
        )
        panels.append(
            f'<g transform="translate({200 * number})"><g fill="none" stroke="#c33">{marks}</g>'
            f'<path d="{places}" stroke="#36c" stroke-width="2" stroke-linecap="round"/>'
            f'<text x="90" y="196" text-anchor="middle">{name}</text></g>'
        )
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 580 204" font-family="sans-serif">'
    path.write_text(f'{head}<rect width="580" height="204" fill="#fff"/>{"".join(panels)}</svg>\n')


def main() -> None:
    """Train a teacher, measure students, or draw the toy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    teach = actions.add_parser("teacher")
    teach.add_argument("folder", type=Path)
    teach.add_argument("--autoencoder-s", type=float, default=150, help="seconds of processor time")
    teach.add_argument("--teacher-s", type=float, default=330)
    judged = actions.add_parser("measure")
    judged.add_argument("folder", type=Path)
    judged.add_argument("--student", action="append", default=[], metavar="NAME=UNET")
    judged.add_argument("--count", type=int, default=512)
    judged.add_argument("--guidance", type=float, default=2.0)
    toy = actions.add_parser("toy")
    toy.add_argument("file", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.action == "teacher":
        write_teacher(given.folder, autoencoder_s=given.autoencoder_s, teacher_s=given.teacher_s)
        return
    if given.action == "toy":
        draw_toy(given.file)
        return
    students = dict(one.split("=", 1) for one in given.student)
    measure(
        given.folder,
        {name: Path(place) for name, place in students.items()},
        count=given.count,
        guidance=given.guidance,
    )


if __name__ == "__main__":
    main()
