"""Our own adapter file: a public IP-Adapter plus the detail branch and the settings of both."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan, Installation
from swiftpie.attention.processors import Merge
from swiftpie.backbones.load.ip_adapter import (
    UNFIT,
    Adapter,
    first_unlike,
    load_into,
    read_ip_adapter,
    semantic_tensors,
)
from swiftpie.backbones.load.safe import METADATA, read_metadata, read_tensors, write_tensors
from swiftpie.errors import WeightsError
from swiftpie.models.projection import FacePlusProjection, FaceVersion
from swiftpie.models.vision import Projector
from swiftpie.noise import TRAIN_TIMESTEPS

FORMAT = "swiftpie/1"
KEY = "swiftpie"  # The settings' name in the file's metadata.
PREFIX = "ref."  # The detail branch; other programs skip it.
SEMANTIC_PREFIX = "ip_adapter."  # The semantic branch, whose matrices read tokens.
OF_LAYER = "layer"  # the detail branch reads through the projections of each layer
READS = "attn1.to_k.weight"  # layers that read references
NUM_KNOWN, ALIKE = 16, 0.01  # Of weights in a header; half precision rounds them by less.
MAX_TOKEN_WIDTH = 1 << 16  # Width of an identity token; SDXL's is 2048.


def save_adapter(
    path: str | Path,
    *,
    installation: Installation,
    projector: nn.Module,
    family: str,
    t_ref: int,
    defaults: Mapping[str, float],
    reference: nn.Module | None = None,
    force: bool = False,
) -> None:
    """Write both branches and what they were trained for, with which U-Net of references if any.

    The detail branch is written for the layers that the installation's plan gives it.

    Raises:
        InputError: `path` exists and `force` is not set, or its folder cannot be written to.
    """
    tensors = semantic_tensors(installation, projector) | _detail_tensors(installation)
    plan = installation.plan
    header: dict[str, Any] = {
        "format": FORMAT,
        "backbone": family,
        "t_ref": t_ref,
        "token_width": plan.token_width,
        "sem_layers": sorted(plan.semantic),
        "ref_layers": sorted(plan.detail),
        "merge": plan.merge,
        "defaults": dict(defaults),
    }
    if not plan.own_projections:
        header["ref_projections"] = OF_LAYER
    if reference is not None:
        header["reference"] = weights_of(reference)
    if isinstance(projector, FacePlusProjection):
        header["face_version"] = 2 if projector.shortcut else 1
    text = json.dumps(header | {"sha256": _fingerprint(header, tensors)}, sort_keys=True)
    write_tensors(path, tensors, metadata={KEY: text}, force=force)


def settings_in(header: Mapping[str, Any], path: str | Path) -> Adapter:
    """Return what the adapter at `path` was trained for, to install its plan before loading it."""
    settings = _settings(_own_header(header.get(METADATA, {}), path), path)
    shapes = [entry["shape"] for name, entry in header.items() if name.startswith(SEMANTIC_PREFIX)]
    # The plan is installed before the weights are read, so a lie would cost its memory.
    if not shapes or any(shape[1:] != [settings.plan.token_width] for shape in shapes):
        raise WeightsError(_damaged(path))
    return replace(settings, path=Path(path))


def weights_of(reference: nn.Module) -> list[float]:
    """Return some weights of a U-Net by which it is known again, in any precision."""
    name = min(name for name, _ in reference.named_parameters() if name.endswith(READS))
    weight = reference.get_parameter(name).detach().flatten()
    return weight[:: max(1, len(weight) // NUM_KNOWN)][:NUM_KNOWN].float().tolist()


def check_reference(adapter: Adapter, reference: nn.Module | None) -> None:
    """Raise WeightsError for an adapter that was trained with another U-Net of references."""
    if not adapter.reference:
        return
    if reference is not None:
        if next(reference.parameters()).is_meta:  # not here yet
            return
        known, given = torch.tensor(adapter.reference), torch.tensor(weights_of(reference))
        if known.shape == given.shape and (known - given).norm() <= ALIKE * known.norm():
            return
    raise WeightsError(
        f"The adapter '{adapter.path}' was trained with a U-Net of its own that reads references, "
        f"and {'none' if reference is None else 'another one'} was given. Pass that one as "
        "`reference=`."
    )


def load_adapter(path: str | Path, *, installation: Installation) -> Projector:
    """Load both branches into `installation`, all of it or nothing; return their projector.

    The detail branch falls silent in layers that the file leaves out. The installation is of a
    U-Net of the adapter's family, with the plan that `settings_in` returns or one of fewer layers.

    Raises:
        WeightsError: The file is damaged, is something else, or is for another U-Net or plan.
    """
    tensors = read_tensors(path)
    header = _own_header(read_metadata(path), path)
    settings = _settings(header, path)
    if header.pop("sha256", None) != _fingerprint(header, tensors):
        raise WeightsError(
            f"The checksum of '{path}' does not agree with its content: it was changed or damaged. "
            "Get the file again."
        )
    ours, theirs = installation.plan.merge, settings.plan.merge
    if ours is not theirs:
        raise WeightsError(
            f"The adapter's detail branch is {theirs.value!r}, and the installed one is "
            f"{ours.value!r}. Install the plan in its settings."
        )
    own, detail = _detail_tensors(installation), _checked_detail(tensors, installation)
    semantic = {name: t for name, t in tensors.items() if not name.startswith(PREFIX)}
    adapter = read_ip_adapter(semantic, face_version=settings.face_version)
    load_into(adapter, installation)
    assert adapter.projector is not None, "it was read whole"
    for name, tensor in own.items():
        if name in detail:
            tensor.copy_(detail[name])
        elif name.endswith(".gate"):
            tensor.zero_()
    return adapter.projector


def _own_header(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    text = metadata.get(KEY)
    if text is None:
        raise WeightsError(
            f"'{path}' is not an adapter that SwiftPie wrote. Read an IP-Adapter with "
            "read_ip_adapter, or choose another file."
        )
    try:
        header: dict[str, Any] = json.loads(text)
        found, face_version = header["format"], header.get("face_version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(_damaged(path)) from error
    if found != FORMAT or face_version not in (None, *get_args(FaceVersion)):
        raise WeightsError(
            f"'{path}' has format {found!r}, and this version reads {FORMAT!r}. Update SwiftPie."
        )
    return header


def _settings(header: Mapping[str, Any], path: str | Path) -> Adapter:
    try:
        return Adapter(
            family=str(header["backbone"]),
            plan=BranchPlan(
                token_width=_whole(header["token_width"], most=MAX_TOKEN_WIDTH),
                merge=Merge(header["merge"]),
                own_projections=header.get("ref_projections") != OF_LAYER,
                semantic=frozenset(map(Block, header["sem_layers"])),
                detail=frozenset(map(Block, header["ref_layers"])),
            ),
            t_ref=_whole(header["t_ref"], most=TRAIN_TIMESTEPS - 1),
            defaults={str(name): _finite(value) for name, value in header["defaults"].items()},
            face_version=header.get("face_version"),
            reference=tuple(map(_finite, header.get("reference", ()))),
        )
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(_damaged(path)) from error


def _whole(value: object, *, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is no whole number up to {most}")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _damaged(path: str | Path) -> str:
    return f"The settings in '{path}' are damaged. Get the file again."


def _detail_tensors(installation: Installation) -> dict[str, Tensor]:
    return {
        f"{PREFIX}{name}.{part}": tensor
        for name, processor in installation.detail.items()
        for part, tensor in processor.state_dict().items()
    }


def _checked_detail(tensors: Mapping[str, Tensor], installation: Installation) -> dict[str, Tensor]:
    """Return those of an adapter's detail branch that the plan installs, whole layers."""
    left_out = tuple(f"{PREFIX}{name}." for name in installation.plain)  # by the plan
    detail = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(PREFIX) and not name.startswith(left_out)
    }
    layers = [f"{PREFIX}{name}." for name in installation.detail]
    present = tuple(layer for layer in layers if any(name.startswith(layer) for name in detail))
    own = _detail_tensors(installation).items()
    needed = {name: tuple(tensor.shape) for name, tensor in own if name.startswith(present)}
    given = {name: tuple(tensor.shape) for name, tensor in detail.items()}
    if given != needed:
        name = first_unlike(given, needed)
        raise WeightsError(
            f"{name!r} of the adapter is {given.get(name, 'missing')}, and this U-Net needs "
            f"{needed.get(name, 'none')}. {UNFIT}"
        )
    return detail


def _fingerprint(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
