"""The pipelines of diffusers on the files of a preset, loaded by diffusers and transformers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.safe import read_tensors
from swiftpie.backbones.presets import Preset, WeightsKind
from swiftpie.noise import draw_noise

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
NUM_FRAMES = 2  # of an animation: the fewest that read each other
RELEASED = {"image_proj_model": "image_proj", "adapter_modules": "ip_adapter"}  # by SwiftEdit


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

    @property
    def knows_references(self) -> bool:
        """Whether it draws a subject at all."""
        return self.reads_pictures or self.adapter is not None

    @property
    def changes_text(self) -> bool:
        """Whether the adapter brings a LoRA, which changes drawings at a strength of 0 as well."""
        return any("lora" in name for name in (self.adapter or {}).get("ip_adapter", {}))

    def draw_subject(self, prompt: str, reference: Reference, *, seed: int, scale: float) -> Tensor:
        """Return a picture of the subject, by the adapter alone or as the model reads pictures."""
        if self.reads_pictures:
            from swiftpie.imageio.images import to_pil

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
        """Return what the projection of the adapter reads."""
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


PeerOpener: TypeAlias = Callable[[torch.dtype], Peer]


def unet_peer(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Peer:
    """Return the pipeline of Stable Diffusion, its XL or AnimateDiff for `preset`."""
    import diffusers
    import transformers

    from swiftpie.backbones.load.networks import MOTION_LORA_SCALE

    lent = pipeline_of(needs)
    is_xl, moves = preset.family == "sdxl", preset.kind is WeightsKind.MOTION
    autoencoder = needs.path("autoencoder") or lent / "vae"
    networks: dict[str, Any] = {
        "unet": _unet(preset, needs, dtype),
        "vae": _autoencoder(autoencoder, dtype),
        "scheduler": scheduler_of(preset),
        "tokenizer": transformers.CLIPTokenizer.from_pretrained(lent / "tokenizer"),
        "text_encoder": read_network(transformers.CLIPTextModel, lent / "text_encoder", dtype),
        "image_encoder": None,
        "feature_extractor": None,
    }
    if (encoder := needs.path("image_encoder")) is not None:
        networks["image_encoder"] = read_network(
            transformers.CLIPVisionModelWithProjection, encoder, dtype
        )
    if is_xl:
        pipeline = diffusers.StableDiffusionXLPipeline(
            **networks,
            tokenizer_2=transformers.CLIPTokenizer.from_pretrained(lent / "tokenizer_2"),
            text_encoder_2=read_network(
                transformers.CLIPTextModelWithProjection, lent / "text_encoder_2", dtype
            ),
            add_watermarker=False,
        )
    elif moves:
        motion = _motion(needs, dtype)
        pipeline = diffusers.AnimateDiffPipeline(**networks, motion_adapter=motion)
    else:
        pipeline = diffusers.StableDiffusionPipeline(
            **networks, safety_checker=None, requires_safety_checker=False
        )
    if (lora := needs.path("lora")) is not None:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
        pipeline.fuse_lora(lora_scale=MOTION_LORA_SCALE if moves else 1.0)
        pipeline.unload_lora_weights()
    call: dict[str, Any] = {"guidance_scale": 0.0, "num_inference_steps": len(preset.timesteps)}
    if moves:
        call["num_frames"] = NUM_FRAMES
    elif preset.renoise == "lcm":  # which that of animations does not take
        call["timesteps"] = [int(timestep) for timestep in preset.timesteps]
    if preset.eta:
        call["eta"] = preset.eta
    adapter = needs.path("adapter")
    return Peer(pipeline, preset, call, adapter=None if adapter is None else _adapter(adapter))


def scheduler_of(preset: Preset) -> Any:  # noqa: ANN401 - diffusers has no common type
    """Return the scheduler of diffusers that draws as `preset` does."""
    import diffusers

    common = {**BETAS, "beta_schedule": preset.betas, "prediction_type": preset.prediction_type}
    match preset.renoise:
        case "lcm":  # of 1000 steps any is one of theirs
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


def _unet(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Any:  # noqa: ANN401
    from diffusers import UNet2DConditionModel

    own = needs.path("denoiser")
    if preset.kind is not WeightsKind.UNET or own is None:
        return read_network(UNet2DConditionModel, pipeline_of(needs) / "unet", dtype)
    if own.is_dir():
        return read_network(UNet2DConditionModel, own, dtype)
    config = UNet2DConditionModel.load_config(pipeline_of(needs) / "unet")
    unet = UNet2DConditionModel.from_config(config)
    unet.load_state_dict(_tensors(own))
    return unet.to(dtype)


def _motion(needs: DownloadPlan, dtype: torch.dtype) -> Any:  # noqa: ANN401 - as `_unet`
    from diffusers import MotionAdapter

    from swiftpie.backbones.load.networks import fitting_motion

    place = needs["motion"].path
    if place.is_dir():
        return read_network(MotionAdapter, place, dtype)
    modules = fitting_motion(pipeline_of(needs) / "unet")
    modules.load_state_dict(_tensors(place))
    return modules.to(dtype)


def _autoencoder(folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401
    import diffusers

    kind = diffusers.AutoencoderKL.load_config(folder)["_class_name"]
    return read_network(getattr(diffusers, kind), folder, dtype)


def read_network(kind: Any, folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401 - any network
    """Return a network of a folder; in half precision if its files come in nothing else."""
    names = {path.name for path in folder.iterdir()}
    halves = {name for name in names if ".fp16." in name}
    whole = {name.replace(".fp16.", ".") for name in halves} & names
    variant = {"variant": "fp16"} if halves and not whole else {}
    return kind.from_pretrained(folder, torch_dtype=dtype, **variant).eval()


def _adapter(file: Path) -> dict[str, Any]:
    """Return the tensors of an IP-Adapter in two groups, as diffusers takes them."""
    found: dict[str, Any] = {}
    for name, tensor in _tensors(file).items():
        group, _, rest = name.partition(".")
        found.setdefault(RELEASED.get(group, group), {})[rest] = tensor
    return found


def _tensors(file: Path) -> dict[str, Any]:
    return dict(read_tensors(file, allow_pickle=True))  # a session has read it before, if it may


def pipeline_of(needs: DownloadPlan) -> Path:
    """Return the folder of the pipeline among what a preset needs."""
    path = needs.path("pipeline")
    assert path is not None, "every family has a pipeline"
    return path
