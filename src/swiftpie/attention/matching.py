"""Values of references at matching places, after DreamMatcher (arXiv:2402.09812), untrained.

A layer attends with its own queries and keys, so what is where stays the prompt's. The value of
each place becomes that of the reference's place whose key is most alike. From its abstract and a
review. Differs from the paper: keys of the same layer match, no intermediate features of several,
and a match counts if the way back ends near where it began.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

RETURN_CELLS = 1.5  # distance within which the way back has to end


class Matches(NamedTuple):
    """Where each place finds itself in the references of a subject."""

    places: Tensor  # (B, S, N) long, among all cells of all references
    is_mutual: Tensor  # (B, S, N) 1 = the way back ends at the place or beside it


def match(keys: Tensor, references: Tensor, grid: tuple[int, int]) -> Matches:
    """Match places by the cosines of their keys.

    Shapes: keys (B, N, D) on a `grid` of rows and columns, those of S subjects (B, S, M, D).
    """
    cosines = F.normalize(keys, dim=-1)[:, None] @ F.normalize(references, dim=-1).transpose(2, 3)
    places = cosines.argmax(3)
    back = cosines.argmax(2).gather(2, places)
    start = torch.arange(keys.shape[1], device=keys.device)
    away = [
        (torch.div(back, grid[1], rounding_mode="floor") - start // grid[1]).abs(),
        (back % grid[1] - start % grid[1]).abs(),
    ]
    return Matches(places, (torch.stack(away).amax(0) <= RETURN_CELLS).to(keys))


def matched_values(value: Tensor, references: Tensor, matches: Matches, weight: Tensor) -> Tensor:
    """Return `value` (B, N, D) mixed with what references (B, S, M, D) have at their matches.

    `weight` (B, S, N) is the share of each subject in each place; they sum to 1 at most.
    """
    chosen = matches.places[..., None].expand(-1, -1, -1, value.shape[-1])
    moved = weight[..., None].to(value) * (references.gather(2, chosen) - value[:, None])
    return value + moved.sum(1)
