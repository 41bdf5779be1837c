"""Adapters as others publish them: IP-Adapter's layout, SwiftEdit's, and LoRAs of diffusers."""

import copy
import importlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load
from torch import Tensor, nn

from swiftpie.attention.condition import Block
from swiftpie.attention.install import MOTION, BranchPlan, Installation
from swiftpie.backbones.load.safe import flatten, read_tensors
from swiftpie.errors import InputError, WeightsError, check_installed, short_reason
from swiftpie.models.projection import FaceVersion, image_proj_of, projector_for
from swiftpie.models.vision import Projector

logger = logging.getLogger(__name__)

SEMANTIC = re.compile(r"(\d{1,4})\.to_([kv])_ip\.weight")
LORA = re.compile(r"(\d{1,4})\.to_(q|k|v|out)_lora\.(down|up)\.weight")

# Parts of SwiftEdit's `ip_adapter.bin`; IP-Adapter's own training scripts write the same, with the
# frozen network and its processors once more.
SAVED = {"image_proj_model": "image_proj", "adapter_modules": "ip_adapter"}
WHOLE_UNET = "unet"
PROCESSOR = ".processor."  # in the names of weights that a network's attention lends a place

# In LoRAs, after diffusers has unified the spellings.
DENOISER = "unet."  # prefix of the denoiser's part
DOWN = ("lora_A.weight", "lora.down.weight")  # one of them for every changed layer
MAGNITUDES = "dora_scale"  # in the names of tensors; diffusers leaves those out
BASE = ".base_layer.weight"  # what peft calls the weight of a layer that it wraps
NAME = "swiftpie"
MAX_LORA_SCALE = 4.0  # either way; far above what keeps pictures natural
LORA_PARTS = {"unet", "text_encoder", "text_encoder_2"}  # LoRAs here change the first alone
UNFIT = (
    "This U-Net needs an adapter trained for it; an adapter for the full model does not fit a "
    "pruned one. Choose another adapter or backbone."
)

ALIKE = 0.01  # of their length: weights of a frozen network, rounded to 16 bits, differ by less

LoraScale = float | Mapping[str, Any]
Key = TypeVar("Key", int, str)  # number of a layer, or name of a tensor
Pair = tuple[Tensor, Tensor]
Place = tuple[int, str]  # number of an attention layer, and "q", "k", "v" or "out"

REFERENCE_TIMESTEP = 250  # little noise: the reference U-Net still sees every detail

# Versions of FaceID Plus by what their publishers put into the names of the files; longest first.
VERSION_NAMES: dict[str, FaceVersion] = {"faceid-plusv2": 2, "faceid-plus": 1}


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter of any layout; numbers are positions among the attention layers of its U-Net."""

    plan: BranchPlan  # the branches that it has weights for; its gate is not kept
    projector: Projector | None = None  # None where only the settings of a file of ours were read
    layers: Mapping[int, Pair] = field(default_factory=dict)  # to_k and to_v of each
    lora: Mapping[Place, Pair] = field(default_factory=dict)  # FaceID only: down and up
    unet: Mapping[str, Tensor] = field(default_factory=dict)  # SwiftEdit only: trained around it
    path: Path = Path()
    # What our own files state besides.
    family: str = ""  # Its backbones; "": any with its token width.
    t_ref: int = REFERENCE_TIMESTEP  # at which references were read, 0 to 999
    defaults: Mapping[str, float] = field(default_factory=dict)  # recommended strengths by name
    face_version: FaceVersion | None = None  # Set for FaceID Plus.
    reference: tuple[float, ...] = ()  # some weights of the U-Net that read references in training

    @property
    def is_ours(self) -> bool:
        """Whether SwiftPie wrote its file, with settings and, if trained, a detail branch."""
        return bool(self.family)

    @property
    def variant(self) -> str:
        """How the file was read, where it can be read in several ways; else nothing."""
        if self.is_ours or self.projector is None or not self.projector.face_width:
            return ""
        shortcut = getattr(self.projector.module, "shortcut", None)
        return f" shortcut={shortcut} lora_scale=1.0"  # which identities in files state


def read_ip_adapter(
    tensors: Mapping[str, Any], *, face_version: FaceVersion | None = None
) -> Adapter:
    """Read an adapter in the layout of h94/IP-Adapter, or as SwiftEdit released its own.

    Names are nested or joined by dots; layers are numbered alike (arXiv:2412.04301).

    `face_version` is that of FaceID Plus, see `projector_for`.

    Raises:
        WeightsError: It is in another layout, or something is missing, superfluous or misshapen.
    """
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    found, unet = flatten(tensors), dict[str, Tensor]()
    is_saved_whole = any(name.partition(".")[0] in SAVED for name in found)
    for name, tensor in found.items():
        part, _, rest = name.partition(".")
        if is_saved_whole and part == WHOLE_UNET:
            if PROCESSOR not in rest:
                unet[rest] = tensor
            continue
        part = SAVED.get(part, part)
        if part not in parts:
            raise WeightsError(
                f"{name!r} does not belong in an IP-Adapter; 'image_proj.*' and 'ip_adapter.*' "
                "do. Get a file in the layout of h94/IP-Adapter."
            )
        parts[part][rest] = tensor
    projector = projector_for(parts["image_proj"], face_version=face_version)
    return Adapter(
        # A public adapter has no weights of a detail branch; its own acts in every cross-attention.
        BranchPlan(token_width=projector.width, detail=frozenset()),
        projector,
        layers=_layers(parts["ip_adapter"], width=projector.width),
        lora=_lora(parts["ip_adapter"]),
        unet=unet,
    )


def first_unlike(given: Mapping[Key, object], needed: Mapping[Key, object]) -> Key:
    """Return the first key whose values are not alike, of an adapter and of its U-Net."""
    return min(key for key in given.keys() | needed.keys() if given.get(key) != needed.get(key))


def version_in_name(path: str | Path) -> FaceVersion | None:
    """Return the version of FaceID Plus that the name of a published file states, if it does."""
    name = Path(path).name.lower()
    return next((version for part, version in VERSION_NAMES.items() if part in name), None)


def load_into(adapter: Adapter, installation: Installation) -> None:
    """Copy the semantic weights of `adapter` into an installation, all of them or none.

    A file only numbers its layers, so every number and every shape has to agree with the U-Net:
    in a pruned one the same number is another layer. LoRA is left to `fuse_lora`.

    Raises:
        WeightsError: The adapter was made for another U-Net.
    """
    paths = cross_attention(installation)
    layers = {number: installation.semantic[path] for number, path in paths.items()}
    needed = {number: tuple(layer.to_k_ip.weight.shape) for number, layer in layers.items()}
    given = {number: tuple(key.shape) for number, (key, _) in adapter.layers.items()}
    if given != needed:
        number = first_unlike(given, needed)
        raise WeightsError(
            f"Layer {number} of the adapter is {given.get(number, 'missing')}, and "
            f"{paths.get(number, 'no cross-attention')} of this U-Net needs "
            f"{needed.get(number, 'none')}; the adapter has {len(given)} layers, and the U-Net "
            f"{len(needed)}. {UNFIT}"
        )
    with torch.no_grad():
        for number, (key, value) in adapter.layers.items():
            layers[number].to_k_ip.weight.copy_(key)
            layers[number].to_v_ip.weight.copy_(value)


def take_unet(adapter: Adapter, unet: UNet2DConditionModel, *, replaces: bool) -> None:
    """Load the U-Net that the file of `adapter` holds over `unet`, as SwiftEdit's code does.

    Unless it `replaces` the weights, a warning says how far they are from those that the adapter
    was trained around. The layers get new weights, as by `fuse_lora`.

    Raises:
        WeightsError: The two are not of one shape.
    """
    own = unet.state_dict()
    if {n: t.shape for n, t in adapter.unet.items()} != {n: t.shape for n, t in own.items()}:
        raise WeightsError(
            f"The adapter '{adapter.path}' holds a U-Net of another shape than this one. {UNFIT}"
        )
    if replaces:
        taken = {name: adapter.unet[name].to(tensor) for name, tensor in own.items()}
        unet.load_state_dict(taken, assign=True)
        return
    pairs = ((own[name].cpu().float(), tensor.float()) for name, tensor in adapter.unet.items())
    sums = [((given - trained).square().sum(), trained.square().sum()) for given, trained in pairs]
    apart, whole = (float(sum(column)) for column in zip(*sums, strict=True))
    if (share := (apart / whole) ** 0.5) > ALIKE:
        logger.warning(
            "The adapter '%s' was trained around a U-Net that its file holds, and these weights "
            "are %.1f %% off. The recipe 'swiftedit' draws with that U-Net.",
            adapter.path.name,
            100 * share,
        )


def fuse_lora(adapter: Adapter, unet: UNet2DConditionModel) -> None:
    """Add the LoRA of a FaceID adapter to the weights of `unet`, all of it or none.

    The layers get new weights, so that another network which shares the old ones keeps them.

    Raises:
        WeightsError: The adapter was made for another U-Net.
    """
    paths = _attention_paths(list(unet.attn_processors))
    linears = [_lora_target(unet, paths, place, pair) for place, pair in adapter.lora.items()]
    for linear, (down, up) in zip(linears, adapter.lora.values(), strict=True):
        old = linear.weight
        change = up.to(old.device, torch.float32) @ down.to(old.device, torch.float32)
        new = (old.detach().float() + change).to(old.dtype)
        linear.weight = nn.Parameter(new, requires_grad=old.requires_grad)


def lora_scales(
    names: Sequence[str], weights: LoraScale | Sequence[LoraScale | None] | None
) -> dict[str, LoraScale]:
    """Return the strengths of LoRAs by name: one for all, or one each, None being 1.

    Raises:
        InputError: Numbers are missing, out of range or of something else than a U-Net.
    """
    given: list[Any] = [*weights] if isinstance(weights, Sequence) else [weights] * len(names)
    chosen = [scale.get("unet") if isinstance(scale, Mapping) else scale for scale in given]
    scales = [1.0 if scale in (None, {}) else copy.deepcopy(scale) for scale in chosen]
    others = [name for scale in given if isinstance(scale, Mapping) for name in scale]
    numbers = [number for scale in scales for number in _numbers(scale)]
    in_range = (isinstance(each, int | float) and abs(each) <= MAX_LORA_SCALE for each in numbers)
    if len(scales) != len(names) or not all(in_range) or {*others} - LORA_PARTS:
        raise InputError(
            f"The weights {given} were given for {len(names)} LoRAs. Give one number for all, "
            f"or one each, from {-MAX_LORA_SCALE} to {MAX_LORA_SCALE}, or numbers by block, as in "
            '{"unet": {"down": 0.5, "up": {"block_0": 1}}}.'
        )
    return dict(zip(names, scales, strict=True))


def _numbers(scale: Any) -> list[Any]:  # noqa: ANN401 - a number, or any nesting of them
    inner = scale.values() if isinstance(scale, Mapping) else scale
    is_one = not isinstance(scale, Mapping | list)
    return [scale] if is_one else [number for part in inner for number in _numbers(part)]


def fuse_lora_file(
    unet: UNet2DConditionModel,
    place: Path | bytes,
    *,
    family: str,
    loader: str,
    scale: LoraScale = 1.0,
    factor: float = 1.0,
    allow_pickle: bool = False,
) -> None:
    """Add the LoRA of a file, or of its bytes, to the weights of `unet`; nothing else stays.

    The layers get new weights, so that another network which shares the old ones keeps them.
    `loader` is the class of `diffusers.loaders` that reads LoRAs for the family. `scale` may be
    weights by block, as in diffusers; `factor` is one on all.

    Raises:
        InputError: There are no such blocks.
        MissingExtra: peft is not installed.
        WeightsError: The file is unreadable, or changes other layers than this network has.
    """
    check_reads_lora()
    tensors: dict[str, Tensor]
    if isinstance(place, bytes):
        path, tensors = Path("of a dict"), load(place)
    else:
        path, tensors = place, read_tensors(place, allow_pickle=allow_pickle)
    if any(MAGNITUDES in name for name in tensors):
        raise WeightsError(
            f"The LoRA '{path}' is a DoRA: it has magnitudes ('{MAGNITUDES}'), which nothing here "
            "reads, so it would act otherwise than it was trained. Choose a plain LoRA."
        )
    reader = getattr(importlib.import_module("diffusers.loaders"), loader)  # it takes a second
    reason = "it is no LoRA, or changes more than the denoiser"
    changed = 0
    try:
        state, alphas = reader.lora_state_dict(tensors, unet_config=unet.config)
        if all(name.startswith(DENOISER) for name in state):
            reader.load_lora_into_unet(state, alphas, unet, adapter_name=NAME)
            changed = sum(name.endswith(DOWN) for name in state)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = short_reason(error)
    if changed == 0:
        raise WeightsError(
            f"The LoRA '{path}' does not fit this denoiser ({reason}). Choose a LoRA for the "
            f"family {family}, or another preset."
        )
    taken = sum(f".lora_A.{NAME}." in name for name in unet.state_dict())
    if taken != changed:
        raise WeightsError(
            f"The LoRA '{path}' changes {changed} layers, and this denoiser has {taken} of them. "
            "Choose a LoRA that was trained for this network, or another preset."
        )
    for name, weight in list(unet.named_parameters()):
        if name.endswith(BASE):
            layer = unet.get_submodule(name.rpartition(".")[0])
            layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if isinstance(scale, Mapping):
        _weigh_blocks(unet, scale)
    unet.fuse_lora(lora_scale=factor if isinstance(scale, Mapping) else scale * factor)
    unet.unload_lora()


def _weigh_blocks(unet: UNet2DConditionModel, scale: Mapping[str, Any]) -> None:
    try:
        unet.set_adapters(NAME, [scale])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"The weights by block {scale} do not fit the U-Net ({short_reason(error)}). Give "
            'numbers for its blocks, as in {"down": 0.5, "up": {"block_1": [1, 0, 1]}}.'
        ) from error


def check_reads_lora() -> None:
    """Refuse LoRAs where what reads them is not installed."""
    check_installed("peft", extra="lora", use="A LoRA")


def semantic_tensors(installation: Installation, projector: nn.Module) -> dict[str, Tensor]:
    """Return the semantic branch in the layout of h94/IP-Adapter."""
    image_proj = image_proj_of(projector)
    tensors = {f"image_proj.{name}": tensor for name, tensor in image_proj.items()}
    for number, name in cross_attention(installation).items():
        processor = installation.semantic[name]
        tensors[f"ip_adapter.{number}.to_k_ip.weight"] = processor.to_k_ip.weight
        tensors[f"ip_adapter.{number}.to_v_ip.weight"] = processor.to_v_ip.weight
    return {name: tensor.detach() for name, tensor in tensors.items()}


def cross_attention(installation: Installation) -> dict[int, str]:
    """Return the module paths of the cross-attention layers by their public numbers."""
    paths = _attention_paths(list(installation.originals))
    return {number: path for number, path in enumerate(paths) if path in installation.semantic}


def _attention_paths(processors: list[str]) -> list[str]:
    # Numbers count in the order of `attn_processors`, down, up, middle, but without those of an
    # image projector that diffusers may have put into the U-Net, and of motion modules.
    paths = [name.removesuffix(".processor") for name in processors if MOTION not in name]
    return [path for path in paths if path.startswith(tuple(Block))]


def _lora_target(
    unet: UNet2DConditionModel, paths: list[str], place: Place, pair: Pair
) -> nn.Linear:
    number, name = place
    if number >= len(paths):
        raise WeightsError(
            f"The adapter's LoRA is for layer {number}, and this U-Net has {len(paths)} "
            f"attention layers. {UNFIT}"
        )
    path = f"{paths[number]}.to_{name}"
    linear = unet.get_submodule(f"{path}.0" if name == "out" else path)
    assert isinstance(linear, nn.Linear)
    down, up = pair
    needed, given = (linear.out_features, linear.in_features), (len(up), down.shape[1])
    if given != needed:
        raise WeightsError(
            f"The adapter's LoRA of layer {number} is {given}, and {path} needs {needed}. {UNFIT}"
        )
    return linear


def _layers(tensors: Mapping[str, Tensor], *, width: int) -> dict[int, Pair]:
    """Return keys' and values' matrices (inner width, `width`) by number, in rising order."""
    for name in tensors:
        if SEMANTIC.fullmatch(name) is None and LORA.fullmatch(name) is None:
            raise WeightsError(f"'ip_adapter.{name}' is not a known part of an IP-Adapter.")
    found = {
        int(number): pair
        for (number,), pair in _pairs(tensors, SEMANTIC, ("k", "v"), what="Layer {}").items()
    }
    if not found:
        raise WeightsError("The adapter has no 'ip_adapter.N.to_k_ip.weight'. Get it again.")
    for number, (key, value) in found.items():
        if key.shape != value.shape or key.shape[1] != width:
            raise WeightsError(
                f"Layer {number} of the adapter has matrices {tuple(key.shape)} and "
                f"{tuple(value.shape)}, and its projector makes tokens of {width}. These are parts "
                "of two files."
            )
    return dict(sorted(found.items()))


def _lora(tensors: Mapping[str, Tensor]) -> dict[Place, Pair]:
    pairs = _pairs(tensors, LORA, ("down", "up"), what="The LoRA of layer {}, to_{},")
    for (number, name), (down, up) in pairs.items():
        if len(down) != up.shape[1]:
            raise WeightsError(
                f"The LoRA of layer {number}, to_{name}, has matrices of two ranks. Get the file "
                "again."
            )
    return {(int(number), name): pair for (number, name), pair in pairs.items()}


def _pairs(
    tensors: Mapping[str, Tensor], pattern: re.Pattern[str], parts: tuple[str, str], *, what: str
) -> dict[tuple[str, ...], Pair]:
    """Return the two `parts` of each place; `pattern` has groups for place and, last, the part."""
    found: dict[tuple[str, ...], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := pattern.fullmatch(name):
            if tensor.ndim != 2 or not tensor.is_floating_point():
                raise WeightsError(
                    f"'ip_adapter.{name}' is not a matrix of numbers. Get the file again."
                )
            *key, part = match.groups()
            found.setdefault(tuple(key), {})[part] = tensor
    for place, pair in found.items():
        if pair.keys() != {*parts}:
            raise WeightsError(
                f"{what.format(*place)} lacks one of {' and '.join(parts)}. Get the file again."
            )
    return {place: (pair[parts[0]], pair[parts[1]]) for place, pair in found.items()}
