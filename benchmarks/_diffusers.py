"""The pipeline that people take without SwiftPie: diffusers, one step, with an IP-Adapter."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from benchmarks._models import ADAPTER
from benchmarks._scene import Scene, prompt
from benchmarks._timing import Round, timed
from swiftpie.engine.wrappers import shared_copy

INVERSION_TIMESTEP = 500  # as SwiftEdit's inversion network is told
FIRST_TIMESTEP = 999
MASK_THRESHOLD = 0.5  # of the difference of two noises; what it finds costs the same


class Pipeline(NamedTuple):
    """What draws, and what inverts."""

    drawing: Any  # diffusers' pipeline
    inversion: Any  # a U-Net without adapter


class Step(NamedTuple):
    """How much of picture and noise is in the latents of the first step."""

    alpha: float
    sigma: float


def pipeline_of(scene: Scene, *, dtype: torch.dtype) -> Pipeline:
    """Return diffusers' pipeline around the model of `scene`, its IP-Adapter loaded.

    The inversion network is a second U-Net; random weights need not be in memory twice for it.
    """
    folder = scene.folder / "pipeline"
    is_sdxl = scene.family == "sdxl"
    parts = {
        "vae": read(AutoencoderKL, scene, "pipeline/vae", dtype),
        "unet": read(UNet2DConditionModel, scene, "pipeline/unet", dtype),
        "text_encoder": read(CLIPTextModel, scene, "pipeline/text_encoder", dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "image_encoder": read(CLIPVisionModelWithProjection, scene, "image_encoder", dtype),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        ),
    }
    side = parts["image_encoder"].config.image_size
    parts["feature_extractor"] = CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    if is_sdxl:
        parts["text_encoder_2"] = read(
            CLIPTextModelWithProjection, scene, "pipeline/text_encoder_2", dtype
        )
        parts["tokenizer_2"] = CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
        pipeline = StableDiffusionXLPipeline(**parts)
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, requires_safety_checker=False
        )
    inversion = shared_copy(parts["unet"]).to(scene.device)
    pipeline.load_ip_adapter(
        str(scene.folder), subfolder="", weight_name=ADAPTER, image_encoder_folder=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return Pipeline(pipeline.to(scene.device), inversion)


def read(kind: Any, scene: Scene, name: str, dtype: torch.dtype) -> Any:  # noqa: ANN401 - any network
    """Return one network, from whichever variant of its file is there."""
    folder = scene.folder / name
    is_half = any(folder.glob("*.fp16.safetensors"))
    return kind.from_pretrained(
        folder, torch_dtype=dtype, variant="fp16" if is_half else None, local_files_only=True
    )


@dataclass(frozen=True, eq=False)
class Personalizing:
    """The pipeline as its documentation calls it."""

    pipeline: Any
    scene: Scene
    features: list[Tensor] | None = None  # of the reference; None encodes it at every call

    def __call__(self, number: int) -> Round:
        """Draw the subject once."""
        adapter: dict[str, Any] = {"ip_adapter_image_embeds": self.features}
        if self.features is None:
            adapter = {"ip_adapter_image": self.scene.on_white}
        sample, _ = timed(
            lambda: self.pipeline(
                prompt(number),
                num_inference_steps=1,
                guidance_scale=0.0,
                height=self.scene.side_px,
                width=self.scene.side_px,
                num_images_per_prompt=self.scene.batch,
                generator=torch.Generator().manual_seed(number),
                **adapter,
            ),
            self.scene.device,
        )
        return {"personalize": sample}


@torch.no_grad()
def features_of(pipeline: Any, scene: Scene) -> list[Tensor]:  # noqa: ANN401 - not annotated
    """Return what the adapter reads of the reference, for all calls to come."""
    found: list[Tensor] = pipeline.prepare_ip_adapter_image_embeds(
        scene.on_white, None, scene.device, 1, False
    )
    return found


@dataclass(frozen=True, eq=False)
class Editing:
    """SwiftEdit out of diffusers' modules: two inversions in one batch, then one generation."""

    networks: Pipeline
    scene: Scene

    def __call__(self, number: int) -> Round:
        """Edit a picture once; nothing is kept for later."""
        sample, _ = timed(lambda: self.edit(number), self.scene.device)
        return {"edit": sample}

    @torch.no_grad()
    def edit(self, number: int) -> Any:  # noqa: ANN401 - a list of pictures
        """Return the edited picture."""
        pipe, side, picture = self.networks.drawing, self.scene.side_px, self.scene.picture(number)
        pixels = pipe.image_processor.preprocess(picture, height=side, width=side)
        pixels = pixels.to(self.scene.device, pipe.vae.dtype)
        scale = pipe.vae.config.scaling_factor
        latents = pipe.vae.encode(pixels).latent_dist.mode() * scale
        both = [prompt(number), prompt(number, ahead=1)]
        text, _ = pipe.encode_prompt(both, self.scene.device, 1, False)
        noise = self.networks.inversion(
            latents.expand(2, -1, -1, -1), INVERSION_TIMESTEP, text
        ).sample
        source, target = noise.split(1)
        features = pipe.prepare_ip_adapter_image_embeds(picture, None, self.scene.device, 1, False)
        step = first_step(pipe.scheduler)
        start = step.alpha * latents + step.sigma * source
        predicted = pipe.unet(
            start, FIRST_TIMESTEP, text[1:], added_cond_kwargs={"image_embeds": features}
        ).sample
        clean = (start - step.sigma * predicted) / step.alpha
        changed = ((target - source).abs().mean(1, keepdim=True) > MASK_THRESHOLD).to(clean)
        decoded = pipe.vae.decode(torch.lerp(latents, clean, changed) / scale).sample
        return pipe.image_processor.postprocess(decoded)


def first_step(scheduler: EulerDiscreteScheduler) -> Step:
    """Return the factors of the noisiest timestep."""
    kept = float(scheduler.alphas_cumprod[-1])
    return Step(alpha=kept**0.5, sigma=(1 - kept) ** 0.5)
