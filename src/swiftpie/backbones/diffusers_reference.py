"""Diffusers' own pipelines of the files of a recipe, to compare with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.hub import CONFIG, HALF, weight_names
from swiftpie.backbones.load.ip_adapter import PROCESSOR, SAVED, WHOLE_UNET
from swiftpie.backbones.load.networks import MOTION_LORA_SCALE, fitting_motion
from swiftpie.backbones.load.safe import read_tensors
from swiftpie.backbones.presets import Preset, WeightsKind
from swiftpie.backbones.sources import INDEX
from swiftpie.errors import WeightsError, short_reason

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
NUM_FRAMES = 2  # Frames: the fewest that read each other.


class ComparedSubject(NamedTuple):
    """A picture of a subject as networks see it."""

    photo: Image.Image  # square, as large as a picture of the preset
    shown: Image.Image  # what the image encoder is shown: the same, or a crop of the face
    seen: Tensor | None  # (1, 3, s, s), as the encoder reads it; None where there is none
    face: Tensor | None  # (1, F), the vector of a face; None where no adapter reads one
    scale: float  # strength of the adapter in the preset's recipe


@dataclass(frozen=True)
class DiffusersReference:
    """A pipeline of diffusers that diffusers loaded, ready to draw."""

    pipeline: Any
    preset: Preset
    call: Mapping[str, Any]  # keywords of every call
    reads_pictures: bool = False  # whether `image=` takes references
    adapter: Path | None = None  # the file of an IP-Adapter

    @torch.no_grad()
    def draw(self, prompt: str, *, seed: int, **changes: Any) -> Tensor:  # noqa: ANN401 - of diffusers
        """Return a picture from text alone, or with what `changes` add: (3, H, W) in [0, 1].

        Frames of an animation stand beside each other. The noise is drawn in float32, whatever the
        networks compute in.
        """
        side, preset = self.preset.image_size_px, self.preset
        cells = (side // preset.latent_cell_px,) * 2
        frames = (NUM_FRAMES,) if preset.kind is WeightsKind.MOTION else ()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, preset.latent_channels, *frames, *cells), generator=generator)
        [drawn], *_ = self.pipeline(
            prompt=prompt,
            height=side,
            width=side,
            output_type="pt",
            return_dict=False,
            latents=noise.to(self.pipeline.device, self.pipeline.dtype),
            generator=[generator],
            **self.call,
            **changes,
        )
        return beside(drawn.reshape(-1, *drawn.shape[-3:])).float().cpu()

    @torch.no_grad()
    def draw_subject(
        self, prompt: str, subject: ComparedSubject, *, seed: int, scale: float
    ) -> Tensor:
        pipeline = self.pipeline
        if self.reads_pictures:
            return self.draw(prompt, seed=seed, image=subject.photo)
        pipeline.set_ip_adapter_scale(scale)
        if subject.face is None:
            return self.draw(prompt, seed=seed, ip_adapter_image=[subject.seen])
        [projection] = pipeline.unet.encoder_hid_proj.image_projection_layers
        if "Plus" in type(projection).__name__:
            hidden, _ = pipeline.encode_image(subject.seen, pipeline.device, 1, True)
            projection.clip_embeds = hidden[:, None]
            projection.shortcut = True  # the second version, which recipes have
        face = subject.face.to(pipeline.device, pipeline.dtype)
        return self.draw(prompt, seed=seed, ip_adapter_image_embeds=[face[:, None]])

    def load_adapter(self) -> bool:
        """Load the adapter by diffusers' reader; return whether its file changed the U-Net."""
        assert self.adapter is not None, "called for recipes with an adapter"
        pipeline, place = self.pipeline, self.adapter
        tensors = read_tensors(place, allow_pickle=True)  # as the session did
        is_saved_whole = any(name.partition(".")[0] in SAVED for name in tensors)
        source: Any = _renamed(tensors) if is_saved_whole else str(place.parent)
        unet = source.pop(WHOLE_UNET, {}) if is_saved_whole else {}
        unet = {name: tensor for name, tensor in unet.items() if PROCESSOR not in name}
        takes_unet = bool(unet) and self.preset.edit_mode == "released"
        if takes_unet:
            pipeline.unet.load_state_dict(unet)
        pipeline.load_ip_adapter(
            source, subfolder="", weight_name=place.name, image_encoder_folder=None
        )
        has_lora = bool(getattr(pipeline.unet, "peft_config", None))
        if has_lora:
            pipeline.fuse_lora(components=["unet"])
            pipeline.unload_lora_weights()
        return has_lora or takes_unet


def beside(pictures: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) as one, the first on the left: (3, H, B * W)."""
    return torch.cat([*pictures], dim=-1)


ReferenceMaker: TypeAlias = Callable[[Preset, DownloadList, torch.dtype], DiffusersReference]
"""Opens the files of a preset, all of them here, in numbers of one type."""


def open_pipeline(
    files: DownloadList,
    dtype: torch.dtype,
    *,
    kind: Any = None,  # noqa: ANN401 - a class of diffusers
    **modules: Any,  # noqa: ANN401 - any network
) -> Any:  # noqa: ANN401 - a pipeline of diffusers
    """Return the pipeline of a folder as diffusers loads it, with `modules` in place of its own.

    Its class and scheduler are those that the folder names, unless `kind` is another class. What
    the folder names and lacks, such as a safety checker, is left out.

    Raises:
        WeightsError: Diffusers cannot read the folder.
    """
    import diffusers

    folder = files["pipeline"].path
    if (place := files.path("autoencoder")) is not None:
        modules["vae"] = diffusers.AutoModel.from_pretrained(str(place), dtype=dtype)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        lacking = [name for name in index if isinstance(index[name], list) and name not in modules]
        modules |= {name: None for name in lacking if not (folder / name).is_dir()}
        if "safety_checker" in index and kind is None:
            modules["requires_safety_checker"] = False
        elif kind is not None:
            modules.pop("safety_checker", None)
        networks = (path.parent for path in folder.glob(f"*/{CONFIG}"))
        names = [weight_names({file.name for file in place.iterdir()}) for place in networks]
        is_half = any(f".{HALF}" in name for found in names for name in found)
        opened = (kind or diffusers.DiffusionPipeline).from_pretrained(
            folder, dtype=dtype, variant=HALF if is_half else None, local_files_only=True, **modules
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"Diffusers cannot open '{folder}' ({short_reason(error)}), so there is nothing to "
            f"compare with. Get the folder again with its {INDEX} and scheduler, as "
            "`save_pretrained` of diffusers writes them."
        ) from error
    opened.set_progress_bar_config(disable=True)
    return opened


def open_unet_reference(
    preset: Preset, files: DownloadList, dtype: torch.dtype
) -> DiffusersReference:
    """Return diffusers' pipeline of the parts of a recipe, put together as their publishers say.

    Of weights that are not a whole pipeline the publishers name a scheduler, which takes its
    settings from the base's.
    """
    import diffusers
    from transformers import CLIPVisionModelWithProjection

    folder = files["pipeline"].path / "unet"
    own, lora, motion, encoder = map(files.path, ("denoiser", "lora", "motion", "image_encoder"))
    modules: dict[str, Any] = {}
    if own is not None:
        modules["unet"] = _opened(UNet2DConditionModel, own, dtype, folder)
    if encoder is not None:
        modules["image_encoder"] = CLIPVisionModelWithProjection.from_pretrained(
            encoder, dtype=dtype
        )
    if motion is not None:
        modules["motion_adapter"] = _opened(diffusers.MotionAdapter, motion, dtype, folder)
    kind = None if motion is None else diffusers.AnimateDiffPipeline
    pipeline = open_pipeline(files, dtype, kind=kind, **modules)
    if preset.kind is not WeightsKind.PIPELINE:
        pipeline.scheduler = scheduler_of(preset, pipeline.scheduler.config)
    if lora is not None:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
        scale = 1.0 if motion is None else MOTION_LORA_SCALE
        pipeline.fuse_lora(components=["unet"], lora_scale=scale)
        pipeline.unload_lora_weights()
    call: dict[str, Any] = {"guidance_scale": 0.0, "num_inference_steps": len(preset.timesteps)}
    if motion is not None:
        call["num_frames"] = NUM_FRAMES
    elif preset.renoise == "lcm":  # which that of animations does not take
        call["timesteps"] = [int(timestep) for timestep in preset.timesteps]
    if preset.eta:
        call["eta"] = preset.eta
    return DiffusersReference(pipeline, preset, call, adapter=files.path("adapter"))


def scheduler_of(preset: Preset, base: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - diffusers has no common type
    """Return the scheduler that the publishers of `preset` name, for the schedule of its training.

    With the settings of the `base` model's scheduler, only what the publishers changed is
    overridden.
    """
    import diffusers

    kind: Any = diffusers.DDIMScheduler
    changes: dict[str, Any] = {"timestep_spacing": "trailing"}
    match preset.renoise:
        case _ if preset.noise_scale == "flow":
            kind = diffusers.FlowMatchEulerDiscreteScheduler
            return kind(use_dynamic_shifting=FAMILIES.get(preset.family).shifts_times)
        case "lcm":  # Their steps are any of the 1000.
            kind = diffusers.LCMScheduler
            changes = {"original_inference_steps": 50 if preset.spacing == "fiftieths" else 1000}
        case "tcd" if preset.eta:
            kind, changes = diffusers.TCDScheduler, {}
        case "euler_ancestral":
            kind = diffusers.EulerAncestralDiscreteScheduler
        case _ if preset.noise_scale == "sigma":
            kind = diffusers.EulerDiscreteScheduler
        case _:  # With "tcd" the noise of timestep 0 stays.
            changes |= {"clip_sample": False, "set_alpha_to_one": preset.renoise != "tcd"}
    taught = {"beta_schedule": preset.betas, "prediction_type": preset.prediction_type}
    if base is None:
        return kind(**BETAS, **taught, **changes)
    usual = {"beta_schedule": "scaled_linear", "prediction_type": "epsilon"}
    return kind.from_config(base, **dict(taught.items() - usual.items()), **changes)


def _opened(kind: Any, place: Path, dtype: torch.dtype, unet: Path) -> Any:  # noqa: ANN401 - of diffusers
    """Return a network in a folder, or in a file that fits the U-Net with settings in `unet`."""
    if place.is_dir():
        return kind.from_pretrained(place, dtype=dtype)
    is_unet = issubclass(kind, UNet2DConditionModel)
    network = kind.from_config(kind.load_config(unet)) if is_unet else fitting_motion(unet)
    network.load_state_dict(read_tensors(place, allow_pickle=True))
    return network.to(dtype)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return what SwiftEdit saved in groups: the two that diffusers reads, and a U-Net."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(SAVED.get(group, group), {})[rest] = tensor
    return groups
