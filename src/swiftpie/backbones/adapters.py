"""Identity adapters of any layout: recognition, checks, installation and saving."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan
from swiftpie.attention.processors import Merge
from swiftpie.backbones.choices import DetailForm
from swiftpie.backbones.components import Components
from swiftpie.backbones.load.adapter_file import (
    KEY,
    PREFIX,
    check_reference,
    load_adapter,
    save_adapter,
    settings_in,
)
from swiftpie.backbones.load.ip_adapter import (
    REFERENCE_TIMESTEP,
    Adapter,
    fuse_lora,
    load_into,
    read_ip_adapter,
    version_in_name,
)
from swiftpie.backbones.load.safe import (
    METADATA,
    check_safetensors,
    kind_of_file,
    read_tensors,
    shapes_of,
)
from swiftpie.backbones.load.weights import align_memory
from swiftpie.backbones.presets import Preset, UntrainedDetail
from swiftpie.errors import ConfigError, WeightsError
from swiftpie.models.denoiser import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder, FaceIdentityEncoder, Feature, Projector
from swiftpie.noise import scaled_linear_step


def open_adapter(path: Path, *, allow_pickle: bool = False) -> Adapter:
    """Recognise the layout of an adapter by its content and read it.

    The name of a FaceID Plus file says its version. Most released `.bin` files need `allow_pickle`.

    Raises:
        WeightsError: It is unreadable, of no known layout, or of an unknown version.
    """
    if kind_of_file(path) == "safetensors":
        header = check_safetensors(path)
        if KEY in header.get(METADATA, {}):
            return settings_in(header, path)
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    return replace(read_ip_adapter(tensors, face_version=version_in_name(path)), path=path)


def peek_adapter(path: Path, *, allow_pickle: bool = False) -> Adapter:
    """Recognise an adapter, in a safetensors file by its header alone; see `open_adapter`.

    Tensors of a header have shapes and no numbers. The projector is that of the file, ours or not.

    Raises:
        WeightsError: It is of no known layout, or of an unknown version.
    """
    if kind_of_file(path) != "safetensors":
        return open_adapter(path, allow_pickle=allow_pickle)
    header = check_safetensors(path)
    shapes = shapes_of(header)
    if KEY not in header.get(METADATA, {}):
        return replace(read_ip_adapter(shapes, face_version=version_in_name(path)), path=path)
    own = settings_in(header, path)
    semantic = {name: shape for name, shape in shapes.items() if not name.startswith(PREFIX)}
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
            return _untrained(own, detail)
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
    return _untrained(BranchPlan(token_width=width, semantic=frozenset()), preset.detail)


def _untrained(plan: BranchPlan, form: UntrainedDetail) -> BranchPlan:
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
) -> tuple[UNetDenoiser, Projector | None]:
    """Install the identity branches on `unet`, with the weights of `adapter` if there is one.

    The LoRA of a FaceID adapter becomes part of the weights of `unet`, which has no branches yet
    and says where the new weights go and of which type they are. Without an adapter the branches
    have no meaning, for pictures of text alone. The layers of `plan` get branches; None: those
    that there are weights for. References are read by `reference`, or by `unet` itself.

    Raises:
        WeightsError: The adapter was made for another U-Net or plan.
    """
    width, timestep = unet.config.cross_attention_dim, REFERENCE_TIMESTEP
    if adapter is not None:
        check_family(adapter, family=family, width=width)
        check_reference(adapter, reference)
        plan, timestep = plan or adapter.plan, adapter.t_ref
        fuse_lora(adapter, unet)
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
