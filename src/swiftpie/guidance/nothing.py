"""What rows without text or without identity read instead."""

import torch
from torch import Tensor, nn

from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.face.encoder import FaceIdentityEncoder
from swiftpie.models.projection import Feature
from swiftpie.models.vision import ClipIdentityEncoder


@torch.no_grad()
def null_tokens(encoder: nn.Module | None) -> Tensor | None:
    """Return the tokens (1, K, D) of zero image features, None where zero features mean nothing.

    Public adapters were trained to see such tokens in place of a dropped picture: those of a zero
    vector, or of a picture of zeros if they read hidden states. They are not zero themselves.
    """
    if not isinstance(encoder, ClipIdentityEncoder):
        return None
    if encoder.feature is Feature.EMBEDS:
        zeros = _zeros(encoder, 1, int(encoder.tower.config.projection_dim))
        tokens: Tensor = encoder.projector(zeros).float()
        return tokens
    side = int(encoder.tower.config.image_size)  # type: ignore[arg-type]  # CLIP is square
    inputs = [_zeros(encoder, 1, channels, side, side) for channels in (3, 1)]
    if isinstance(encoder, FaceIdentityEncoder):
        inputs.append(_zeros(encoder, 1, encoder.face_width))
    seen: Tensor = encoder(*inputs)
    return seen


def without_identity(condition: SubjectCondition, tokens: Tensor | None) -> SubjectCondition:
    """Return `condition` in which no subject is shown; their places stay known.

    Args:
        condition: The subjects, B rows.
        tokens: What the semantic branch reads of each reference instead, (1, K, D); None silences
            it.
    """
    attention = condition.attention
    off = torch.zeros_like(attention.detail_scale)
    silent = attention._replace(detail_scale=off, detail_background_scale=off)
    if tokens is None:
        silent = silent._replace(identity_scale=off, identity_background_scale=off)
    else:
        times = attention.identity_tokens.shape[2] // tokens.shape[1]
        repeated = tokens.to(attention.identity_tokens).repeat(1, times, 1)[:, None]
        silent = silent._replace(identity_tokens=repeated.expand_as(attention.identity_tokens))
    return condition._replace(attention=silent, pooled=torch.zeros_like(condition.pooled))


def _zeros(encoder: ClipIdentityEncoder, *shape: int) -> Tensor:
    return torch.zeros(shape, device=encoder.device, dtype=encoder.dtype)
