"""Identity adapters of any layout: what they were made for, and into the denoiser with them."""

from dataclasses import dataclass
from pathlib import Path

from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig

from swiftpie.attention.install import Plan
from swiftpie.backbones.checkpoints.adapter_file import (
    KEY,
    AdapterSettings,
    load_adapter,
    read_settings,
)
from swiftpie.backbones.checkpoints.ip_adapter import IpAdapter, load_into, read_ip_adapter
from swiftpie.backbones.checkpoints.safe import read_metadata, read_tensors
from swiftpie.backbones.checkpoints.swiftedit import PARTS, read_swiftedit
from swiftpie.errors import WeightsError
from swiftpie.models.projection import Feature, Projector
from swiftpie.models.unet import UNetDenoiser


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


def check_family(adapter: OpenAdapter, unet: UNet2DConditionModel) -> None:
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


def fill(denoiser: UNetDenoiser, adapter: OpenAdapter, *, family: str) -> Projector:
    """Load the weights of `adapter` into the branches of `denoiser`.

    Raises:
        WeightsError: They were made for another U-Net or plan.
    """
    if adapter.public is None:
        installation = denoiser.installation
        return load_adapter(adapter.path, installation=installation, family=family).projector
    load_into(adapter.public, denoiser.installation)
    return adapter.public.projector


def check_image_encoder(projector: Projector, config: CLIPVisionConfig) -> None:
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
