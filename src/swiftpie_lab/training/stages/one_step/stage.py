"""The one-step model, by regression on the renderer's own noise-to-picture map."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from swiftpie.attention.condition import MAP_PREFIX
from swiftpie.geometry.layout import Layout, whole_frame
from swiftpie.geometry.shading import Illumination, Lighting
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import iou, resize_mask, subject_extent
from swiftpie.mini.layout_predictor import LayoutPredictor
from swiftpie.mini.text_encoder import encode_tokens
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.denoiser import ReferenceFeatures, SubjectCondition, read_references
from swiftpie.models.network import Network
from swiftpie.types import TextCondition
from swiftpie_lab.training.context import PACKAGED, VALIDATION_SEED, Context
from swiftpie_lab.training.losses import (
    LAST_TIMESTEP,
    channel_weights,
    gradient_l1,
    layout_loss,
    light_loss,
    map_loss,
    masked_psnr_db,
    psnr_db,
    robust_and_squared,
    vote_loss,
)
from swiftpie_lab.training.stages.one_step.networks import (
    OneStepNetworks,
    Sizes,
    load_trained,
    lookup_loss,
    new_networks,
    noted_queries,
    train_tokenizer,
    trainable,
)
from swiftpie_lab.training.stages.one_step.tasks import (
    SEMANTIC_ALONE,
    Attempt,
    DenoiserInput,
    Drops,
    Outcome,
    References,
    SubjectInput,
    Tasks,
    TrainingTarget,
    TrainingTask,
    absent_subject,
    cells_of,
    condition_of,
    drop_conditions,
    perturbed_mask,
    random_region,
    refined_input,
    repainting,
    rows_where,
)
from swiftpie_world.captions import AS_USUAL, SpecShares
from swiftpie_world.sampler import World, WorldBatch
from swiftpie_world.subjects import Split

SCENERY_SEED = 2**29  # between the seeds of a step's batch and of its sceneries
TEACHER_FORCED = 0.6  # share of samples that get the true layout, not the predicted one
KNOWN_SUBJECTS = 0.5  # share of repainting batches that are given their subject's reference
LIGHT_WEIGHT = 0.3
REPAINTED = {TrainingTask.REPAINT, TrainingTask.INSERT}  # a part of their pictures is given
HAT_WEIGHT = 6.0  # weight of pixels that show a hat, which is small and in no reference


@dataclass(frozen=True)
class OneStepConfig:
    """Settings of the stage."""

    autoencoder: str = PACKAGED  # "mini", a run or a folder: what new networks read pictures with
    start: str = ""  # go on from "mini", a run or a folder of exported weights; else from nothing
    trained: tuple[str, ...] = ()  # parts of names of weights that go on training; () is all
    num_subjects: int = 8
    views: int = 4  # pictures that share one reference
    pixel_weight: float = 0.0  # weight of the loss in pixels; costs a decoder pass
    pixel_samples: int = 6
    subject_weight: float = 2.0  # extra weight of latent cells that show the subject
    lookup_weight: float = 0.0  # weight of the loss that teaches the semantic branch where to look
    # Pictures of held-out subjects, for figures and the picture of progress.
    validation_pictures: int = 36
    drops: Drops = field(default_factory=Drops)
    tasks: Tasks = field(default_factory=Tasks)
    other_sides: float = 0.0  # share of the batches that have two references
    sceneries: int = 0  # off-distribution pictures a step, whose light alone is learned
    shares: SpecShares = AS_USUAL  # how often pictures have each attribute
    size_px: int = 128
    grown_share: float = 0.0  # share of batches whose pictures have twice that size
    sizes: Sizes = field(default_factory=Sizes)  # sizes of networks that start from nothing

    def build(self, context: Context) -> "OneStepStage":
        stage = self._stage(context)
        if not self.grown_share:
            return stage
        config = replace(self, size_px=2 * self.size_px, grown_share=0.0)
        worlds = config.world(context, "train"), config.world(context, "held_out")
        return replace(
            stage, grown=replace(stage, world=worlds[0], held_out=worlds[1], config=config)
        )

    def _stage(self, context: Context) -> "OneStepStage":
        # A run that is missing is named before seconds go into the worlds.
        weights = context.weights_of(self.start) if self.start else None
        worlds = self.world(context, "train"), self.world(context, "held_out")
        if weights is None:
            autoencoder = context.autoencoder(self.autoencoder)
            tokenizer = train_tokenizer(worlds[0].corpus(), self.sizes)
            networks = new_networks(tokenizer, self.sizes).to(context.device)
        else:
            networks, autoencoder = load_trained(weights, device=context.device)
        return OneStepStage(*worlds, autoencoder, networks, config=self)

    def world(self, context: Context, split: Split) -> World:
        """Return what draws the pictures of one half of the subjects."""
        return context.world(
            split,
            size_px=self.size_px,
            has_surfaces=bool(self.tasks.insert or self.sceneries),
            shares=self.shares if split == "train" else AS_USUAL,
        )


@dataclass(frozen=True)
class OneStepStage:
    """Regress the latents of the picture that the renderer draws from the same noise."""

    world: World
    held_out: World
    autoencoder: PatchAutoencoder
    initial: OneStepNetworks  # what training starts from
    config: OneStepConfig
    grown: "OneStepStage | None" = None  # the same, of larger pictures

    @property
    def samples_per_step(self) -> int:
        return self.config.num_subjects * self.config.views

    def network(self) -> OneStepNetworks:
        return trainable(self.initial, self.config.trained)

    def losses(self, network: OneStepNetworks, step: int) -> dict[str, Tensor]:
        """Return latent, layout, mask, map and (if weighted) pixel terms."""
        return self.terms(network, self.attempt(network, step), step)

    def attempt(self, network: OneStepNetworks, step: int) -> Attempt:
        """Draw the batch of `step`, which also decides its task and its size."""
        return self._at(step).practise(network, self.drawn(step), step)

    def practise(self, network: OneStepNetworks, batch: WorldBatch, step: int) -> Attempt:
        """Predict the pictures of a batch, which `drawn` drew for `step`."""
        generator = torch.Generator().manual_seed(step)
        task = self._task(generator)
        run = self._repaint if task in REPAINTED else self._draw
        with fast_precision(batch.noise.device):
            answer, outcome = run(network, batch, step, task, generator)
            with torch.no_grad():
                target = self.autoencoder.encode(answer.pixels).float()
        return Attempt(answer, target, outcome)

    def drawn(self, step: int) -> WorldBatch:
        stage, config = self._at(step), self.config
        task = self._task(torch.Generator().manual_seed(step))
        is_free = task in {TrainingTask.PLACED_FREELY, TrainingTask.PAIR, TrainingTask.REPAINT}
        # Pictures to complete are read as references as well.
        views = max(1, config.views // 2) if task in REPAINTED else config.views
        return stage.world.batch(
            config.num_subjects,
            views,
            seed=step,
            free_places=is_free,
            pairs=task is TrainingTask.PAIR,
            off_distribution=task is TrainingTask.INSERT,
        )

    def _at(self, step: int) -> "OneStepStage":
        """Return the stage of the size that `step` has."""
        is_grown = self.grown is not None and Random(step).random() < self.config.grown_share
        return self.grown if self.grown is not None and is_grown else self

    def _task(self, generator: torch.Generator) -> TrainingTask:
        return self.config.tasks.choose(float(torch.rand((), generator=generator)))

    def terms(self, network: OneStepNetworks, attempt: Attempt, step: int) -> dict[str, Tensor]:
        """Return the weighted terms of what was drawn in `step`; see `losses`."""
        answer, target, outcome = attempt
        sample = outcome.prediction.sample.float()
        mask, cells = answer.masks.amax(dim=1, keepdim=True), cells_of(target)
        weight = 1 + self.config.subject_weight * resize_mask(mask, cells)
        weight = weight + HAT_WEIGHT * resize_mask(answer.hats, cells)
        weight = weight / weight.mean() * channel_weights(self.autoencoder)
        shape = F.interpolate(mask, size=outcome.prediction.subject_mask.shape[-2:], mode="area")
        guess = outcome.prediction.subject_mask.float().clamp(1e-5, 1 - 1e-5)
        terms = {
            "latents": robust_and_squared(sample, target, weight),
            "mask": 0.1 * F.binary_cross_entropy(guess, shape),
        }
        if outcome.scores is not None and answer.layout is not None:
            terms["layout"] = 0.3 * layout_loss(outcome.scores, answer.layout)
        if outcome.maps:
            terms["maps"] = 0.03 * map_loss(outcome.maps, answer.masks)
        if outcome.lighting is not None and answer.lighting is not None:
            terms["light"] = LIGHT_WEIGHT * light_loss(outcome.lighting, answer.lighting)
        if outcome.lookup is not None:
            terms["lookup"] = self.config.lookup_weight * outcome.lookup
        if self.config.sceneries:
            terms["votes"] = LIGHT_WEIGHT * self._votes(network, step)
        if self.config.pixel_weight:
            # Of some pictures, evenly spread over the subjects of the batch.
            chosen = slice(None, None, max(1, len(sample) // self.config.pixel_samples))
            with torch.autocast(sample.device.type, torch.bfloat16):
                decoded = self.autoencoder.decode(sample[chosen])
            truth = answer.pixels[chosen]
            loss = F.l1_loss(decoded.float(), truth) + gradient_l1(decoded.float(), truth)
            terms["pixels"] = self.config.pixel_weight * loss
        return terms

    def _votes(self, network: OneStepNetworks, step: int) -> Tensor:
        """Return how wrong cells are about the light, of pictures that are not drawn at all."""
        scenery = self.world.scenery(self.config.sceneries, seed=step + SCENERY_SEED)
        with fast_precision(scenery.given.device):
            votes = network.layout_predictor.light_reader.look(scenery.given)[1]
        return vote_loss(votes, scenery.light.illumination(), scenery.shows)

    def _draw(
        self,
        network: OneStepNetworks,
        batch: WorldBatch,
        step: int,
        task: TrainingTask,
        generator: torch.Generator,
    ) -> tuple[TrainingTarget, Outcome]:
        is_free = task in {TrainingTask.PLACED_FREELY, TrainingTask.PAIR}
        is_pair = task is TrainingTask.PAIR
        start, state = None, generator.get_state()
        if task is TrainingTask.REFINE:
            with torch.no_grad():
                draft = self.forward(
                    network, batch, generator, drops=self.config.drops, forced=1.0
                ).prediction.sample
            start = refined_input(batch.noise, draft, chance=step % 3)
            generator.set_state(state)  # the same conditions again
        is_alone = task is TrainingTask.SEMANTIC
        forced = 1.0 if is_free or is_alone or start is not None else TEACHER_FORCED
        drops = SEMANTIC_ALONE if is_alone else self.config.drops
        outcome = self.forward(network, batch, generator, drops=drops, forced=forced, start=start)
        masks = torch.cat([batch.mask, batch.companion_mask], dim=1) if is_pair else batch.mask
        # Where noise does not place the subject, there is nothing to predict.
        layout = None if is_free else batch.layout
        light = true_lighting(batch)
        return TrainingTarget(batch.noise, batch.pixels, masks, batch.worn, layout, light), outcome

    def _repaint(
        self,
        network: OneStepNetworks,
        batch: WorldBatch,
        step: int,
        task: TrainingTask,  # noqa: ARG002  all that it decides is in the batch
        generator: torch.Generator,
    ) -> tuple[TrainingTarget, Outcome]:
        """Complete pictures of which a part is given, with or without their subject's reference.

        The given part is one more subject, seen in the frame of the picture itself.
        """
        knows_subject = bool(torch.rand((), generator=generator) < KNOWN_SUBJECTS)
        wanted = repainting(batch, seed=step, may_empty=not knows_subject)
        given, text = 1 - wanted.allowed, self.encode_text(network, wanted.captions)
        frame = self._read(network, wanted.pixels * given, given)
        drops = self.config.drops
        fewer = replace(drops, aligned=drops.aligned / 2, detail=drops.detail / 2)
        region = resize_mask(given, cells_of(batch.noise))
        shown = [
            drop_conditions(
                frame, whole_frame(given), region, drops=fewer, views=1, generator=generator
            )
        ]
        if knows_subject:
            chance = float(torch.rand((), generator=generator))
            subject = self.subject_input(
                network,
                batch,
                generator,
                text=text,
                noise=wanted.noise,
                layout=batch.layout,
                drops=drops,
                mask_chance=chance,
                given=torch.cat([wanted.pixels * given, given], dim=1),
            )
            shown.insert(0, subject)
        condition = condition_of(shown, batch.noise, autoencoder=self.autoencoder)
        prediction = network.denoiser(wanted.noise, LAST_TIMESTEP, text, condition, {})
        lighting = true_lighting(batch)
        answer = TrainingTarget(
            wanted.noise, wanted.pixels, wanted.mask, wanted.hats, None, lighting
        )
        return answer, Outcome(prediction, None, [], shown[0].lighting)

    def forward(
        self,
        network: OneStepNetworks,
        batch: WorldBatch,
        generator: torch.Generator,
        *,
        drops: Drops,
        forced: float = 0.0,
        start: DenoiserInput | None = None,
    ) -> Outcome:
        """Predict `batch`, with conditions dropped by `generator` as often as `drops` says.

        `forced` is the share of samples that get the true layout instead of the predicted one;
        `start` is what enters the denoiser, if not the noise of the first step.
        """
        start = start or DenoiserInput(batch.noise, LAST_TIMESTEP)
        text = self.encode_text(network, batch.captions)
        extent = subject_extent(batch.reference_mask).repeat_interleave(self.config.views, dim=0)
        scores = network.layout_predictor(batch.noise, text.pooled, extent)
        if float(torch.rand((), generator=generator)) < drops.everything:
            condition = absent_subject(batch.noise, width=text.pooled.shape[1])
            return Outcome(network.denoiser(*start, text, condition, {}), scores, [], None)
        known = torch.rand(len(extent), generator=generator) < forced
        guess = (value.detach() for value in scores.layout)
        layout = Layout(*rows_where(known.to(extent.device), batch.layout, guess))
        views = self.config.views
        chance = float(torch.rand((), generator=generator))
        shown = [
            self.subject_input(
                network,
                batch,
                generator,
                text=text,
                noise=batch.noise,
                layout=layout,
                drops=drops,
                mask_chance=chance,
                other=self._other_sides(network, batch, generator),
            )
        ]
        if batch.companion_layout is not None:
            rows = torch.arange(len(batch.noise), device=batch.noise.device).roll(views)
            region = random_region(batch.companion_mask, cells_of(batch.noise), generator=generator)
            read, place = shown[0].references.select(rows), batch.companion_layout
            lighting = shown[0].lighting
            if lighting is not None:  # their own light comes with them
                lighting = lighting._replace(own=lighting.select(rows).own)
            shown.append(
                drop_conditions(
                    read,
                    place,
                    region,
                    drops=drops,
                    views=views,
                    generator=generator,
                    lighting=lighting,
                )
            )
        condition = condition_of(shown, batch.noise, autoencoder=self.autoencoder)
        notes: dict[str, Tensor] = {}
        with noted_queries(network.denoiser) as queries:
            prediction = network.denoiser(*start, text, condition, notes)
        maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
        looked = self._lookup(network, queries, condition, batch)
        return Outcome(prediction, scores, maps, shown[0].lighting, looked)

    def _lookup(
        self,
        network: OneStepNetworks,
        queries: dict[str, Tensor],
        condition: SubjectCondition,
        batch: WorldBatch,
    ) -> Tensor | None:
        if not self.config.lookup_weight:
            return None
        grid = int(network.image_encoder.config.grid)
        attention = condition.attention
        return lookup_loss(network.denoiser, queries, attention, batch.mask, grid=grid)

    def subject_input(
        self,
        network: OneStepNetworks,
        batch: WorldBatch,
        generator: torch.Generator,
        *,
        text: TextCondition,
        noise: Tensor,
        layout: Layout,
        drops: Drops,
        mask_chance: float,
        other: References | None = None,
        given: Tensor | None = None,
    ) -> SubjectInput:
        """Return the subjects of `batch` as the denoiser reads them, with conditions dropped.

        The light in the pictures is read from `text`, `noise` (B rows) and what is `given` of the
        pictures, (B, 4, R, R). `mask_chance` in [0, 1) decides how imperfect the masks of
        references are; `other` is a second reference of each subject.
        """
        mask = perturbed_mask(batch.reference_mask, mask_chance)
        detail = drops.detail < 1
        read = self._read(network, batch.reference * mask, mask, reads_detail=detail)
        if other is not None:
            read = read.with_another(other)
        views = len(batch.noise) // len(mask)
        rows = torch.arange(len(mask), device=mask.device).repeat_interleave(views)
        region = random_region(batch.mask, cells_of(batch.noise), generator=generator)
        chosen = read.select(rows)
        lighting = network.layout_predictor.light(
            noise, text.pooled, pixels=chosen.pixels, mask=chosen.mask[:, :1], given=given
        )
        return drop_conditions(
            chosen, layout, region, drops=drops, views=views, generator=generator, lighting=lighting
        )

    def _other_sides(
        self, network: OneStepNetworks, batch: WorldBatch, generator: torch.Generator
    ) -> References | None:
        if not self.config.other_sides:
            return None
        chance, seed = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        if chance >= self.config.other_sides:
            return None
        pixels, mask = self.world.other_sides(batch, seed=int(seed * 2**31))
        return self._read(network, pixels * mask, mask)

    def _read(
        self, network: OneStepNetworks, pixels: Tensor, mask: Tensor, *, reads_detail: bool = True
    ) -> References:
        if not reads_detail:  # it takes as long as a picture
            tokens = network.image_encoder(pixels, mask)
            return References(pixels, mask, ReferenceFeatures(tokens, tokens[:, 0], {}, {}))
        parts = network.denoiser, network.image_encoder, self.autoencoder
        empty = self.encode_text(network, [""])
        features = read_references(*parts, pixels=pixels, mask=mask, empty_text=empty)
        return References(pixels, mask, features)

    def encode_text(self, network: OneStepNetworks, prompts: list[str]) -> TextCondition:
        tokens, device = network.tokenizer(prompts), self.world.tiles.device
        ids, mask = (
            torch.tensor(tokens[name], device=device) for name in ("input_ids", "attention_mask")
        )
        return encode_tokens(network.text_encoder, ids, mask)

    @torch.no_grad()
    def sample(self, network: OneStepNetworks, path: Path) -> dict[str, float]:
        """Save reference, one-step picture and truth of held-out subjects; return figures."""
        count = self.config.validation_pictures
        batch = self.held_out.batch(count, 1, seed=VALIDATION_SEED, augment=False)
        always = replace(self, config=replace(self.config, views=1, other_sides=0.0))
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            generator = torch.Generator().manual_seed(3)
            outcome = always.forward(network, batch, generator, drops=Drops(0, 0, 0, 0))
        pixels = self.autoencoder.decode(outcome.prediction.sample.float()).clamp(-1, 1)
        shown = (batch.reference, pixels, batch.pixels)
        rows = [to_pil(x[i : i + 12]) for i in range(0, count, 12) for x in shown]
        contact_sheet(rows, cell_px=128).save(path)
        mask = resize_mask(outcome.prediction.subject_mask.float(), cells_of(pixels))
        figures = {
            "psnr_db": psnr_db(pixels, batch.pixels),
            "mask_iou": float(iou(mask, batch.mask).mean()),
            **subject_figures(pixels, batch),
        }
        if self.config.tasks.semantic:
            with torch.autocast(batch.pixels.device.type, torch.bfloat16):
                alone = always.forward(
                    network, batch, generator, drops=SEMANTIC_ALONE, forced=1.0
                ).prediction.sample
            seen = self.autoencoder.decode(alone.float()).clamp(-1, 1)
            figures["semantic_psnr_db"] = subject_figures(seen, batch)["subject_psnr_db"]
        if self.grown is not None:
            grown = self.grown.sample(network, path.with_stem(f"{path.stem}_grown"))
            figures |= {f"grown_{name}": value for name, value in grown.items()}
        return figures

    def export(self, network: OneStepNetworks, folder: Path) -> None:
        """Write the denoiser in eight bits a weight, and every other part in float16.

        The folder is ready to ship: it is what a preset of the tiny family loads.
        """
        parts = dict(copy.deepcopy(network).half().named_children())
        del parts["denoiser"]
        parts["autoencoder"] = copy.deepcopy(self.autoencoder).half()
        network.denoiser.save_in_eight_bits(folder / "denoiser")
        for name, part in parts.items():
            assert isinstance(part, Network)
            part.save_pretrained(folder / name)
        network.tokenizer.save_pretrained(folder / "tokenizer")

    def export_with(self, predictor: LayoutPredictor, folder: Path) -> None:
        """Write the networks that it starts from with another layout predictor."""
        networks = copy.deepcopy(self.initial)
        networks.layout_predictor = predictor
        self.export(networks, folder)


def true_lighting(batch: WorldBatch) -> Lighting:
    """Return the lights that the pictures of `batch` were drawn in."""
    own = batch.reference_light.illumination()
    views = len(batch.noise) // len(batch.reference)
    repeated = Illumination(*(value.repeat_interleave(views, dim=0) for value in own))
    return Lighting(repeated, batch.light.illumination())


def subject_figures(pixels: Tensor, batch: WorldBatch) -> dict[str, float]:
    """Return how well pictures (B, 3, R, R) show the subjects of `batch`, and their sharpness."""
    subject = masked_psnr_db(pixels, batch.pixels, batch.mask)
    steps = (pixels.diff(dim=-1).abs().mean(), batch.pixels.diff(dim=-1).abs().mean())
    return {"subject_psnr_db": float(subject.mean()), "sharpness": float(steps[0] / steps[1])}


@contextmanager
def fast_precision(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16, with the attention whose backward pass is fast on small grids."""
    kept = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # else it counts in float32
        try:
            yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(kept)
