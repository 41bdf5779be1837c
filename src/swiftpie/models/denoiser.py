"""What every denoiser takes and returns, and how it reads references for both branches."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.install import Installation
from swiftpie.geometry.layout import Layout
from swiftpie.types import Autoencoder, TextCondition

Network = TypeVar("Network", bound=nn.Module)


class SubjectCondition(NamedTuple):
    """Everything of S subjects that reaches the denoiser in one call; tensors only."""

    attention: AttentionCondition
    pooled: Tensor  # (B, S, D) one vector a subject
    aligned: Tensor  # (B, S, C', h, w) subjects in place; C' is 0 where a denoiser takes none
    pose: Tensor  # (B, S, 4) as in `Layout`; 0 is as the reference shows the subject


class Prediction(NamedTuple):
    """What the denoiser says about one noisy batch."""

    sample: Tensor  # (B, C, h, w) in the schedule's prediction type
    subject_mask: Tensor  # (B, 1, h', w') in [0, 1]: where subjects are; all zero if it cannot tell


class Denoiser(Protocol):
    """A U-Net or transformer whose attention layers read the condition."""

    installation: Installation

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict from `latents` (B, C, h, w); layers may write into `notes`."""

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return what `read_reference` looks at of canonical references, (R, C', h, w).

        `pixels` (R, 3, H, W) are reference frames in [-1, 1], grey (0) outside the subject, and
        `mask` (R, 1, H, W) is the subject in them.
        """

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the inputs of all layers with a detail branch, by module path, (R, N, D_layer).

        `encoded` (R, C', h, w) is of `encode_reference`, `text` the empty prompt in R rows.
        """

    def place_subject(
        self,
        autoencoder: Autoencoder,
        pixels: Tensor,
        mask: Tensor,
        *,
        layout: Layout,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the aligned subject (B, C', h, w) that this denoiser takes as input.

        `pixels` (B, 3, H, W) and `mask` (B, 1, H, W) are a reference frame a row; `cells` is
        (h, w).
        """


class ReferenceFeatures(NamedTuple):
    """Features of R reference pictures, each on its own row."""

    tokens: Tensor  # (R, K, D) semantic branch
    pooled: Tensor  # (R, D)
    keys: dict[str, Tensor]  # detail branch, by module path, each (R, N, D_layer)
    values: dict[str, Tensor]  # the same shapes


def read_references(
    denoiser: Denoiser,
    image_encoder: nn.Module,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition | None,
) -> ReferenceFeatures:
    """Run both encoders over canonical references, see `encode_reference`; one row of empty text.

    `image_encoder` maps (pixels, mask) to identity tokens (R, K, D), the first a summary; the
    denoiser's own features serve the detail branch.
    """
    tokens = image_encoder(pixels, mask)
    notes = read_notes(denoiser, autoencoder, pixels=pixels, mask=mask, empty_text=empty_text)
    keys, values = denoiser.installation.project(notes)
    return ReferenceFeatures(tokens=tokens, pooled=tokens[:, 0], keys=keys, values=values)


def read_notes(
    denoiser: Denoiser,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition | None,
) -> Notes:
    """Return what the detail branch projects, (R, N, D_layer) by layer; see `read_references`.

    Nothing is computed for denoisers without such a layer, which need no text either.
    """
    if not denoiser.installation.detail:
        return {}
    assert empty_text is not None, "references are read with it"
    encoded = denoiser.encode_reference(autoencoder, pixels, mask)
    return denoiser.read_reference(encoded, empty_text.repeat(len(pixels)))


def sharing_weights(network: Network) -> Network:
    """Return a second network around the same weights, so that threads may share the first."""
    weights = [*network.parameters(), *network.buffers()]
    return copy_around(network, {id(one): one for one in weights})


def copy_around(network: Network, shared: Mapping[int, Tensor]) -> Network:
    """Return a deep copy of `network` with `shared` in place of tensors, which it names by `id`.

    A module has a dozen empty dicts, most of them for hooks. To make them is quick; to find out how
    each is to be copied took two thirds of the time of all.
    """
    empty = {
        id(one): type(one)()
        for module in network.modules()
        for one in vars(module).values()
        if type(one) in {dict, OrderedDict} and not one
    }
    return copy.deepcopy(network, {**empty, **shared})
