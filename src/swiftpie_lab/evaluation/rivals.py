"""What is judged beside SwiftPie: pipelines of diffusers as they are, and finished pictures."""

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from swiftpie.backbones.load.weights import fingerprint_files
from swiftpie.errors import CapabilityError, ConfigError, InputError, WeightsError, short_reason
from swiftpie_lab.evaluation.run import Maker

SAFE, PICKLES = ".safetensors", frozenset({".bin", ".ckpt", ".pt", ".pth"})


@dataclass(frozen=True, eq=False)
class Rival:
    """A pipeline, and the keywords of each of its calls; nothing of SwiftPie is in its path."""

    pipeline: DiffusionPipeline
    keywords: Mapping[str, Any]  # that the user chose; the pipeline has defaults for others
    has_adapter: bool  # that reads pictures; without one words alone draw
    maker: Maker

    def picture(self, prompt: str, images: Sequence[Image.Image], *, seed: int) -> Image.Image:
        """Return what the pipeline draws of `images`, RGB, for a prompt."""
        shown = {"ip_adapter_image": [list(images)]} if self.has_adapter else {}
        generator = torch.Generator().manual_seed(seed)
        called: Any = self.pipeline
        drawn = called(prompt=prompt, generator=generator, **shown, **self.keywords)
        picture: Image.Image = drawn.images[0]
        return picture


def load_rival(
    folder: Path,
    *,
    adapter: Path | None = None,
    image_encoder: Path | None = None,
    adapter_scale: float | None = None,
    keywords: Mapping[str, Any],
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
        device: Where it draws.
        allow_pickle: Read weights from pickles of plain tensors.

    Raises:
        CapabilityError: The pipeline takes no IP-Adapter.
        ConfigError: An image encoder or a scale came without an adapter.
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
        if adapter is not None:
            _add(pipeline, adapter, adapter_scale)
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


def fingerprint_of_pictures(paths: Iterable[Path]) -> str:
    """Return sha256 over pictures that another program has drawn, one a case.

    Raises:
        InputError: One is missing.
    """
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"'{path}' is missing. Each case of the benchmark needs a picture. Draw it, or "
                "choose fewer cases."
            )
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


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
