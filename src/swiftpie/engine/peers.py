"""The pipelines of diffusers on the files of a preset, loaded by diffusers and transformers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.load.safe import read_tensors
from swiftpie.backbones.presets import Preset, WeightsKind
from swiftpie.noise import draw_noise

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
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
    adapter: Mapping[str, Any] | None = field(default=None)  # tensors of an IP-Adapter

    @torch.no_grad()
    def draw(self, prompt: str, *, seed: int, **changes: Any) -> Tensor:  # noqa: ANN401 - of diffusers
        """Return a picture from text alone, or with what `changes` add: (3, H, W) in [0, 1]."""
        side, preset = self.preset.image_size_px, self.preset
        generator = torch.Generator().manual_seed(seed)
        start: dict[str, Any] = {"generator": [generator]}
        if self.takes_noise:
            cells = side // preset.latent_cell_px
            noise = draw_noise([seed], (preset.latent_channels, cells, cells))
            start = {"latents": noise.to(self.pipeline.device, self.pipeline.dtype)}
        drawn = self.pipeline(
            prompt=prompt,
            height=side,
            width=side,
            output_type="pt",
            **start,
            **self.call,
            **changes,
        )
        picture: Tensor = drawn.images[0]
        return picture.float().cpu()

    @property
    def knows_references(self) -> bool:
        """Whether it draws a subject at all."""
        return self.reads_pictures or self.adapter is not None

    @property
    def changes_text(self) -> bool:
        """Whether the adapter brings a LoRA, which draws beside a strength of 0 as well."""
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


def has_peer(preset: Preset) -> bool:
    """Whether diffusers has a pipeline that draws as `preset` does."""
    opener = _OPENERS.get(preset.family)
    is_flow = preset.prediction_type == "flow"  # of which diffusers knows transformers alone
    return opener is not None and not (is_flow and opener is _stable_diffusion)


def open_peer(
    preset: Preset, needs: DownloadPlan, *, device: torch.device, dtype: torch.dtype
) -> Peer:
    """Return the pipeline of diffusers for `preset` from its files."""
    peer = _OPENERS[preset.family](preset, needs, dtype)
    peer.pipeline.set_progress_bar_config(disable=True)
    peer.pipeline.to(device)
    return peer


def _stable_diffusion(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Peer:
    import diffusers
    import transformers

    lent = _path(needs, "pipeline")
    is_xl = preset.family == "sdxl"
    autoencoder = needs.path("autoencoder") or lent / "vae"
    networks: dict[str, Any] = {
        "unet": _unet(preset, needs, dtype),
        "vae": _autoencoder(autoencoder, dtype),
        "scheduler": scheduler_of(preset),
        "tokenizer": transformers.CLIPTokenizer.from_pretrained(lent / "tokenizer"),
        "text_encoder": _read(transformers.CLIPTextModel, lent / "text_encoder", dtype),
        "image_encoder": None,
        "feature_extractor": None,
    }
    if (encoder := needs.path("image_encoder")) is not None:
        networks["image_encoder"] = _read(
            transformers.CLIPVisionModelWithProjection, encoder, dtype
        )
    if is_xl:
        pipeline = diffusers.StableDiffusionXLPipeline(
            **networks,
            tokenizer_2=transformers.CLIPTokenizer.from_pretrained(lent / "tokenizer_2"),
            text_encoder_2=_read(
                transformers.CLIPTextModelWithProjection, lent / "text_encoder_2", dtype
            ),
            add_watermarker=False,
        )
    else:
        pipeline = diffusers.StableDiffusionPipeline(
            **networks, safety_checker=None, requires_safety_checker=False
        )
    if (lora := needs.path("lora")) is not None:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    call: dict[str, Any] = {"guidance_scale": 0.0, "num_inference_steps": len(preset.timesteps)}
    if preset.renoise == "lcm":
        call["timesteps"] = [int(timestep) for timestep in preset.timesteps]
    if preset.renoise == "tcd":
        call["eta"] = preset.eta
    adapter = needs.path("adapter")
    return Peer(pipeline, preset, call, adapter=None if adapter is None else _adapter(adapter))


def scheduler_of(preset: Preset) -> Any:  # noqa: ANN401 - diffusers has no common type
    """Return the scheduler of diffusers that draws as `preset` does."""
    import diffusers

    common = {**BETAS, "prediction_type": preset.prediction_type}
    match preset.renoise:
        case "lcm":  # of 1000 steps any is one of theirs
            return diffusers.LCMScheduler(**common, original_inference_steps=1000)
        case "tcd":
            return diffusers.TCDScheduler(**common)
        case "euler_ancestral":
            return diffusers.EulerAncestralDiscreteScheduler(**common, timestep_spacing="trailing")
    if preset.noise_scale == "sigma":
        return diffusers.EulerDiscreteScheduler(**common, timestep_spacing="trailing")
    return diffusers.DDIMScheduler(**common, timestep_spacing="trailing", clip_sample=False)


def _unet(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Any:  # noqa: ANN401
    from diffusers import UNet2DConditionModel

    own = needs.path("denoiser")
    if preset.kind is not WeightsKind.UNET or own is None:
        return _read(UNet2DConditionModel, _path(needs, "pipeline") / "unet", dtype)
    if own.is_dir():
        return _read(UNet2DConditionModel, own, dtype)
    config = UNet2DConditionModel.load_config(_path(needs, "pipeline") / "unet")
    unet = UNet2DConditionModel.from_config(config)
    unet.load_state_dict(_tensors(own))
    return unet.to(dtype)


def _autoencoder(folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401
    import diffusers

    kind = diffusers.AutoencoderKL.load_config(folder)["_class_name"]
    return _read(getattr(diffusers, kind), folder, dtype)


def _klein(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Peer:
    import diffusers
    import transformers

    place = _path(needs, "pipeline")
    pipeline = diffusers.Flux2KleinPipeline(
        text_encoder=_read(transformers.Qwen3ForCausalLM, place / "text_encoder", dtype),
        tokenizer=transformers.AutoTokenizer.from_pretrained(place / "tokenizer"),
        vae=_read(diffusers.AutoencoderKLFlux2, place / "vae", dtype),
        transformer=_read(diffusers.Flux2Transformer2DModel, place / "transformer", dtype),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        is_distilled=True,
    )
    call = {"num_inference_steps": len(preset.timesteps), "guidance_scale": 1.0}
    return Peer(pipeline, preset, call, takes_noise=True, reads_pictures=True)


def _sana(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Peer:
    import diffusers
    import transformers

    place = _path(needs, "pipeline")
    pipeline = diffusers.SanaSprintPipeline(
        text_encoder=_read(transformers.AutoModel, place / "text_encoder", dtype),
        tokenizer=transformers.AutoTokenizer.from_pretrained(place / "tokenizer"),
        vae=_read(diffusers.AutoencoderDC, place / "vae", dtype),
        transformer=_read(diffusers.SanaTransformer2DModel, place / "transformer", dtype),
        scheduler=diffusers.SCMScheduler(),
    )
    steps = len(preset.timesteps)
    middle = 1.3 if steps == 2 else None
    call = {"num_inference_steps": steps, "intermediate_timesteps": middle}
    return Peer(pipeline, preset, {**call, "use_resolution_binning": False})


def _dreamlite(preset: Preset, needs: DownloadPlan, dtype: torch.dtype) -> Peer:
    import diffusers
    from transformers import Qwen2Tokenizer, Qwen3VLForConditionalGeneration

    place = _path(needs, "pipeline")
    tokenizer = Qwen2Tokenizer.from_pretrained(place / "tokenizer")
    pipeline = diffusers.DreamLiteMobilePipeline(
        text_encoder=_read(Qwen3VLForConditionalGeneration, place / "text_encoder", dtype),
        tokenizer=tokenizer,
        processor=PictureProcessor(tokenizer),
        vae=_read(diffusers.AutoencoderTiny, place / "vae", dtype),
        unet=_read(diffusers.DreamLiteUNetModel, place / "unet", dtype),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )
    return Peer(pipeline, preset, {}, reads_pictures=True)


class PictureProcessor:
    """What Qwen3VLProcessor computes of pictures; its code for videos imports torchvision."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers has many
        """Read words by `tokenizer`."""
        from transformers import Qwen2VLImageProcessorPil

        self.tokenizer = tokenizer
        self.image_processor = Qwen2VLImageProcessorPil(
            patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )

    def __call__(self, text: list[str], images: Any, padding: Any, return_tensors: str) -> Any:  # noqa: ANN401
        """Return tokens of `text`, with as many marks as the picture has patches."""
        seen = self.image_processor(images, return_tensors=return_tensors)
        count = int(seen["image_grid_thw"][0].prod()) // self.image_processor.merge_size**2
        mark = "<|image_pad|>"
        tokens = self.tokenizer(
            [line.replace(mark, mark * count) for line in text],
            padding=padding,
            return_tensors=return_tensors,
        )
        is_picture = tokens["input_ids"] == self.tokenizer.convert_tokens_to_ids(mark)
        tokens.update({**seen, "mm_token_type_ids": is_picture.int()})
        return tokens


_OPENERS: Mapping[str, Callable[[Preset, DownloadPlan, torch.dtype], Peer]] = MappingProxyType(
    {
        **dict.fromkeys(("sd15", "sd21", "sdxl", "sdxs"), _stable_diffusion),
        "flux2": _klein,
        "sana": _sana,
        "dreamlite": _dreamlite,
    }
)


def _read(kind: Any, folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401 - any network
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


def _path(needs: DownloadPlan, name: str) -> Path:
    path = needs.path(name)
    assert path is not None, "every family has a pipeline"
    return path
