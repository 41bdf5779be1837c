"""Puts attention processors on a U-Net, those of SwiftEdit too, and puts the old ones back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import (
    AttentionCondition,
    Block,
    Notes,
    attend,
    merge_heads,
    split_heads,
    token_grid,
)
from swiftpie.attention.processors import (
    DetailAttention,
    MaskRole,
    Merge,
    SelfAttention,
    SemanticAttention,
    read_text,
)

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

MAX_MAPPERS_A_BLOCK = 10  # SDXL's first up block has thirty layers; its first ten say enough

EVERYWHERE = frozenset(Block)
MOTION = ".motion_modules."  # marks paths of attention between frames of a film
CONTROLLED = Block.UP  # the only layers that SwiftEdit's released code rescales


@dataclass(frozen=True)
class BranchPlan:
    """Which layers get which branch."""

    token_width: int  # numbers in an identity token
    gate: float = 0.0  # initial weight of the decoupled detail branch; 0 changes nothing
    merge: Merge = Merge.DECOUPLED
    own_projections: bool = True  # False: the detail branch uses the layer's
    semantic: frozenset[Block] = EVERYWHERE  # where identity tokens are attended to
    detail: frozenset[Block] = EVERYWHERE  # where reference features are attended to


@dataclass(frozen=True)
class Installation:
    """The processors that serve a network, and those they replaced."""

    network: Any  # a U-Net or a transformer, which has attention processors
    plan: BranchPlan
    originals: dict[str, object]
    semantic: dict[str, SemanticAttention]  # by module path, every layer that reads the text
    detail: dict[str, DetailAttention]  # by module path, self-attention as the plan chooses it
    plain: Mapping[str, object] = field(default_factory=dict)  # all that attends besides

    @property
    def processors(self) -> dict[str, object]:
        """What attends in the network, by module path; references may enter elsewhere."""
        branches = {**self.semantic, **self.detail, **self.plain}
        return {
            name: branch
            for name, branch in branches.items()
            if f"{name}.processor" in self.originals
        }

    @property
    def adds(self) -> bool:
        """Whether a layer adds what it reads of subjects to its own output."""
        is_trained = any(layer.is_trained for layer in self.semantic.values())
        return is_trained or self.plan.merge is Merge.DECOUPLED

    @property
    def finds_regions(self) -> bool:
        """Whether a layer finds where subjects are, for masks that are not given."""
        return any(branch.mask_role is MaskRole.LAST for branch in self.semantic.values())

    def undo(self) -> None:
        """Put the replaced processors back, the very same objects."""
        # set_attn_processor empties the dict that it is given.
        self.network.set_attn_processor(dict(self.originals))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()


def install(unet: Any, plan: BranchPlan) -> Installation:  # noqa: ANN401 - of diffusers, or our own
    """Give every attention layer of `unet` a processor; motion modules keep their own."""
    originals = dict(unet.attn_processors)
    names = [path.removesuffix(".processor") for path in originals]
    layers: dict[str, Any] = {name: unet.get_submodule(name) for name in names}
    crossing = [name for name, layer in layers.items() if layer.is_cross_attention]
    mappers = mapper_layers(crossing)
    roles = dict.fromkeys(mappers, MaskRole.NOTES) | dict.fromkeys(mappers[-1:], MaskRole.LAST)
    semantic: dict[str, SemanticAttention] = {}
    detail: dict[str, DetailAttention] = {}
    plain: dict[str, object] = {}
    for name, layer in layers.items():
        if MOTION in name:
            plain[name] = originals[f"{name}.processor"]
        elif layer.is_cross_attention:
            semantic[name] = SemanticAttention(
                name,
                inner_width=layer.inner_dim,
                token_width=plan.token_width,
                is_active=block_of(name) in plan.semantic,
                is_trained=bool(plan.semantic),
                mask_role=roles.get(name, MaskRole.NONE),
            ).to(unet.dtype)  # one by one: converting all at the end takes twice the memory
        elif block_of(name) not in plan.detail:
            plain[name] = SelfAttention(name)  # its projections would add a tenth to SDXL's U-Net
        else:
            detail[name] = DetailAttention(
                name,
                width=layer.inner_dim,
                heads=layer.heads,
                gate=plan.gate,
                merge=plan.merge,
                own_projections=plan.own_projections,
            ).to(unet.dtype)
    made = Installation(unet, plan, originals, semantic=semantic, detail=detail, plain=plain)
    unet.set_attn_processor(
        {f"{name}.processor": processor for name, processor in made.processors.items()}
    )
    return made


class ReadingAttention:
    """Attention as a network has it, which notes what self-attention reads."""

    def __init__(self, name: str) -> None:
        self.name = name

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (B, N, D) for `hidden_states` (B, N, D)."""
        del condition  # a reference is read without any
        seen = encoder_hidden_states
        if seen is None:
            notes[self.name] = seen = hidden_states
        read = read_text(attn, hidden_states, seen, attention_mask)
        output: Tensor = attn.to_out[0](read.output)
        return output


def install_reading(unet: Any) -> None:  # noqa: ANN401 - of diffusers
    """Let a network that draws nothing note what its layers of self-attention read."""
    unet.set_attn_processor(
        {path: ReadingAttention(path.removesuffix(".processor")) for path in unet.attn_processors}
    )


def install_released(installation: Installation) -> Installation:
    """Replace the semantic branch of an installed U-Net by SwiftEdit's, with the same weights.

    Until `undo`, every call needs an even number of rows and one subject.
    """
    unet = installation.network
    originals = dict(unet.attn_processors)
    released = {
        f"{name}.processor": ReleasedAttention(semantic, is_controlled=block_of(name) is CONTROLLED)
        for name, semantic in installation.semantic.items()
    }
    unet.set_attn_processor({**originals, **released})
    return replace(installation, originals=originals)


def block_of(name: str) -> Block:
    return Block(name.split(".")[0])


def mapper_layers(crossing: list[str]) -> list[str]:
    """Return the cross-attention layers that find the inline mask, in the order they run.

    They are the middle block and the first up block that attends, where the picture is coarse.
    """
    middle = [name for name in crossing if block_of(name) is Block.MIDDLE]
    ups = [name for name in crossing if block_of(name) is Block.UP]
    if not ups:
        return middle
    first = [name for name in ups if name.split(".")[:2] == ups[0].split(".")[:2]]
    return middle + first[:MAX_MAPPERS_A_BLOCK]


class ReleasedAttention:
    """Cross-attention to text and image, for half of the rows to keep a picture and half to edit.

    It follows SwiftEdit's released code, `SemanticAttention` the paper (arXiv:2412.04301, Eq. 9).
    In the code, all image tokens count alike inside of the mask. Outside, an edited row gets the
    image attention of its source row. The text scale acts everywhere; 0 leaves the text unchanged.
    Layers that are not controlled add image attention unscaled.
    """

    def __init__(self, semantic: SemanticAttention, *, is_controlled: bool) -> None:
        """Use the projections of `semantic`; nothing of it is changed."""
        self.semantic = semantic
        self.is_controlled = is_controlled

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (2B, N, D) for `hidden_states` (2B, N, D)."""
        del notes  # masks are known beforehand
        query, *_, text = read_text(attn, hidden_states, encoder_hidden_states, attention_mask)
        tokens = condition.identity_tokens[:, 0]
        image_key = split_heads(self.semantic.to_k_ip(tokens), attn.heads)
        image_value = self.semantic.to_v_ip(tokens)
        image = merge_heads(attend(query, image_key, split_heads(image_value, attn.heads)))
        if self.is_controlled:
            text, image = _controlled(text, image, image_value, condition)
        output: Tensor = attn.to_out[0]((text + image).to(hidden_states.dtype))
        return output


def _controlled(
    text: Tensor, image: Tensor, image_value: Tensor, condition: AttentionCondition
) -> tuple[Tensor, Tensor]:
    """Return text and image attention (2B, N, D) after rescaling the second half of the rows."""
    half = len(text) // 2
    mask = condition.region[half:]  # resized without averaging, as in the released code
    grid = token_grid(text.shape[1], mask.shape[2], mask.shape[3])
    mask = F.interpolate(mask, size=grid, mode="nearest").flatten(2).transpose(1, 2)
    inside = condition.identity_scale[half:, :, None]
    outside = condition.identity_background_scale[half:, :, None]
    strength = condition.text_scale[half:, None, None]
    uniform = image_value[half:].mean(dim=1, keepdim=True)
    edited = inside * mask * uniform + outside * (1 - mask) * image[:half]
    scaled = torch.where(strength == 0, 1.0, strength) * text[half:]
    return torch.cat([text[:half], scaled]), torch.cat([image[:half], edited])
