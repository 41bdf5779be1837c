"""The interface of denoisers, what wraps one, how they read references, and one of U-Nets."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import (
    EVERY_LAYER,
    INLINE_MASK,
    AttentionCondition,
    Notes,
    silent_condition,
)
from swiftpie.attention.install import BranchPlan, Installation, install, install_reading
from swiftpie.errors import InputError
from swiftpie.geometry.layout import Layout
from swiftpie.noise import Step, add_noise
from swiftpie.types import Autoencoder, Identity, TextCondition

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

Network = TypeVar("Network", bound=nn.Module)

MOVES = "motion_max_seq_length"  # a setting of U-Nets with motion modules alone
REFERENCE_SEED = 0  # every reference is noised alike, so that an identity is reproducible


class SubjectCondition(NamedTuple):
    """Everything about S subjects that one call of the denoiser reads; tensors only."""

    attention: AttentionCondition
    pooled: Tensor  # (B, S, D) one vector a subject
    aligned: Tensor  # (B, S, C', h, w) subjects in place; C' is 0 where a denoiser takes none
    pose: Tensor  # (B, S, 4) as in `Layout`; 0 is as the reference shows the subject


class Prediction(NamedTuple):
    """The output of a denoiser."""

    sample: Tensor  # (B, C, h, w) in the schedule's prediction type
    subject_mask: (
        Tensor  # (B, 1, h', w') in [0, 1]: where subjects are; 0 if the denoiser finds none
    )


class Denoiser(Protocol):
    """A U-Net or transformer whose attention layers read the condition."""

    installation: Installation

    def __call__(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict from `latents` (B, C, h, w), at one time or (B,); layers may write `notes`."""

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return the input of `read_reference` for canonical references, (R, C', h, w).

        `pixels` (R, 3, H, W) are reference frames in [-1, 1], grey (0) outside the subject, and
        `mask` (R, 1, H, W) is the subject in them.
        """

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the inputs of all layers with a detail branch, by module path, (R, N, D_layer).

        `encoded` (R, C', h, w) is of `encode_reference`, `text` the empty prompt in R rows.
        """

    def place_subjects(
        self,
        autoencoder: Autoencoder,
        frames: Sequence[Tensor],
        *,
        layouts: Sequence[Layout],
        present: Tensor,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the aligned subjects (B, S, C', h, w) that this denoiser takes as input.

        The first subject stands in front. `frames` are the pixels and the mask of a reference of
        each, (B, 4, H, W). A subject is left out of rows where `present` (B, S) is 0. `cells` is
        (h, w).
        """


@runtime_checkable
class ReadsLayers(Protocol):
    """A denoiser whose self-attention can be shared with another picture."""

    def read_layers(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the inputs of all layers of self-attention, by module path, (R, N, D_layer)."""


def module_of(network: object) -> Any:  # noqa: ANN401 - a module that can do more
    """Return a denoiser, autoencoder or decoder as what they all are."""
    assert isinstance(network, nn.Module), "networks are modules"
    return network


class DenoiserCall(NamedTuple):
    """The arguments of a denoiser, as a graph takes them."""

    latents: Tensor
    timestep: Tensor
    text: TextCondition
    condition: SubjectCondition


class WrappedDenoiser(nn.Module):
    """A denoiser around another that predicts in another way; all else that one does itself."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner: Any = module_of(inner)
        self.installation = inner.installation
        self.encode_reference = inner.encode_reference
        self.place_subjects = inner.place_subjects
        if isinstance(inner, ReadsLayers):
            self.read_layers = inner.read_layers

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Predict; of the notes only the inline mask is written. See `Denoiser`."""
        # A graph would hold a plain number.
        number = torch.as_tensor(timestep, device=latents.device)
        sample, mask, *inline = self._predict(DenoiserCall(latents, number, text, condition))
        if inline:
            notes[INLINE_MASK] = inline[0]
        return Prediction(sample, mask)

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        return predict(self.inner, *call)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        return self.inner.read_reference(encoded, text)


def predict(
    denoiser: Any,  # noqa: ANN401 - a denoiser, or what stands for it while a graph is made
    latents: Tensor,
    timestep: Tensor,
    text: TextCondition,
    condition: SubjectCondition,
) -> tuple[Tensor, ...]:
    """Return what `denoiser` predicts as tensors alone: sample, mask, the inline mask if any."""
    notes: Notes = {}
    prediction = denoiser(latents, timestep, text, condition, notes)
    inline = (notes[INLINE_MASK],) if INLINE_MASK in notes else ()
    return (prediction.sample, prediction.subject_mask, *inline)


class ReferenceFeatures(NamedTuple):
    """Features of R reference pictures, each on its own row."""

    tokens: Tensor  # (R, K, D) semantic branch
    pooled: Tensor  # (R, D)
    keys: dict[str, Tensor]  # detail branch, by module path, each (R, N, D_layer)
    values: dict[str, Tensor]  # the same shapes

    def as_identity(
        self, pixels: Tensor, mask: Tensor, *, preset: str, fingerprint: str
    ) -> Identity:
        """Return the one subject that they show, in frames (R, 3, S, S) and masks (R, 1, S, S)."""
        keys, values = (
            {name: rows.flatten(0, 1)[None] for name, rows in each.items()}
            for each in (self.keys, self.values)
        )
        tokens, pooled = self.tokens.flatten(0, 1)[None], self.pooled.mean(0, keepdim=True)
        return Identity(preset, fingerprint, tokens, pooled, keys, values, pixels, mask)


def read_references(
    denoiser: Denoiser,
    image_encoder: nn.Module | None,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition | None,
) -> ReferenceFeatures:
    """Encode canonical references for both branches, with one row of empty text.

    `image_encoder` maps (pixels, mask) to identity tokens (R, K, D), the first a summary; without
    it they are zeros, which nothing reads. The detail branch reads features of the denoiser itself;
    without a text it reads none.
    """
    if image_encoder is None:
        tokens = pixels.new_zeros(len(pixels), 1, denoiser.installation.plan.token_width)
    else:
        tokens = image_encoder(pixels, mask)
    notes = read_notes(denoiser, autoencoder, pixels=pixels, mask=mask, empty_text=empty_text)
    installed = denoiser.installation
    pairs = {
        name: branch.project(installed.network.get_submodule(name), notes[name])
        for name, branch in installed.detail.items()
        if name in notes
    }
    keys = {name: key for name, (key, _) in pairs.items()}
    values = {name: value for name, (_, value) in pairs.items()}
    return ReferenceFeatures(tokens=tokens, pooled=tokens[:, 0], keys=keys, values=values)


def read_notes(
    denoiser: Denoiser,
    autoencoder: Autoencoder,
    *,
    pixels: Tensor,
    mask: Tensor,
    empty_text: TextCondition | None,
) -> Notes:
    """Return the features that the detail branch projects, (R, N, D_layer) by layer.

    Empty for denoisers without such a layer, and without a text.
    """
    if empty_text is None or not denoiser.installation.detail:
        return {}
    encoded = denoiser.encode_reference(autoencoder, pixels, mask)
    return denoiser.read_reference(encoded, empty_text.repeat(len(pixels)))


class PublishedDenoiser(nn.Module):
    """The base of denoisers of others, whose input has no room for subjects in place."""

    def place_subjects(
        self, *_: object, present: Tensor, cells: tuple[int, int], **_layouts: object
    ) -> Tensor:
        """Return nothing: it takes no aligned subject, (B, S, 0, h, w)."""
        return present.new_zeros(*present.shape, 0, *cells)


class UNetDenoiser(PublishedDenoiser):
    """A Stable Diffusion 1.x, 2.x or XL U-Net with both identity branches.

    Reference features come from `reference`, a frozen U-Net of the same shape, or from this one
    with its identity branches silent. References are noised to `reference_step` and read at the
    inputs of self-attention: our way to the detail branch of arXiv:2605.01510, whose full text is
    not public. A one-step student never saw such little noise, the model behind it did. Keys and
    values are made by the projections of the branch, which match the queries of this U-Net.
    """

    def __init__(
        self,
        unet: "UNet2DConditionModel",
        plan: BranchPlan,
        *,
        reference_step: Step,
        reference: "UNet2DConditionModel | None" = None,
    ) -> None:
        """Install the branches on `unet`, and what reads on `reference`."""
        super().__init__()
        self.unet = unet
        self.installation = install(unet, plan)
        self.start_from_own_weights()
        self.reference_step = reference_step
        self.reference = reference
        if reference is not None:
            install_reading(reference)

    @torch.no_grad()
    def start_from_own_weights(self) -> None:
        """Begin new projections as copies of each layer's own keys and values."""
        for name, cross in self.installation.semantic.items():
            layer = self.unet.get_submodule(name)
            if cross.to_k_ip.weight.shape == layer.to_k.weight.shape:
                cross.to_k_ip.weight.copy_(layer.to_k.weight)
                cross.to_v_ip.weight.copy_(layer.to_v.weight)
        for name, own in self.installation.detail.items():
            layer = self.unet.get_submodule(name)
            if own.to_k_ref is not None and own.to_v_ref is not None:
                own.to_k_ref.weight.copy_(layer.to_k.weight)
                own.to_v_ref.weight.copy_(layer.to_v.weight)

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return the raw output at one timestep or (B,); there is no mask.

        With motion modules, `latents` may be A animations (A, C, F, h, w), whose A * F frames are
        the rows of text and condition; what comes back has their shape.
        """
        attention = condition.attention
        sample = _run(self.unet, latents, timestep, text=text, condition=attention, notes=notes)
        return Prediction(sample=sample, subject_mask=latents.new_zeros(len(text.pooled), 1, 1, 1))

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return slightly noised latents of references; see `Denoiser`."""
        del mask  # the pixels are grey outside it already
        clean = autoencoder.encode(pixels)
        generator = torch.Generator().manual_seed(REFERENCE_SEED)
        noise = torch.randn(clean.shape[1:], generator=generator).to(clean)
        return add_noise(clean, noise, self.reference_step)

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        notes = self._read(encoded, text, {})
        return {name: notes[name] for name in self.installation.detail}

    def read_layers(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the inputs of all layers of self-attention, as `read_reference` of some."""
        notes = self._read(encoded, text, {EVERY_LAYER: encoded})
        return {name: noted for name, noted in notes.items() if name != EVERY_LAYER}

    def _read(self, encoded: Tensor, text: TextCondition, notes: Notes) -> Notes:
        silent = silent_condition(encoded, width=self.installation.plan.token_width)
        step = self.reference_step.timestep
        reader = self.unet if self.reference is None else self.reference
        _run(reader, encoded, step, text=text, condition=silent, notes=notes)
        return notes


def _run(
    unet: "UNet2DConditionModel",
    latents: Tensor,
    timestep: float | Tensor,
    *,
    text: TextCondition,
    condition: AttentionCondition,
    notes: Notes,
) -> Tensor:
    latents = latents.to(unet.dtype)
    dtype = latents.dtype
    is_still = MOVES in unet.config and latents.ndim == 4  # each row an animation of one frame
    condition = condition._replace(  # what meets weights; masks and scales stay exact
        identity_tokens=condition.identity_tokens.to(dtype),
        keys={name: key.to(dtype) for name, key in condition.keys.items()},
        values={name: value.to(dtype) for name, value in condition.values.items()},
        style={
            name: part._replace(tokens=part.tokens.to(dtype))
            for name, part in condition.style.items()
        },
    )
    sample: Tensor = unet(
        latents.unsqueeze(2) if is_still else latents,
        timestep,
        text.hidden_states.to(dtype),
        added_cond_kwargs=added_conditions(unet, latents, text),
        cross_attention_kwargs={"condition": condition, "notes": notes},
    ).sample
    return sample.squeeze(2) if is_still else sample


def added_conditions(
    unet: "UNet2DConditionModel", latents: Tensor, text: TextCondition
) -> dict[str, Tensor] | None:
    """Return the extra conditions of Stable Diffusion XL, in the dtype of `latents`; else None.

    `time_ids` (B, 6) are original size, crop corner and target size in pixels.
    """
    if unet.config.addition_embed_type != "text_time":
        return None
    height, width = (8 * side for side in latents.shape[-2:])  # its VAE shrinks eight times
    row = [height, width, 0, 0, height, width]
    time_ids = torch.tensor([row] * len(latents), device=latents.device, dtype=latents.dtype)
    return {"text_embeds": text.pooled.to(latents.dtype), "time_ids": time_ids}


def without_branches(unet: "UNet2DConditionModel") -> "UNet2DConditionModel":
    """Return a second U-Net around the same weights, without identity branches."""
    from diffusers.models.attention_processor import AttnProcessor

    plain = sharing_weights(unet)
    plain.set_attn_processor(AttnProcessor())
    return plain


def check_bare(unet: "UNet2DConditionModel") -> None:
    """Check that nothing is installed on a U-Net."""
    layers = {name for name, _ in unet.named_parameters()}
    extra = sorted(name for name in layers if ".processor." in name or ".lora_" in name)
    if extra or hasattr(unet, "_hf_hook") or getattr(unet, "encoder_hid_proj", None) is not None:
        raise InputError(
            f"The U-Net is not as published ({extra[0] if extra else 'it has a hook'}). Call "
            "unload_ip_adapter(), fuse_lora() and "
            "unload_lora_weights(), or remove_all_hooks() first, or share a pipeline of SwiftPie "
            "with from_pipe()."
        )


def sharing_weights(network: Network) -> Network:
    """Return a second network around the same weights; changes of one leave the other unchanged."""
    weights = [*network.parameters(), *network.buffers()]
    return copy_around(network, {id(weight): weight for weight in weights})


def copy_around(network: Network, shared: Mapping[int, Tensor]) -> Network:
    """Return a deep copy of `network` in which `shared` tensors, by `id`, replace copies.

    A module has a dozen empty dicts, most of them for hooks. Replacing them directly avoids two
    thirds of the time of a deep copy.
    """
    empty = {
        id(value): type(value)()
        for module in network.modules()
        for value in vars(module).values()
        if type(value) in {dict, OrderedDict} and not value
    }
    return copy.deepcopy(network, {**empty, **shared})
