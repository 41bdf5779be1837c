"""The adapter that SwiftEdit released (arXiv:2412.04301); its U-Nets are diffusers folders."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from swiftpie.backbones.checkpoints.ip_adapter import IpAdapter, read_ip_adapter
from swiftpie.backbones.checkpoints.safe import read_tensors
from swiftpie.errors import WeightsError

# Prefixes of `ip_adapter.bin`; IP-Adapter's own training scripts write the same.
PARTS = {"image_proj_model.": "image_proj.", "adapter_modules.": "ip_adapter."}
WHOLE_UNET = "unet."  # the frozen network and its processors once more


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
