"""Layers that compute less: folded upsampling, downsampled tokens."""

from dataclasses import replace

from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.engine.layers import FoldedUpsampling, can_fold
from swiftpie.engine.transforms import Transform
from swiftpie.engine.wrappers import module_of, shared_copy, with_networks
from swiftpie.errors import CapabilityError

TOKEN_STRIDE = 2  # quarters the keys; coarser grids have few tokens and stay whole


def with_folded_upsampling(components: Components) -> Components:
    """Return components that compute the same pictures with fewer products.

    The decoder of Stable Diffusion saves a sixth of its work, a U-Net a twentieth.
    """
    return with_networks(components, _folded, ("denoiser", "autoencoder", "inversion"))


def with_token_downsampling(components: Components) -> Components:
    """Return components whose U-Nets attend to every second token of every second row.

    From token downsampling (arXiv:2402.13573), on the finest grid of self-attention: neighbours
    say nearly the same, so queries stay and keys and values are thinned. References keep all of
    theirs, because the same done to them costs the subject; so does the inversion network of
    `mini`, which is small. Weights are shared with the given components.

    Raises:
        CapabilityError: The denoiser keeps its own attention, which cannot be thinned.
    """
    denoiser = shared_copy(module_of(components.denoiser))
    installed = denoiser.installation
    layers = (*installed.detail.values(), *installed.plain.values())
    if not all(hasattr(attention, "stride") for attention in layers):
        raise CapabilityError(
            f"'token-downsampling' was requested, and the denoiser of preset "
            f"{components.preset.name!r} keeps the attention that it was published with. Leave it "
            "out."
        )
    for attention in layers:
        attention.stride = TOKEN_STRIDE
    inversion = components.inversion
    if inversion is not None:
        family = components.family
        inversion = family.thin_inversion(inversion, stride=TOKEN_STRIDE, copied=shared_copy)
    return replace(components, denoiser=denoiser, inversion=inversion)


def _folded(network: nn.Module) -> nn.Module:
    foldable = [name for name, part in network.named_modules() if can_fold(part)]
    for name in foldable:
        network.set_submodule(name, FoldedUpsampling(network.get_submodule(name)))
    return network


TRANSFORMS = {
    "folded-upsampling": Transform(
        summary="Exact: convolutions after upsampling run on the small picture; for full decoders.",
        apply=with_folded_upsampling,
    ),
    "token-downsampling": Transform(
        summary="Finest self-attention to a quarter of its tokens; quicker for large pictures.",
        apply=with_token_downsampling,
    ),
}
