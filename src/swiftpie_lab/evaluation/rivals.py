"""Pipelines of diffusers as they are, which draw the cases of a benchmark in SwiftPie's place."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from swiftpie.backbones.load.weights import fingerprint_files
from swiftpie.errors import CapabilityError, ConfigError, WeightsError, short_reason
from swiftpie_lab.evaluation.contest import Ability, RivalTask
from swiftpie_lab.evaluation.run import Maker

SAFE, PICKLES = ".safetensors", frozenset({".bin", ".ckpt", ".pt", ".pth"})
BY_INSTRUCTION = "image_guidance_scale"  # an argument that only pipelines for instructions have


class _Kind(NamedTuple):
    """Who can do something, and what makes such a pipeline of another one."""

    example: str
    maker: str


KINDS: Mapping[Ability, _Kind] = {
    Ability.DRAW: _Kind("StableDiffusionPipeline", "AutoPipelineForText2Image"),
    Ability.CHANGE: _Kind("StableDiffusionImg2ImgPipeline", "AutoPipelineForImage2Image"),
    Ability.FILL: _Kind("StableDiffusionInpaintPipeline", "AutoPipelineForInpainting"),
}


@dataclass(frozen=True, eq=False)
class Rival:
    """A pipeline, and the keywords of each of its calls; nothing of SwiftPie is in its path."""

    pipeline: DiffusionPipeline
    keywords: Mapping[str, Any]  # that the user chose; the pipeline has defaults for others
    has_adapter: bool  # that reads pictures; without one words alone draw
    maker: Maker
    is_timed: bool = True

    def picture(self, task: RivalTask, *, name: str = "") -> Image.Image:
        """Return what the pipeline draws of a task, RGB.

        A picture to change, and its mask, are shown as large as the pipeline draws by itself.

        Raises:
            CapabilityError: The pipeline takes an instruction, and the task has none.
        """
        del name
        given: dict[str, Any] = {"prompt": task.prompt, **self.keywords}
        takes = _arguments(self.pipeline)
        if BY_INSTRUCTION in takes:
            given["prompt"] = task.instruction
            if not task.instruction:
                raise CapabilityError(
                    f"{type(self.pipeline).__name__} follows instructions, and this benchmark has "
                    "prompts alone. Use one that takes a prompt, such as "
                    f"{KINDS[Ability.CHANGE].example}."
                )
        if self.has_adapter:
            given["ip_adapter_image"] = [list(task.references)]
        for argument, image in (("image", task.source), ("mask_image", task.mask)):
            if argument in takes and image is not None:
                width, height = self._size_of(image)
                given[argument] = image.resize((width, height), Image.Resampling.LANCZOS)
                given |= {"width": width, "height": height} if "height" in takes else {}
        called: Any = self.pipeline
        drawn = called(generator=torch.Generator().manual_seed(task.seed), **given)
        picture: Image.Image = drawn.images[0]
        return picture.convert("RGB")

    def _size_of(self, image: Image.Image) -> tuple[int, int]:
        """Return the size at which the pipeline sees a picture, in whole cells of its latents."""
        pipeline: Any = self.pipeline
        cell = int(getattr(pipeline, "vae_scale_factor", 8))
        network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        side = getattr(getattr(network, "config", None), "sample_size", None)
        scale = cell * side / min(image.size) if isinstance(side, int) else 1
        width, height = (max(1, round(scale * length / cell)) * cell for length in image.size)
        return width, height


def load_rival(
    folder: Path,
    *,
    adapter: Path | None = None,
    image_encoder: Path | None = None,
    adapter_scale: float | None = None,
    keywords: Mapping[str, Any],
    needs: Collection[Ability] = (Ability.DRAW,),
    device: str = "cpu",
    allow_pickle: bool = False,
) -> Rival:
    """Read a pipeline as diffusers saves it, and an IP-Adapter into it by diffusers' own loader.

    Args:
        folder: Of the pipeline.
        adapter: A file of an IP-Adapter.
        image_encoder: What the adapter reads pictures with, if the pipeline has none.
        adapter_scale: Its strength; by default diffusers' own.
        keywords: Of each call; what is None is left to the pipeline.
        needs: What the benchmark takes: the pipeline has to be one that does this.
        device: Where it draws.
        allow_pickle: Read weights from pickles of plain tensors.

    Raises:
        CapabilityError: The pipeline takes no IP-Adapter, or does something else.
        ConfigError: An image encoder or a scale came without an adapter, or a keyword that the
            pipeline does not know.
        WeightsError: Something cannot be read.
    """
    if adapter is None and (image_encoder is not None or adapter_scale is not None):
        raise ConfigError(
            "An image encoder or a scale came without --adapter, which reads pictures. Give both, "
            "or leave it out: words alone then draw."
        )
    _check_safe(adapter, allow_pickle=allow_pickle)
    chosen = {name: value for name, value in keywords.items() if value is not None}
    encoder: dict[str, Any] = {}
    try:
        if image_encoder is not None:
            encoder["image_encoder"] = CLIPVisionModelWithProjection.from_pretrained(
                image_encoder, local_files_only=True, use_safetensors=not allow_pickle or None
            )
        pipeline = DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=not allow_pickle or None, **encoder
        )
        _check_able(pipeline, needs, chosen)
        if adapter is not None:
            _add(pipeline, adapter, adapter_scale)
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{folder}' cannot be read as a pipeline ({short_reason(error)}). A folder that "
            "diffusers saved is needed, with --adapter FILE for its own loader and --image-encoder "
            "DIR where it has none. Check the paths."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    files = {"adapter": adapter} if adapter is not None else {}
    files |= _weights("pipeline", folder)
    files |= {} if image_encoder is None else _weights("encoder", image_encoder)
    settings = {**chosen} if adapter_scale is None else {**chosen, "adapter scale": adapter_scale}
    parts = [f"diffusers' {type(pipeline).__name__} of {folder.name}"]
    parts += [adapter.stem] if adapter is not None else ["words alone"]
    parts += [f"{name.replace('_', ' ')} {value:g}" for name, value in settings.items()]
    steps = chosen.get("num_inference_steps") or _default_steps(pipeline)
    name, weights = ", ".join(parts), fingerprint_files(files, settings="")
    return Rival(pipeline.to(device), chosen, adapter is not None, Maker(name, weights, steps))


def ability_of(pipeline: DiffusionPipeline) -> Ability:
    """Return what a pipeline does, by what its call takes."""
    takes = _arguments(pipeline)
    if "mask_image" in takes:
        return Ability.FILL
    return Ability.CHANGE if "image" in takes else Ability.DRAW


def _check_able(
    pipeline: DiffusionPipeline, needs: Collection[Ability], chosen: Mapping[str, Any]
) -> None:
    """Refuse a pipeline that does something else than the benchmark needs.

    Raises:
        CapabilityError: It is refused.
        ConfigError: Its call does not take a keyword that the user chose.
    """
    name, ability = type(pipeline).__name__, ability_of(pipeline)
    if ability not in needs:
        kinds = [KINDS[one] for one in needs]
        raise CapabilityError(
            f"{name} {ability}. This benchmark needs a pipeline that {' or '.join(needs)}, such as "
            f"{kinds[0].example}. diffusers' {kinds[0].maker}.from_pretrained(DIR)"
            ".save_pretrained(NEW) makes one of most pipelines."
        )
    if unknown := [keyword for keyword in chosen if keyword not in _arguments(pipeline)]:
        raise ConfigError(
            f"{name} takes no {unknown[0].replace('_', ' ')}. It was chosen by an option. Leave "
            "that out."
        )


def _arguments(pipeline: DiffusionPipeline) -> Collection[str]:
    return inspect.signature(type(pipeline).__call__).parameters


def _add(pipeline: Any, adapter: Path, scale: float | None) -> None:  # noqa: ANN401 - of any class
    """Load an adapter.

    Raises:
        CapabilityError: The pipeline takes none.
        ValueError: There is nothing that reads pictures.
    """
    if not hasattr(pipeline, "load_ip_adapter"):
        raise CapabilityError(
            f"{type(pipeline).__name__} takes no IP-Adapter. Leave --adapter out, or choose "
            "another pipeline."
        )
    if getattr(pipeline, "image_encoder", None) is None:
        raise ValueError("the adapter needs an image encoder")
    pipeline.load_ip_adapter(
        str(adapter.parent), subfolder="", weight_name=adapter.name, image_encoder_folder=None
    )
    if scale is not None:
        pipeline.set_ip_adapter_scale(scale)


def _check_safe(adapter: Path | None, *, allow_pickle: bool) -> None:
    """Refuse an adapter's file that is missing, or a pickle that nobody agreed to.

    Raises:
        WeightsError: It is refused.
    """
    if adapter is None:
        return
    if not adapter.is_file():
        raise WeightsError(
            f"'{adapter}' is no file. A rival's adapter is a file on this machine, such as "
            "ip-adapter_sd15.safetensors. Check --adapter."
        )
    if adapter.suffix != SAFE and not allow_pickle:
        raise WeightsError(
            f"'{adapter}' is a pickle, which can run code. Give its .safetensors, or pass "
            "--allow-pickle to read plain tensors from it."
        )


def _weights(name: str, folder: Path) -> dict[str, Path]:
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path
        for path in folder.rglob("*")
        if path.suffix in {SAFE, *PICKLES} and path.is_file()
    }


def _default_steps(pipeline: DiffusionPipeline) -> int:
    given = inspect.signature(type(pipeline).__call__).parameters.get("num_inference_steps")
    return given.default if given is not None and isinstance(given.default, int) else 0
