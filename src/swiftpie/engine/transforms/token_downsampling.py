"""Self-attention on the finest grid to every second token of every second row."""

from dataclasses import replace

from swiftpie.backbones.components import Components
from swiftpie.engine.transform import Transform
from swiftpie.engine.wrappers import module_of, shared_copy

STRIDE = 2  # quarters the keys; coarser grids have few tokens and stay whole


def apply(components: Components) -> Components:
    """Return components whose U-Nets attend to a quarter of their own finest tokens.

    From token downsampling (arXiv:2402.13573): neighbours say nearly the same, so queries stay
    and keys and values are thinned. References keep all of theirs, because the same done to them
    costs the subject; so does the inversion network of `mini`, which is small. Weights are shared
    with the given components.
    """
    denoiser = shared_copy(module_of(components.denoiser))
    installed = denoiser.installation
    for attention in (*installed.detail.values(), *installed.plain.values()):
        attention.stride = STRIDE
    inversion = components.inversion
    if inversion is not None:
        family = components.family
        inversion = family.thin_inversion(inversion, stride=STRIDE, copied=shared_copy)
    return replace(components, denoiser=denoiser, inversion=inversion)


TRANSFORM = Transform(
    summary="Finest self-attention to a quarter of its tokens; quicker for large pictures.",
    apply=apply,
)
