"""Low-rank changes of a denoiser, added to its weights once, before anything else."""

import importlib
import importlib.util
from pathlib import Path

from diffusers import UNet2DConditionModel
from torch import Tensor

from swiftpie.backbones.checkpoints.safe import read_tensors
from swiftpie.errors import MissingExtra, WeightsError, short_reason

UNET = "unet."  # prefix of the denoiser's part, after diffusers has unified the spellings
NAME = "swiftpie"
DOWN = ("lora_A.weight", "lora.down.weight")  # one of them for every changed layer


def fuse_lora_file(
    unet: UNet2DConditionModel,
    path: Path,
    *,
    family: str,
    loader: str,
    allow_pickle: bool = False,
) -> None:
    """Add the LoRA in `path` to the weights of `unet`, in place, and leave nothing else behind.

    Args:
        unet: The denoiser.
        path: The file.
        family: Name of the denoiser's family.
        loader: Pipeline class of diffusers that reads LoRAs for it.
        allow_pickle: See `read_tensors`.

    Raises:
        MissingExtra: peft is not installed.
        WeightsError: The file is unreadable, or changes other layers than this network has.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra(
            "This preset is a LoRA, which is read with the package 'peft'. It is not installed. "
            'Run: pip install "swiftpie[lora]"'
        )
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    changed = _load(unet, tensors, path, family=family, loader=loader)
    taken = sum(f".lora_A.{NAME}." in name for name in unet.state_dict())
    if taken != changed:
        raise WeightsError(
            f"The LoRA '{path}' changes {changed} layers, and this denoiser has {taken} of them. "
            "One that was made for exactly this network is needed. Choose another file or preset."
        )
    unet.fuse_lora()
    unet.unload_lora()


def _load(
    unet: UNet2DConditionModel, tensors: dict[str, Tensor], path: Path, *, family: str, loader: str
) -> int:
    """Put low-rank layers beside those of `unet`; return how many the file has.

    Raises:
        WeightsError: The file is no LoRA of a denoiser, or diffusers cannot use it.
    """
    # Here, because importing pipelines takes seconds and complains of packages we do not use.
    pipeline = getattr(importlib.import_module("diffusers"), loader)
    reason = "it is no LoRA, or changes more than the denoiser"
    changed = 0
    try:
        state, alphas = pipeline.lora_state_dict(tensors, unet_config=unet.config)
        if all(name.startswith(UNET) for name in state):
            changed = sum(name.endswith(DOWN) for name in state)
            pipeline.load_lora_into_unet(state, alphas, unet, adapter_name=NAME)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = short_reason(error)
        changed = 0
    if changed == 0:
        raise WeightsError(
            f"The LoRA '{path}' does not fit this denoiser ({reason}). One that was made for its "
            f"family, {family}, is needed. Choose another file or preset."
        )
    return changed
