"""Edits without an inversion network at full size: ours, a plain loop of ChordEdit, and img2img."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from torch import Tensor

from benchmarks._models import Scene, prompt
from benchmarks._timing import Round, timed
from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.pipelines.settings import ChordForm, EditMethod, EditSettings

CHORD = "chord"
FORMS = (ChordForm.FAST, ChordForm.CHORD)  # of ours; the plain loop has all calls of the paper
STRENGTH, STEPS = 0.5, 2  # of img2img, as SD-Turbo's page calls it: one pass of its U-Net
START, DELTA, END = 0.90, 0.15, 0.30  # times of the paper
TIMESTEPS = 1000


@dataclass(frozen=True, eq=False)
class OursByChord:
    """What SwiftPie's users call; a new session each time, so that nothing is known before."""

    components: Components
    scene: Scene
    form: ChordForm

    def __call__(self, number: int) -> Round:
        """Edit a picture that was never seen, in the region where the prompts differ."""
        side_px = self.scene.side_px
        settings = EditSettings(method=EditMethod.CHORD, chord=self.form, size_px=side_px)
        sample, _ = timed(
            lambda: Session(self.components).edit(
                self.scene.picture(number),
                prompt(number, ahead=1),
                source_prompt=prompt(number),
                seed=number,
                settings=settings,
            ),
            self.scene.device,
        )
        return {CHORD: sample}


@dataclass(frozen=True, eq=False)
class PlainChord:
    """The method out of diffusers' modules: one pass of the U-Net after the other, no mask."""

    pipeline: Any
    scene: Scene

    def __call__(self, number: int) -> Round:
        """Edit a picture once."""
        sample, _ = timed(lambda: self.edit(number), self.scene.device)
        return {CHORD: sample}

    @torch.no_grad()
    def edit(self, number: int) -> Any:  # noqa: ANN401 - a list of pictures
        """Return the edited picture."""
        pipe, side = self.pipeline, self.scene.side_px
        pixels = pipe.image_processor.preprocess(
            self.scene.picture(number), height=side, width=side
        )
        pixels = pixels.to(self.scene.device, pipe.vae.dtype)
        scale = pipe.vae.config.scaling_factor
        latents = pipe.vae.encode(pixels).latent_dist.mode() * scale
        both = [prompt(number), prompt(number, ahead=1)]
        text, _ = pipe.encode_prompt(both, self.scene.device, 1, False)
        random = torch.Generator().manual_seed(number)
        noise = torch.randn(latents.shape, generator=random).to(latents)

        def clean(latents: Tensor, time: float, row: int) -> Tensor:
            timestep = round((TIMESTEPS - 1) * time)
            kept = pipe.scheduler.alphas_cumprod[timestep]
            alpha, sigma = float(kept.sqrt()), float((1 - kept).sqrt())
            noisy = alpha * latents + sigma * noise
            predicted = pipe.unet(noisy, timestep, text[row : row + 1]).sample
            return (noisy - sigma * predicted) / alpha

        def drift(time: float) -> Tensor:
            return clean(latents, time, 1) - clean(latents, time, 0)

        way = (DELTA * drift(START) + START * drift(START - DELTA)) / (START + DELTA)
        decoded = pipe.vae.decode(clean(latents + way, END, 1) / scale).sample
        return pipe.image_processor.postprocess(decoded)


@dataclass(frozen=True, eq=False)
class ImageToImage:
    """Diffusers' own way to change a picture by a sentence in one pass, by noise alone."""

    pipeline: StableDiffusionImg2ImgPipeline
    scene: Scene

    @classmethod
    def of(cls, pipeline: Any, scene: Scene) -> "ImageToImage":  # noqa: ANN401 - not annotated
        """Return it around the networks of another pipeline."""
        made = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
        made.set_progress_bar_config(disable=True)
        return cls(made, scene)

    def __call__(self, number: int) -> Round:
        """Edit a picture once."""
        sample, _ = timed(
            lambda: self.pipeline(
                prompt(number, ahead=1),
                image=self.scene.picture(number),
                num_inference_steps=STEPS,
                strength=STRENGTH,
                guidance_scale=0.0,
                generator=torch.Generator().manual_seed(number),
            ),
            self.scene.device,
        )
        return {CHORD: sample}
