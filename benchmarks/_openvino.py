"""The strongest peer: diffusers' own modules in OpenVINO, nothing kept between calls.

They are exported, compiled and called just as SwiftPie's own networks are, so that only what is
computed differs.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks._diffusers import FIRST_TIMESTEP, first_step, pipeline_of
from benchmarks._models import TINY_DECODER
from benchmarks._scene import Scene, prompt
from benchmarks._timing import Round, timed
from swiftpie.engine.openvino.export import Function
from swiftpie.engine.openvino.graphs import GraphCache, GraphStore


@dataclass(frozen=True, eq=False)
class Networks:
    """A pipeline's networks as functions of plain tensors, and what comes before and after them."""

    pipeline: Any
    graphs: GraphCache
    text: Function
    image: Function
    denoiser: Function
    decoders: dict[str, Function]


def networks_of(scene: Scene, tiny: Any, folder: Path) -> Networks:  # noqa: ANN401 - not annotated
    """Return the model of `scene`, to be exported into the `folder` at its first call."""
    pipeline = pipeline_of(scene, dtype=scene.dtype).drawing
    made = partial(Function, weights=str(scene))  # the folder holds graphs of this model alone
    return Networks(
        pipeline,
        GraphCache(GraphStore(folder), settings="peer"),
        text=made("text", pipeline.text_encoder, compute=_text),
        image=made("image", pipeline.image_encoder, compute=_image),
        denoiser=made("unet", pipeline.unet, compute=_predict),
        decoders={
            "full": made("vae", pipeline.vae, compute=_decode),
            "tiny": made(TINY_DECODER, tiny, compute=_decode),
        },
    )


def without_weights(networks: Networks) -> None:
    """Forget the weights in torch, which only exporting needs; all graphs have to be there."""
    for one in (networks.text, networks.image, networks.denoiser, *networks.decoders.values()):
        one.network.to("meta")


@dataclass(frozen=True, eq=False)
class OpenvinoPersonalizing:
    """One picture from a prompt and a reference, both read at every call."""

    networks: Networks
    scene: Scene
    decoder: str

    def __call__(self, number: int) -> Round:
        """Draw the subject once."""
        sample, _ = timed(lambda: self.draw(number), self.scene.device)
        return {"personalize": sample}

    @torch.no_grad()
    def draw(self, number: int) -> list[Image.Image]:
        """Return the picture."""
        nets, pipe, call = self.networks, self.networks.pipeline, self.networks.graphs.call
        tokens = pipe.tokenizer(
            prompt(number), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        (text,) = call(nets.text, tokens)
        pixels = pipe.feature_extractor(self.scene.on_white, return_tensors="pt").pixel_values
        (features,) = call(nets.image, pixels)
        side = self.scene.side_px // pipe.vae_scale_factor
        noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(number))
        step = first_step(pipe.scheduler)
        told = torch.tensor(FIRST_TIMESTEP)
        (predicted,) = call(nets.denoiser, noise, told, text, features)
        clean = (noise - step.sigma * predicted) / step.alpha
        (decoded,) = call(nets.decoders[self.decoder], clean)
        pictures: list[Image.Image] = pipe.image_processor.postprocess(decoded)
        return pictures


def _text(encoder: Any, tokens: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (encoder(input_ids=tokens).last_hidden_state,)


def _image(encoder: Any, pixels: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (encoder(pixels.to(encoder.dtype)).image_embeds[:, None],)


def _predict(
    unet: Any,  # noqa: ANN401 - not annotated
    latents: Tensor,
    timestep: Tensor,
    text: Tensor,
    features: Tensor,
) -> tuple[Tensor, ...]:
    dtype = unet.dtype
    added = {"image_embeds": [features.to(dtype)]}
    return (unet(latents.to(dtype), timestep, text.to(dtype), added_cond_kwargs=added).sample,)


def _decode(vae: Any, latents: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample,)
