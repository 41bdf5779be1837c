"""The weights that SwiftEdit released (arXiv:2412.04301): one adapter and two U-Nets."""

from collections.abc import Mapping
from pathlib import Path

from diffusers import UNet2DConditionModel
from torch import Tensor

from swiftpie.backbones.checkpoints.ip_adapter import IpAdapter, read_ip_adapter
from swiftpie.backbones.checkpoints.safe import read_tensors
from swiftpie.errors import WeightsError

# Prefixes of `ip_adapter.bin`; IP-Adapter's own training scripts write the same.
PARTS = {"image_proj_model.": "image_proj.", "adapter_modules.": "ip_adapter."}
WHOLE_UNET = "unet."  # the frozen network and its processors once more
SUFFIXES = (".safetensors", ".bin")
MAX_REASON = 300  # characters of a library's own message that are worth reading


def read_swiftedit(
    source: str | Path | Mapping[str, Tensor], *, allow_pickle: bool = False
) -> IpAdapter:
    """Read `ip_adapter.bin`; its layers are numbered as in the public IP-Adapter layout.

    Args:
        source: The file, or its tensors by name.
        allow_pickle: See `read_tensors`; the released file needs it.

    Raises:
        WeightsError: It is in another layout, or something is missing, superfluous or misshapen.
    """
    if isinstance(source, Mapping):
        tensors = dict(source)
    else:
        tensors = read_tensors(source, allow_pickle=allow_pickle)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(WHOLE_UNET):
            continue
        part = next((part for part in PARTS if name.startswith(part)), None)
        if part is None:
            raise WeightsError(
                f"{name!r} does not belong in SwiftEdit's adapter; "
                f"{', '.join([*PARTS, WHOLE_UNET])} do. Read other layouts with read_ip_adapter."
            )
        renamed[PARTS[part] + name.removeprefix(part)] = tensor
    return read_ip_adapter(renamed)


def read_unet(folder: str | Path, *, allow_pickle: bool = False) -> UNet2DConditionModel:
    """Read a U-Net from a folder in diffusers' layout, strictly, in float32 and frozen.

    Args:
        folder: Holds `config.json` and one file of weights, as `inverse_ckpt-120k/unet_ema` and
            `sbv2_0.5` do.
        allow_pickle: See `read_tensors`.

    Raises:
        WeightsError: A file is missing, unreadable, or does not fit the config.
    """
    folder = Path(folder)
    files: list[Path] = []
    for suffix in SUFFIXES:
        files = files or sorted(folder.glob(f"*{suffix}"))
    if len(files) != 1 or not (folder / "config.json").is_file():
        raise WeightsError(
            f"'{folder}' has {len(files)} files of weights. One, beside a config.json, is needed. "
            "Point to the folder of the U-Net itself."
        )
    tensors = read_tensors(files[0], allow_pickle=allow_pickle)
    try:
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
        unet.load_state_dict(tensors, strict=True)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise WeightsError(
            f"'{files[0]}' does not fit the config beside it ({reason}). Both files of one U-Net "
            "are needed. Get the folder again."
        ) from error
    network: UNet2DConditionModel = unet.eval().requires_grad_(requires_grad=False)
    return network
