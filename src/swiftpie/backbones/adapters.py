"""Identity adapters of any layout: what they were made for, into the denoiser and out again."""

from dataclasses import dataclass, replace
from pathlib import Path

from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from swiftpie.attention.install import Plan
from swiftpie.backbones.checkpoints.adapter_file import (
    KEY,
    AdapterSettings,
    load_adapter,
    read_settings,
    save_adapter,
)
from swiftpie.backbones.checkpoints.ip_adapter import IpAdapter, load_into, read_ip_adapter
from swiftpie.backbones.checkpoints.safe import read_metadata, read_tensors
from swiftpie.backbones.checkpoints.swiftedit import PARTS, read_swiftedit
from swiftpie.backbones.components import Components
from swiftpie.backbones.preset import Family, Preset
from swiftpie.backbones.weights import own_memory
from swiftpie.errors import WeightsError
from swiftpie.models.projection import Feature, Projector
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import scaled_linear_step

REFERENCE_TIMESTEP = 250  # little noise: the reference U-Net still sees every detail


@dataclass(frozen=True, eq=False)
class OpenAdapter:
    """An adapter that has been read as far as is needed to prepare a denoiser for it."""

    path: Path
    settings: AdapterSettings | None  # of SwiftPie's own files
    public: IpAdapter | None  # of all others, whole

    @property
    def plan(self) -> Plan:
        """The branches that the adapter has weights for.

        A public adapter has none for the detail branch; it speaks in every cross-attention.
        """
        if self.settings is not None:
            return self.settings.plan
        assert self.public is not None
        return Plan(token_width=self.public.projector.width, detail=frozenset())


def open_adapter(path: Path, *, allow_pickle: bool = False) -> OpenAdapter:
    """Recognise the layout of an adapter by its content and read it.

    Raises:
        WeightsError: It is unreadable, or of no known layout.
    """
    if _is_own(path):
        return OpenAdapter(path, settings=read_settings(path), public=None)
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    is_swiftedit = any(name.startswith(tuple(PARTS)) for name in tensors)
    read = read_swiftedit if is_swiftedit else read_ip_adapter
    return OpenAdapter(path, settings=None, public=read(tensors))


def fit(
    unet: UNet2DConditionModel,
    adapter: OpenAdapter | None,
    *,
    family: Family,
    plan: Plan | None = None,
    reference: UNet2DConditionModel | None = None,
) -> tuple[UNetDenoiser, Projector | None]:
    """Install the identity branches on `unet`, with the weights of `adapter` if there is one.

    Args:
        unet: Without branches; says where the new weights go and of which type they are.
        adapter: None leaves the branches without meaning, for pictures of text alone.
        family: Of `unet`.
        plan: Which layers get which branch; None: those that there are weights for.
        reference: Reads references in place of `unet`.

    Raises:
        WeightsError: The adapter was made for another U-Net or plan.
    """
    if adapter is not None:
        _check_family(adapter, unet)
    settings = None if adapter is None else adapter.settings
    denoiser = UNetDenoiser(
        unet,
        plan or _default_plan(adapter, unet),
        reference_step=scaled_linear_step(
            REFERENCE_TIMESTEP if settings is None else settings.t_ref
        ),
        reference=reference,
    )
    projector = None if adapter is None else _fill(denoiser, adapter, family=family)
    return denoiser.to(device=unet.device, dtype=unet.dtype), projector


def join(tower: CLIPVisionModelWithProjection, projector: Projector) -> ClipIdentityEncoder:
    """Return the image encoder that an adapter reads, where `tower` is and of its type.

    Raises:
        WeightsError: The projector was trained on another tower.
    """
    _check_image_encoder(projector, tower.config)
    own_memory(projector.module.to(device=tower.device, dtype=tower.dtype))
    encoder = ClipIdentityEncoder(tower, projector.module, projector.feature)
    return encoder.to(tower.device).eval()


def with_defaults(preset: Preset, adapter: OpenAdapter | None) -> Preset:
    """Return `preset` with the strengths that the adapter recommends."""
    if adapter is None or adapter.settings is None:
        return preset
    return replace(preset, defaults={**preset.defaults, **adapter.settings.defaults})


def write_adapter(path: Path, components: Components) -> None:
    """Write what `fit` and `join` put around public networks as an adapter of our own.

    Raises:
        InputError: `path` exists, or its folder cannot be written to.
    """
    denoiser, encoder = components.denoiser, components.image_encoder
    assert isinstance(denoiser, UNetDenoiser), "only these have adapters"
    assert isinstance(encoder, ClipIdentityEncoder), "only these have adapters"
    save_adapter(
        path,
        installation=denoiser.installation,
        projector=encoder.projector,
        family=components.preset.family.value,
        t_ref=denoiser.reference_step.timestep,
        defaults=components.preset.defaults,
    )


def _default_plan(adapter: OpenAdapter | None, unet: UNet2DConditionModel) -> Plan:
    """Return the branches that there are weights for, none of detail without an adapter."""
    if adapter is not None:
        return adapter.plan
    return Plan(token_width=unet.config.cross_attention_dim, detail=frozenset())


def _check_family(adapter: OpenAdapter, unet: UNet2DConditionModel) -> None:
    """Refuse a public adapter of another family, whose layers may well have the same shapes.

    Raises:
        WeightsError: Its tokens are not as wide as this U-Net's text.
    """
    if adapter.public is None:
        return
    theirs, ours = adapter.public.projector.width, unet.config.cross_attention_dim
    if theirs != ours:
        raise WeightsError(
            f"The adapter '{adapter.path}' makes tokens of width {theirs}, and this model reads "
            f"text of width {ours}: it is for another family. Choose one for this family."
        )


def _fill(denoiser: UNetDenoiser, adapter: OpenAdapter, *, family: Family) -> Projector:
    """Load the weights of `adapter` into the branches of `denoiser`.

    Raises:
        WeightsError: They were made for another U-Net or plan.
    """
    if adapter.public is None:
        installation = denoiser.installation
        loaded = load_adapter(adapter.path, installation=installation, family=family.value)
        return loaded.projector
    load_into(adapter.public, denoiser.installation)
    return adapter.public.projector


def _check_image_encoder(projector: Projector, config: CLIPVisionConfig) -> None:
    """Refuse an image encoder that the projector was not trained on.

    Raises:
        WeightsError: Its features have another width.
    """
    widths = {Feature.EMBEDS: config.projection_dim, Feature.HIDDEN: config.hidden_size}
    width = widths.get(projector.feature, projector.feature_width)
    if width != projector.feature_width:
        raise WeightsError(
            f"The image encoder gives features of width {width}, and the adapter reads "
            f"{projector.feature_width}. IP-Adapters come for two encoders, ViT-H and ViT-bigG. "
            "Pass the folder of the other one as `image_encoder=` (--image-encoder)."
        )


def _is_own(path: Path) -> bool:
    try:
        return KEY in read_metadata(path)
    except WeightsError:
        return False  # a pickle perhaps; whoever reads the tensors says what is wrong
