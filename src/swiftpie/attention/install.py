"""Installs the two processors on a U-Net, once, and takes them off again exactly."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from swiftpie.attention.detail import DetailAttention
from swiftpie.attention.semantic import SemanticAttention


class Block(StrEnum):
    """Part of the U-Net, spelled as diffusers spells its modules."""

    DOWN = "down_blocks"
    MIDDLE = "mid_block"
    UP = "up_blocks"


@dataclass(frozen=True)
class Installation:
    """The processors that serve a U-Net, and those they replaced."""

    unet: UNet2DConditionModel
    originals: dict[str, object]
    semantic: dict[str, SemanticAttention]  # by module path, cross-attention
    detail: dict[str, DetailAttention]  # by module path, self-attention

    def undo(self) -> None:
        """Put the replaced processors back, the very same objects."""
        # set_attn_processor empties the dict that it is given.
        self.unet.set_attn_processor(dict(self.originals))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()


def install(unet: UNet2DConditionModel, *, token_width: int, gate: float = 0.0) -> Installation:
    """Give every attention layer of `unet` a processor that reads `condition` and `notes`.

    Args:
        unet: Any `UNet2DConditionModel`.
        token_width: Width of an identity token.
        gate: Initial weight of the detail branch; 0 leaves the network as it is.
    """
    originals = dict(unet.attn_processors)
    layers = {name: unet.get_submodule(name.removesuffix(".processor")) for name in originals}
    last_mapper = _last_mapper(list(originals))
    semantic: dict[str, SemanticAttention] = {}
    detail: dict[str, DetailAttention] = {}
    for path, layer in layers.items():
        assert isinstance(layer, Attention)
        name = path.removesuffix(".processor")
        if layer.is_cross_attention:
            semantic[name] = SemanticAttention(
                name,
                inner_width=layer.inner_dim,
                token_width=token_width,
                is_mapper=_is_mapper(name, last_mapper),
            )
        else:
            detail[name] = DetailAttention(
                name, width=layer.inner_dim, heads=layer.heads, gate=gate
            )
    unet.set_attn_processor({f"{n}.processor": p for n, p in {**semantic, **detail}.items()})
    return Installation(unet=unet, originals=originals, semantic=semantic, detail=detail)


def _last_mapper(paths: list[str]) -> str:
    """Return the prefix of the first up block with attention: maps are gathered up to there."""
    ups = sorted({".".join(p.split(".")[:2]) for p in paths if p.startswith(Block.UP)})
    return ups[0] if ups else Block.MIDDLE


def _is_mapper(name: str, last: str) -> bool:
    return name.startswith((f"{last}.", Block.MIDDLE))
