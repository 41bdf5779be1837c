"""Identity adapters of any layout: recognised, checked, installed; and our own file of them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan, Installation
from swiftpie.attention.processors import Merge
from swiftpie.backbones.choices import DetailForm
from swiftpie.backbones.components import Components
from swiftpie.backbones.load.ip_adapter import (
    REFERENCE_TIMESTEP,
    UNFIT,
    Adapter,
    first_unlike,
    fuse_lora,
    load_into,
    read_ip_adapter,
    semantic_tensors,
    take_unet,
    version_in_name,
)
from swiftpie.backbones.load.safe import (
    METADATA,
    check_safetensors,
    kind_of_file,
    read_metadata,
    read_tensors,
    shapes_of,
    write_tensors,
)
from swiftpie.backbones.load.weights import align_memory
from swiftpie.backbones.presets import Preset, UntrainedDetail
from swiftpie.errors import ConfigError, WeightsError
from swiftpie.models.denoiser import UNetDenoiser
from swiftpie.models.projection import FacePlusProjection, FaceVersion
from swiftpie.models.vision import ClipIdentityEncoder, FaceIdentityEncoder, Feature, Projector
from swiftpie.noise import TRAIN_TIMESTEPS, scaled_linear_step


def open_adapter(path: Path, *, allow_pickle: bool = False, by_header: bool = False) -> Adapter:
    """Recognise the layout of an adapter by its content and read it.

    The name of a FaceID Plus file says its version. Most released `.bin` files need `allow_pickle`.
    Of a safetensors file the header alone may be read: its tensors have shapes and no numbers, and
    the projector is that of the file, ours or not.

    Raises:
        WeightsError: It is unreadable, of no known layout, or of an unknown version.
    """
    header, own = {}, None
    if kind_of_file(path) == "safetensors":
        header = check_safetensors(path)
        own = settings_in(header, path) if KEY in header.get(METADATA, {}) else None
    if own is not None and not by_header:
        return own
    tensors = shapes_of(header) if header and by_header else None
    if tensors is None:
        tensors = read_tensors(path, allow_pickle=allow_pickle)
    if own is None:
        return replace(read_ip_adapter(tensors, face_version=version_in_name(path)), path=path)
    semantic = {name: shape for name, shape in tensors.items() if not name.startswith(PREFIX)}
    public = read_ip_adapter(semantic, face_version=own.face_version)
    return replace(own, projector=public.projector)


def branches_of(adapter: Adapter, detail: DetailForm | None) -> BranchPlan:
    """Return which layers get which branch of `adapter` in this form of the detail branch.

    Joint or matched, self-attention of the up blocks reads references as it reads itself, without
    weights of its own. There pictures get their surfaces, and coarse layers of the way down, which
    decide what is where, stay the prompt's.

    Raises:
        ConfigError: There is no such form.
    """
    own = adapter.plan
    match detail:
        case None | "adapter":
            return own
        case "none":
            return replace(own, detail=frozenset())
        case "joint" | "matched" if own.detail:
            return own  # what was trained goes before what was not
        case "joint" | "matched":
            return untrained(own, detail)
    raise ConfigError(
        f"`detail={detail!r}` does not exist. Choose one of {', '.join(get_args(DetailForm))}, or "
        "leave it out for the branch that the adapter was trained with."
    )


def branches_alone(preset: Preset, *, width: int) -> BranchPlan | None:
    """Return the branches of a U-Net without an adapter, which only untrained forms can be.

    None where `preset` has no branch then; identity tokens would have `width`.
    """
    if preset.detail is None:
        return None
    return untrained(BranchPlan(token_width=width, semantic=frozenset()), preset.detail)


def untrained(plan: BranchPlan, form: UntrainedDetail) -> BranchPlan:
    ups = frozenset({Block.UP})
    return replace(plan, detail=ups, merge=Merge(form), own_projections=False)


def check_family(adapter: Adapter, *, family: str, width: int) -> None:
    """Refuse an adapter for another family, whose text has `width` numbers a token."""
    if adapter.is_ours and adapter.family != family:
        raise WeightsError(
            f"The adapter '{adapter.path}' is for {adapter.family!r}, and the backbone is "
            f"{family!r}. Load it with its own backbone, or choose another `adapter=`."
        )
    # The layers of another family may well have the same shapes; only the tokens tell.
    theirs = adapter.plan.token_width
    if theirs != width:
        raise WeightsError(
            f"The adapter '{adapter.path}' makes tokens of width {theirs}, and this model reads "
            f"text of width {width}: it is for another family. Choose one for this family as "
            "`adapter=`."
        )


def install_adapter(
    unet: UNet2DConditionModel,
    adapter: Adapter | None,
    *,
    family: str,
    plan: BranchPlan | None = None,
    reference: UNet2DConditionModel | None = None,
    takes_unet: bool = False,
) -> tuple[UNetDenoiser, Projector | None]:
    """Install the identity branches on `unet`, with the weights of `adapter` if there is one.

    The LoRA of a FaceID adapter becomes part of the weights of `unet`, which has no branches yet
    and says where the new weights go and of which type they are. Without an adapter the branches
    have no meaning, for pictures of text alone. The layers of `plan` get branches; None: those
    that there are weights for. References are read by `reference`, or by `unet` itself. A U-Net in
    the adapter's file is loaded over `unet` if `takes_unet`, or compared with it.

    Raises:
        WeightsError: The adapter was made for another U-Net or plan.
    """
    width, timestep = unet.config.cross_attention_dim, REFERENCE_TIMESTEP
    if adapter is not None:
        check_family(adapter, family=family, width=width)
        check_reference(adapter, reference)
        plan, timestep = plan or adapter.plan, adapter.t_ref
        change_weights(adapter, unet, takes_unet=takes_unet)
    plan = plan or BranchPlan(token_width=width, detail=frozenset())
    step = scaled_linear_step(timestep)
    denoiser = UNetDenoiser(unet, plan, reference_step=step, reference=reference)
    projector = None
    if adapter is not None and adapter.is_ours:
        projector = load_adapter(adapter.path, installation=denoiser.installation)
    elif adapter is not None:
        load_into(adapter, denoiser.installation)
        projector = adapter.projector
    return denoiser.to(device=unet.device, dtype=unet.dtype), projector


def change_weights(adapter: Adapter, unet: UNet2DConditionModel, *, takes_unet: bool) -> None:
    """Put what an adapter's file has besides into the weights: a U-Net, a LoRA, or nothing."""
    if adapter.unet:
        take_unet(adapter, unet, replaces=takes_unet)
    fuse_lora(adapter, unet)


def wrap_image_encoder(
    tower: CLIPVisionModelWithProjection, projector: Projector
) -> ClipIdentityEncoder:
    check_image_encoder(projector, tower.config)
    align_memory(projector.module.to(device=tower.device, dtype=tower.dtype))
    if projector.face_width:
        return FaceIdentityEncoder(tower, projector).to(tower.device).eval()
    return ClipIdentityEncoder(tower, projector.module, projector.feature).to(tower.device).eval()


def with_defaults(preset: Preset, adapter: Adapter | None, plan: BranchPlan) -> Preset:
    """Return `preset` with the strengths that the adapter recommends, and none without effect."""
    if adapter is None:
        return preset
    silent = {} if plan.detail else {"detail_scale": 0.0}
    return replace(preset, defaults={**preset.defaults, **adapter.defaults, **silent})


def write_adapter(path: Path, components: Components) -> None:
    """Write the branches and the projector around public networks as an adapter of our own."""
    denoiser, encoder = components.denoiser, components.image_encoder
    assert isinstance(denoiser, UNetDenoiser), "only these have adapters"
    assert isinstance(encoder, ClipIdentityEncoder), "only these have adapters"
    save_adapter(
        path,
        installation=denoiser.installation,
        projector=encoder.projector,
        family=components.preset.family,
        t_ref=int(denoiser.reference_step.timestep),
        defaults=components.preset.defaults,
    )


def check_image_encoder(projector: Projector, config: CLIPVisionConfig) -> None:
    """Refuse a tower with `config` where `projector` was trained on another."""
    hidden = dict.fromkeys((Feature.HIDDEN, Feature.FACE_AND_HIDDEN), config.hidden_size)
    widths = hidden | {Feature.EMBEDS: config.projection_dim}
    width = widths.get(projector.feature, projector.feature_width)
    if width != projector.feature_width:
        raise WeightsError(
            f"The image encoder gives features of width {width}, and the adapter reads "
            f"{projector.feature_width}. IP-Adapters come for two encoders, ViT-H and ViT-bigG. "
            "Pass the folder of the other one as `image_encoder=`."
        )


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
