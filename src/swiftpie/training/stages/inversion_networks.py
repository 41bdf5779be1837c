"""What SwiftEdit trains around a published one-step model, as one module apart from it."""

import copy
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call

from swiftpie.attention.condition import silent_condition
from swiftpie.backbones.checkpoints.ip_adapter import cross_attention
from swiftpie.backbones.checkpoints.safe import write_tensors
from swiftpie.models.inversion import INVERSION_TIMESTEP, START
from swiftpie.models.projection import image_proj_of
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.training.stages.adapter_networks import attention_alone
from swiftpie.types import TextCondition

ADAPTER_FILE = "ip_adapter.safetensors"
INVERSION_FOLDER = "inversion"


class ImageBranch(nn.Module):
    """Trained copies of the image projector and of the keys and values of its tokens."""

    def __init__(self, denoiser: UNetDenoiser, encoder: ClipIdentityEncoder) -> None:
        """Copy what training starts from."""
        super().__init__()
        installation = denoiser.installation
        self.paths = cross_attention(installation)
        self.projector = copy.deepcopy(encoder.projector)
        self.layers = nn.ModuleDict(
            {
                # Their public numbers, because names of modules hold no dots.
                str(number): copy.deepcopy(installation.semantic[path])
                for number, path in self.paths.items()
            }
        )
        self.requires_grad_(requires_grad=True)

    def tokens(self, encoder: ClipIdentityEncoder, pixels: Tensor) -> Tensor:
        """Return tokens (B, K, D) of whole pictures (B, 3, H, W), read by the frozen `encoder`."""
        weights = self.projector.named_parameters()
        worn: dict[str, Tensor] = {f"projector.{name}": one for name, one in weights}
        tokens: Tensor = functional_call(encoder, worn, (pixels, torch.ones_like(pixels[:, :1])))
        return tokens

    def denoiser_weights(self) -> dict[str, Tensor]:
        """Return the weights under the names that a `UNetDenoiser` has for its own."""
        return {
            f"unet.{path}.processor.{name}": one
            for number, path in self.paths.items()
            for name, one in self.layers[str(number)].named_parameters()
        }


class InversionNetworks(nn.Module):
    """The inversion network and, if it is trained along, the image branch of the generator."""

    def __init__(self, inversion: UNet2DConditionModel, image: ImageBranch | None) -> None:
        super().__init__()
        self.inversion = inversion
        self.image = image


def denoise(
    denoiser: UNetDenoiser,
    start: Tensor,
    timestep: float,
    text: TextCondition,
    *,
    tokens: Tensor | None,
    image: ImageBranch | None,
) -> Tensor:
    """Return the raw output (B, C, h, w) of the generator.

    Args:
        denoiser: The generator, frozen. Checkpointing must be off: recomputed layers would not see
            the weights of `image`.
        start: What enters it, (B, C, h, w).
        timestep: Of its first step.
        text: Prompts, B rows.
        tokens: Of the pictures that shall come back, (B, K, D); None for text alone.
        image: Weights to use instead of the denoiser's own.
    """
    attention = silent_condition(start, width=denoiser.installation.plan.token_width)
    if tokens is not None:
        everywhere = torch.ones_like(attention.identity_scale)
        attention = attention._replace(
            identity_tokens=tokens.unsqueeze(1).to(start), identity_scale=everywhere
        )
    condition = attention_alone(attention, start)
    worn = {} if image is None else image.denoiser_weights()
    prediction = functional_call(denoiser, worn, (start, timestep, text, condition, {}))
    sample: Tensor = prediction.sample
    return sample


def save_networks(networks: InversionNetworks, folder: Path) -> None:
    """Write a U-Net folder and an IP-Adapter, both as `swiftpie.load` takes them.

    Raises:
        InputError: The folder cannot be written to.
    """
    half = copy.deepcopy(networks.inversion).half()
    # How it was trained; names with an underscore are for whoever looks, loaders skip them.
    half.register_to_config(_name_or_path="", _start=START, _timestep=INVERSION_TIMESTEP)
    half.save_pretrained(folder / INVERSION_FOLDER)
    if networks.image is None:
        return
    projector = image_proj_of(networks.image.projector)
    tensors = {f"image_proj.{name}": tensor for name, tensor in projector.items()}
    for number, layer in networks.image.layers.items():
        for name, weight in layer.named_parameters():
            tensors[f"ip_adapter.{number}.{name}"] = weight
    halves = {name: one.detach().half() for name, one in tensors.items()}
    write_tensors(folder / ADAPTER_FILE, halves, metadata={"format": "pt"}, force=True)
