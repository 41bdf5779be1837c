"""FLUX.2's transformer as a denoiser that reads reference pictures as tokens beside its own."""

import torch
from diffusers import Flux2Transformer2DModel
from torch import Tensor

from swiftpie.attention.condition import Notes
from swiftpie.attention.reference_tokens import ReferenceTokens
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser
from swiftpie.schedules import TRAIN_TIMESTEPS
from swiftpie.types import TextCondition

ENTRANCE = "x_embedder"  # the layer through which cells and references enter
APART = 10  # of the first position of a reference's cells from those of the one before


class Flux2Denoiser(WholeDenoiser):
    """The transformer as it is: its own attention serves, as references are further tokens.

    Cells outside of a reference's mask are hidden from attention.
    """

    def __init__(self, transformer: Flux2Transformer2DModel, *, reads_references: bool) -> None:
        """Wrap `transformer`; nothing is installed in it."""
        references = ReferenceTokens(ENTRANCE, width=transformer.config.in_channels)
        super().__init__(transformer, detail={ENTRANCE: references} if reads_references else {})

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise (B, C, h, w) at one timestep or (B,); see `Denoiser`."""
        del notes  # its layers find nothing
        attention, network = condition.attention, self.network
        rows, columns = latents.shape[-2:]
        tokens, places = _packed(latents), [_positions(rows, columns, at=0, like=latents)]
        shown, words = attention.keys.get(ENTRANCE), text.hidden_states.to(network.dtype)
        steering = {}
        if shown is not None:
            tokens = torch.cat([tokens, shown.flatten(1, 2).to(tokens)], dim=1)
            _, subjects, views, *cells = attention.coverage.shape
            places += [
                _positions(cells[0], cells[1], at=APART * number, like=latents)
                for number in range(1, subjects * views + 1)
            ]
            branch = self.installation.detail[ENTRANCE]
            assert isinstance(branch, ReferenceTokens), "as installed"
            bias = branch.bias(attention, words.shape[1])
            steering = {} if bias is None else {"attention_mask": bias.to(network.dtype)}
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        velocity = network(
            hidden_states=tokens.to(network.dtype),
            encoder_hidden_states=words,
            timestep=times.expand(len(latents)) / TRAIN_TIMESTEPS,
            img_ids=torch.cat(places),
            txt_ids=_text_positions(words),
            joint_attention_kwargs=steering or None,
            return_dict=False,
        )[0]
        cells_of = velocity[:, : rows * columns].transpose(1, 2)
        sample = -cells_of.unflatten(2, (rows, columns))
        return Prediction(sample, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the tokens of references, (R, N, C); see `Denoiser`."""
        del text
        return {ENTRANCE: _packed(encoded)}


def _packed(latents: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens (B, h*w, C)."""
    return latents.flatten(2).transpose(1, 2)


def _positions(rows: int, columns: int, *, at: int, like: Tensor) -> Tensor:
    """Return (picture, row, column, word) of each cell, (rows * columns, 4)."""
    axes = [torch.arange(count, device=like.device) for count in (rows, columns)]
    first, zero = (torch.tensor([value], device=like.device) for value in (at, 0))
    return torch.cartesian_prod(first, *axes, zero)


def _text_positions(words: Tensor) -> Tensor:
    """Return the same of each token of text (B, T, D), (T, 4)."""
    places = torch.zeros(words.shape[1], 4, dtype=torch.int64, device=words.device)
    places[:, 3] = torch.arange(words.shape[1], device=words.device)
    return places
