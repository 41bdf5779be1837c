"""What EchoDistill teaches a one-step student of a small model, beside `tune` in the same time.

Run `python -m benchmarks.echoes FOLDER --student UNET` with the teacher and a student of
`benchmarks.distillation`. Three subjects are new to all networks. Four pictures of each show it on
white and green; it is then drawn on red and blue, which no tuning sees. First an image encoder
learns the vectors of other sprites, and an adapter the 20 subjects of the teacher: `tune` needs
both, EchoDistill the first. What was trained is kept in `--out`, and the same command goes on.

Seconds are those of the processor with one thread. *Likeness* is the cosine of the judge's vector
to the mean one of true pictures, both with the ground put at grey, *found* the share in which the
subject is nearest among 23, *ground* the share whose border has the colour that the prompt names.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

import swiftpie
from benchmarks._machine import tell
from benchmarks.distillation import (
    COLOURS,
    NEW_SUBJECT,
    SEED,
    SIDE_PX,
    SUBJECTS,
    Drawer,
    Sprites,
    draw,
    noise_of,
    steps_within,
)
from swiftpie.backbones.choices import DetailForm
from swiftpie.cli.console import write_table
from swiftpie.engine.session import Session
from swiftpie.imageio.images import contact_sheet, to_pil, to_tensor
from swiftpie.library import ASSETS, PACK
from swiftpie.models.text import TextTower
from swiftpie.models.vision import ClipIdentityEncoder, Feature
from swiftpie.pipelines.settings import TuneSettings
from swiftpie.pipelines.tuning import tune
from swiftpie.types import Identity
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.judges import shipped_embedder
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.training.context import SINGLE_PROCESS, Context
from swiftpie_lab.training.loop import LoopConfig, TrainingRun, fit
from swiftpie_lab.training.recipes.published import PLAIN
from swiftpie_lab.training.stages.adapter.networks import LossWeights
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig
from swiftpie_lab.training.stages.echo import LORA_FILE, WORD_FILE, EchoConfig, Echoes

NEW = {"leopard": "tiger", "boar": "pig", "hedgehog": "rabbit"}  # and what prompts call them
WORD = NEW_SUBJECT  # a token that no text had in training
SHOWN, HELD_OUT = ("white", "green"), ("red", "blue")  # grounds
NUM_SHOWN, NUM_DRAWN = 4, 32  # pictures of a subject, and drawn of it
EYES_PX, EYES_WIDTH = 64, 96
SAME_COLOUR = 0.45  # distance of two colours below which a pixel is ground
ECHO_RATES = (1e-4, 5e-4, 1e-3)  # The word has 10 times the first: by 50 no ground was right.
Look = Callable[[Tensor], Tensor]


class Place(NamedTuple):
    """Where everything is."""

    teacher: Path
    student: Path
    out: Path

    @property
    def adapter(self) -> Path:
        """What `train_adapter` writes."""
        return self.out / "adapter" / "export" / "adapter.safetensors"

    @property
    def choices(self) -> dict[str, Any]:
        """What loads the student, with the eyes of the adapter."""
        return {"preset": "swiftbrush-v2", "weights": self.student, "base": str(self.teacher)}

    @property
    def training(self) -> dict[str, Any]:
        """Settings of each stage that trains for the student."""
        plain = {"size_px": SIDE_PX, "checkpointing": False, "mixed_precision": False}
        return {"image_encoder": self.out / "eyes", **plain, **self.choices}


def train_eyes(place: Place, seconds: float) -> None:
    """Train a small tower of CLIP's kind to see what the judge sees in sprites that are not new."""
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=EYES_WIDTH,
        intermediate_size=2 * EYES_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=EYES_PX,
        patch_size=8,
        projection_dim=shipped_embedder().config.dimensions,
    )
    eyes = ClipIdentityEncoder(CLIPVisionModelWithProjection(config), nn.Identity(), Feature.EMBEDS)
    known = [name for name in dict.fromkeys(load_subjects(ASSETS / PACK).names) if name not in NEW]
    sprites, judge = Sprites(known), shipped_embedder()
    for step in steps_within(seconds, list(eyes.parameters()), 1e-3):
        pixels = sprites.batch(48, step).pixels
        with torch.no_grad():
            wanted = judge(pixels)
        seen = eyes(pixels, torch.ones_like(pixels[:, :1]))
        loss = (1 - F.cosine_similarity(seen, wanted, dim=1)).mean()
        loss.backward()
        if step % 50 == 0:
            tell(f"eyes, step {step}: {float(loss.detach()):.3f}")
    eyes.tower.save_pretrained(place.out / "eyes")


def write_pictures(folder: Path, names: Sequence[str], *, each: int, on: Sequence[str]) -> None:
    """Write pictures of subjects over plain colours, a folder a subject, with their masks."""
    for name in names:
        sprites, count, draw = Sprites([name]), 0, 0
        (folder / name).mkdir(parents=True, exist_ok=True)
        while count < each:
            batch = sprites.batch(1, draw)
            draw += 1
            ground = batch.prompts[0].rpartition(" ")[2]
            if ground in on:
                path = folder / name / f"{count}.png"
                (picture,) = to_pil(batch.pixels)
                picture.save(path)
                mask = off_ground(to_tensor(picture), ground)[0, 0] * 255
                Image.fromarray(mask.byte().numpy()).save(path.with_suffix(".mask.png"))
                path.with_suffix(".txt").write_text(
                    batch.prompts[0].replace(name, NEW.get(name, name))
                )
                count += 1


def off_ground(pixels: Tensor, ground: str) -> Tensor:
    """Return where pixels (B, 3, H, W) have another colour than their ground, (B, 1, H, W)."""
    colour = torch.tensor(COLOURS[ground])[:, None, None]
    return ((pixels - colour).norm(dim=1, keepdim=True) > SAME_COLOUR).float()


def train_adapter(place: Place, seconds: float) -> None:
    """Train both branches for the student, on the subjects that it knows."""
    write_pictures(place.out / "photos", SUBJECTS, each=12, on=[*COLOURS])
    stage = AdapterConfig(
        data=place.out / "photos",
        batch_size=12,
        pixel_samples=12,
        loss=LossWeights(adversarial=0.0),
        **place.training,
    ).build(Context(place.out, place.out, "cpu"))
    loop = loop_of(place, stage, seconds, rates=(1e-3, 1e-3), name="adapter")
    for event in fit(stage, loop, place.out / "adapter"):
        tell(f"adapter, step {event.step}: {event.losses}")


def loop_of(
    place: Place, stage: object, seconds: float, *, rates: tuple[float, ...], name: str
) -> LoopConfig:
    """Return settings for as many steps as `seconds` of this process hold; they are kept."""
    path = place.out / f"{name}.json"
    loop = LoopConfig(
        10, rates[0], rates, warmup_steps=5, ema_decay=0.95, uses_muon=False, adam=PLAIN
    )
    loop = replace(loop, log_every=50, sample_every=10**6, save_every=50)
    if not path.is_file():
        run = TrainingRun.start(stage, loop, SINGLE_PROCESS)  # type: ignore[arg-type]
        run.train(0, 0.0)
        began = time.process_time()
        for step in range(1, 4):
            run.train(step, 0.0)
        took = (time.process_time() - began) / 3
        path.write_text(json.dumps({"steps": max(20, int(seconds / took)), "step_s": took}))
    return replace(loop, steps=json.loads(path.read_text())["steps"])


def echo(place: Place, name: str, seconds: float) -> Path:
    """Tune teacher and student to one subject; return the folder of the result."""
    photos, out = place.out / "new" / name, place.out / f"echo-{name}"
    config = EchoConfig(
        data=photos,
        noun=NEW[name],
        word=WORD,
        word_speed=10.0,
        opening="a",
        places=tuple(f"on {ground}" for ground in SHOWN),
        teacher=place.teacher / "unet",
        batch_size=4,
        adversarial_steps=50,
        **place.training,
    )
    stage = config.build(Context(place.out, place.out, "cpu"))
    loop = loop_of(place, stage, seconds, rates=ECHO_RATES, name=f"echo-{name}")
    echoes = Echoes(first_step=loop.steps // 2, draw_every=max(1, loop.steps // 4))
    stage = replace(stage, config=replace(config, echoes=echoes))
    for event in fit(stage, loop, out):
        tell(f"EchoDistill, {name}, step {event.step}: {event.losses}")
    return out / "export"


def tuned(session: Session, identity: Identity, seconds: float, path: Path) -> Identity:
    """Return the subject tuned for as long; kept in a file."""
    if not path.is_file():
        began = time.process_time()
        settings = TuneSettings(steps=5000, num_scenes=8)
        prompts = [f"a {NEW[path.stem]} on {ground}" for ground in SHOWN]
        found = tune(
            session.components,
            identity,
            settings,
            prompts=prompts,
            on_event=lambda _: time.process_time() - began >= seconds,
        )
        session.save_identity(found, path)
        tell(f"tune, {path.stem}: {found.tuned}, {time.process_time() - began:.0f} s")
    return session.load_identity(path)


class Judge:
    """What is measured of drawn pictures."""

    def __init__(self) -> None:
        self.embed = shipped_embedder()
        self.names = [*SUBJECTS, *(name for name in NEW if name not in SUBJECTS)]
        with torch.no_grad():
            self.gallery = torch.stack([self._mean(name) for name in self.names])

    def _mean(self, name: str) -> Tensor:
        batch = Sprites([name]).batch(128, SEED + 10**5)
        grounds = [prompt.rpartition(" ")[2] for prompt in batch.prompts]
        rows = [
            self.see(row[None], ground) for row, ground in zip(batch.pixels, grounds, strict=True)
        ]
        return F.normalize(torch.cat(rows).mean(0), dim=0)

    def see(self, pixels: Tensor, ground: str) -> Tensor:
        """Return vectors (B, D) of pictures whose ground is put at grey."""
        return self.embed(pixels * off_ground(pixels, ground)).detach()

    def row(self, pixels: dict[str, Tensor], name: str) -> dict[str, list[float]]:
        """Return likeness, found and ground of pictures of one subject by their ground."""
        likeness, found, right = [], [], []
        number = self.names.index(name)
        for ground, drawn in pixels.items():
            near = self.see(drawn, ground) @ self.gallery.T
            likeness += near[:, number].tolist()
            found += (near.argmax(1) == number).float().tolist()
            right += (nearest_colour(drawn) == [*COLOURS].index(ground)).float().tolist()
        return {"likeness": likeness, "found": found, "ground": right}


def nearest_colour(pixels: Tensor) -> Tensor:
    """Return which colour the border of pictures has (B,), by its median."""
    edge = torch.cat([pixels[..., 0, :], pixels[..., -1, :], pixels[..., 0], pixels[..., -1]], 2)
    colours = torch.tensor([*COLOURS.values()])
    return (edge.median(2).values[:, None] - colours).norm(dim=2).argmin(1)


@torch.no_grad()
def drawn_by(
    place: Place, unet: UNet2DConditionModel, text: TextTower, said: str, *, num_steps: int
) -> dict[str, Tensor]:
    """Return pictures of `said` on each held-out ground."""
    autoencoder = AutoencoderKL.from_pretrained(place.teacher / "vae").eval()
    drawer = Drawer(unet.eval(), num_steps, 2.0 if num_steps > 1 else 1.0)
    pictures = {}
    for ground in HELD_OUT:
        prompts = [f"{said} on {ground}"] * NUM_DRAWN
        latents = draw(drawer, text, prompts, noise_of(1)[:NUM_DRAWN])
        decoded = autoencoder.decode(latents / autoencoder.config.scaling_factor).sample
        pictures[ground] = decoded.clamp(-1, 1)
    return pictures


def networks(
    place: Place, unet: Path, changes: Path | None, kind: str
) -> tuple[UNet2DConditionModel, TextTower]:
    """Return a U-Net and the text encoder, with what EchoDistill changed of them."""
    network = UNet2DConditionModel.from_pretrained(unet, torch_dtype=torch.float32)
    encoder = CLIPTextModel.from_pretrained(place.teacher / "text_encoder").eval()
    text = TextTower(CLIPTokenizer.from_pretrained(place.teacher / "tokenizer"), encoder)
    if changes is not None:
        from safetensors.torch import load_file

        network.load_lora_adapter(str(changes / kind), weight_name=LORA_FILE, prefix="unet")
        ids = text.tokenizer(WORD, add_special_tokens=False).input_ids
        vectors = load_file(changes / WORD_FILE)[WORD]
        encoder.get_input_embeddings().weight.data[ids] = vectors
    return network, text


def drawn_of(session: Session, identity: Identity, name: str) -> dict[str, Tensor]:
    """Return pictures of an identity on each held-out ground."""
    pictures = {}
    for ground in HELD_OUT:
        prompt = f"a {NEW[name]} on {ground}"
        rows = [
            session.personalize(identity, prompt, seed=start, num_images=16).images
            for start in range(0, NUM_DRAWN, 16)
        ]
        pictures[ground] = torch.cat([to_tensor(image) for row in rows for image in row])
    return pictures


def measure(place: Place, judge: Judge, seconds: float) -> None:
    """Print what each way gives, after each subject, and save a sheet of pictures."""
    rows: dict[str, list[dict[str, list[float]]]] = {}
    sheet: list[list[Image.Image]] = []
    session = session_of(place, place.adapter)
    for name, noun in NEW.items():
        plain = encoded(place, session, name)
        changes = echo(place, name, seconds)
        ways = {
            "student, noun alone": (place.student, None, "", 1),
            "student, EchoDistill": (place.student, changes, "student", 1),
            "its teacher, 20 steps": (place.teacher / "unet", changes, "teacher", 20),
        }
        found = {}
        for way, (unet, change, kind, num_steps) in ways.items():
            said = f"a {noun}" if change is None else f"a {WORD} {noun}"
            found[way] = drawn_by(
                place, *networks(place, unet, change, kind), said, num_steps=num_steps
            )
        found["student, adapter"] = drawn_of(session, plain, name)
        spid = place.out / f"{name}.spid"
        found["student, adapter, `tune`"] = drawn_of(
            session, tuned(session, plain, seconds, spid), name
        )
        sheet.append(to_pil(plain.pixels) * 2)
        for way, pictures in found.items():
            rows.setdefault(way, []).append(judge.row(pictures, name))
            sheet.append([image for drawn in pictures.values() for image in to_pil(drawn[:4])])
        contact_sheet(sheet, cell_px=SIDE_PX).save(place.out / "sheet.png")
        show(rows)


def compare_details(place: Place, judge: Judge) -> None:
    """Print what untrained detail branches add to the adapter's semantic branch."""
    from safetensors.torch import load_file, save_file

    path, rows = place.out / "semantic.safetensors", {}
    tensors = load_file(place.adapter)
    save_file({name: each for name, each in tensors.items() if "ref." not in name}, path)
    forms: tuple[DetailForm, ...] = ("none", "matched", "joint")
    for form in forms:
        session = session_of(place, path, detail=form)
        drawn = ((name, drawn_of(session, encoded(place, session, name), name)) for name in NEW)
        rows[f"semantic branch, detail {form}"] = [
            judge.row(pixels, name) for name, pixels in drawn
        ]
    show(rows)


def session_of(place: Place, adapter: Path, *, detail: DetailForm | None = None) -> Session:
    """Return the student with an adapter, at the size of its pictures."""
    eyes = str(place.out / "eyes")
    loaded = swiftpie.load(adapter=str(adapter), image_encoder=eyes, detail=detail, **place.choices)
    preset = replace(loaded.components.preset, image_size_px=SIDE_PX)
    return Session(replace(loaded.components, preset=preset))


def encoded(place: Place, session: Session, name: str) -> Identity:
    """Return a new subject by its pictures, which `write_pictures` wrote with their masks."""
    photos = sorted((place.out / "new" / name).glob("?.png"))
    return session.encode_identity(photos, masks=[each.with_suffix(".mask.png") for each in photos])


def show(rows: dict[str, list[dict[str, list[float]]]]) -> None:
    """Print means over all pictures, and the likeness of each subject."""
    lines = []
    for way, found in rows.items():
        cells = []
        for head in ("likeness", "found", "ground"):
            values = [value for row in found for value in row[head]]
            unit = "" if head == "likeness" else "%"
            cells.append(format_interval(interval(values), unit=unit))
        each = ", ".join(f"{interval(row['likeness']).mean:.2f}" for row in found)
        lines.append((way, *cells, each))
    heads = ("drawn by", "likeness", "found", "ground", f"likeness of {', '.join(NEW)}")
    write_table([heads, *lines])


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--student", type=Path, required=True, metavar="UNET")
    parser.add_argument("--out", type=Path, default=Path("out/echoes"))
    parser.add_argument("--eyes-s", type=float, default=90, help="seconds of processor time")
    parser.add_argument("--adapter-s", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=90, help="for each subject and way")
    parser.add_argument("--details", action="store_true", help="forms of the detail branch alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    place = Place(given.teacher, given.student, given.out)
    place.out.mkdir(parents=True, exist_ok=True)
    if not (place.out / "eyes").is_dir():
        train_eyes(place, given.eyes_s)
    if not place.adapter.is_file():
        train_adapter(place, given.adapter_s)
    write_pictures(place.out / "new", [*NEW], each=NUM_SHOWN, on=SHOWN)
    if given.details:
        compare_details(place, Judge())
    else:
        measure(place, Judge(), given.seconds)


if __name__ == "__main__":
    main()
