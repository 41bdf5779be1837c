"""The pipelines of diffusers around the networks of a preset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.load.ip_adapter import SAVED
from swiftpie.backbones.load.safe import read_tensors
from swiftpie.backbones.presets import Preset, WeightsKind
from swiftpie.imageio.images import to_pil
from swiftpie.models.denoiser import without_branches
from swiftpie.noise import draw_noise

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
NUM_FRAMES = 2  # Frames: the fewest that read each other.


class Reference(NamedTuple):
    """The subject's picture as networks see it."""

    pixels: Tensor  # (1, 3, S, S) in [-1, 1], as large as a picture of the preset
    seen: Tensor | None  # (1, 3, s, s), as the image encoder reads it; None where there is none
    face: Tensor | None  # (1, F), the vector of a face; None where no adapter reads one


@dataclass(frozen=True)
class Peer:
    """A pipeline of diffusers, ready to draw."""

    pipeline: Any
    preset: Preset
    call: Mapping[str, Any]  # keywords of every call
    takes_noise: bool = False  # or the generators of the seeds
    reads_pictures: bool = False  # whether `image=` takes references
    adapter: Mapping[str, Any] | None = None  # tensors of an IP-Adapter

    @torch.no_grad()
    def draw(self, prompt: str, *, seed: int, **changes: Any) -> Tensor:  # noqa: ANN401 - of diffusers
        """Return a picture from text alone, or with what `changes` add: (3, H, W) in [0, 1].

        Frames of an animation stand beside each other.
        """
        side, preset = self.preset.image_size_px, self.preset
        generator = torch.Generator().manual_seed(seed)
        start: dict[str, Any] = {"generator": [generator]}
        if self.takes_noise:
            cells = side // preset.latent_cell_px
            noise = draw_noise([seed], (preset.latent_channels, cells, cells))
            start = {"latents": noise.to(self.pipeline.device, self.pipeline.dtype)}
        [drawn], *_ = self.pipeline(
            prompt=prompt,
            height=side,
            width=side,
            output_type="pt",
            return_dict=False,
            **start,
            **self.call,
            **changes,
        )
        return beside(drawn.reshape(-1, *drawn.shape[-3:])).float().cpu()

    def draw_subject(self, prompt: str, reference: Reference, *, seed: int, scale: float) -> Tensor:
        if self.reads_pictures:
            return self.draw(prompt, seed=seed, image=to_pil(reference.pixels)[0])
        pipeline = self.pipeline
        if getattr(pipeline.unet, "encoder_hid_proj", None) is None:
            pipeline.load_ip_adapter(
                dict(self.adapter or {}), subfolder="", weight_name=None, image_encoder_folder=None
            )
        pipeline.set_ip_adapter_scale(scale)
        embeds = self._embeds(reference)
        return self.draw(prompt, seed=seed, ip_adapter_image_embeds=[embeds[:, None]])

    @torch.no_grad()
    def _embeds(self, reference: Reference) -> Tensor:
        pipeline = self.pipeline
        [projection] = pipeline.unet.encoder_hid_proj.image_projection_layers
        name = type(projection).__name__
        hidden = None
        if reference.seen is not None:
            seen = reference.seen.to(pipeline.device, pipeline.dtype)
            output = pipeline.image_encoder(seen, output_hidden_states=True)
            if name == "ImageProjection":
                embeds: Tensor = output.image_embeds
                return embeds
            hidden = output.hidden_states[-2]
        if reference.face is None:
            assert hidden is not None, "an adapter reads pictures or faces"
            return hidden
        if hidden is not None and "Plus" in name:
            projection.shortcut = True  # the second version, which recipes have
            projection.clip_embeds = hidden[:, None]
        return reference.face.to(pipeline.device, pipeline.dtype)


def beside(pictures: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) as one, the first on the left: (3, H, B * W)."""
    return torch.cat([*pictures], dim=-1)


PeerMaker: TypeAlias = Callable[[Any, Path | None], Peer]
"""Makes the pipeline around loaded networks and the file of an adapter, if there is one."""


def unet_peer(components: Any, adapter: Path | None) -> Peer:  # noqa: ANN401 - of a module above
    """Return diffusers' pipeline of the same networks and the IP-Adapter in a file, if any."""
    import diffusers

    preset, encoder = components.preset, components.image_encoder
    networks = {
        name: network
        for name, network in components.family.to_modules(components).items()
        if name not in {"unet", "inversion_unet", "reference_unet"}
    }
    networks |= {
        "unet": without_branches(components.denoiser.installation.network),
        "scheduler": scheduler_of(preset),
        "image_encoder": getattr(encoder, "tower", None),
        "feature_extractor": None,
    }
    moves = preset.kind is WeightsKind.MOTION
    pipeline: Any
    if preset.family == "sdxl":
        pipeline = diffusers.StableDiffusionXLPipeline(**networks, add_watermarker=False)
    elif moves:
        pipeline = diffusers.AnimateDiffPipeline(**networks, motion_adapter=None)
    else:
        unchecked = {"safety_checker": None, "requires_safety_checker": False}
        pipeline = diffusers.StableDiffusionPipeline(**networks, **unchecked)
    call: dict[str, Any] = {"guidance_scale": 0.0, "num_inference_steps": len(preset.timesteps)}
    if moves:
        call["num_frames"] = NUM_FRAMES
    elif preset.renoise == "lcm":  # which that of animations does not take
        call["timesteps"] = [int(timestep) for timestep in preset.timesteps]
    if preset.eta:
        call["eta"] = preset.eta
    return Peer(pipeline, preset, call, adapter=None if adapter is None else _adapter(adapter))


def scheduler_of(preset: Preset) -> Any:  # noqa: ANN401 - diffusers has no common type
    import diffusers

    if preset.noise_scale == "flow":
        return diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=FAMILIES.get(preset.family).shifts_times
        )
    common = {**BETAS, "beta_schedule": preset.betas, "prediction_type": preset.prediction_type}
    match preset.renoise:
        case "lcm":  # Their steps are any of the 1000.
            count = 50 if preset.spacing == "fiftieths" else 1000
            return diffusers.LCMScheduler(**common, original_inference_steps=count)
        case "tcd" if preset.eta:
            return diffusers.TCDScheduler(**common)
        case "euler_ancestral":
            return diffusers.EulerAncestralDiscreteScheduler(**common, timestep_spacing="trailing")
    if preset.noise_scale == "sigma":
        return diffusers.EulerDiscreteScheduler(**common, timestep_spacing="trailing")
    return diffusers.DDIMScheduler(
        **common,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=preset.renoise != "tcd",  # else the noise of timestep 0 stays
    )


def _adapter(file: Path) -> dict[str, Any]:
    """Return the tensors of an IP-Adapter in two groups, as diffusers takes them."""
    found: dict[str, Any] = {}
    for name, tensor in read_tensors(file, allow_pickle=True).items():  # as the session did
        group, _, rest = name.partition(".")
        if "_lora" not in rest:
            found.setdefault(SAVED.get(group, group), {})[rest] = tensor
    return found
