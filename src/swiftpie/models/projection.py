"""Image-encoder features to identity tokens, by the public IP-Adapter projectors (2308.06721)."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from diffusers.models import embeddings
from torch import Tensor, nn

from swiftpie.errors import WeightsError, short_reason
from swiftpie.models.vision import Feature, Projector

HEAD_WIDTH = 64  # width of a resampler's head; shapes only give heads times width
FULL_TOKENS = 257  # 16 x 16 patches of a 224 px picture and one class token
SDXL_WIDTH = 2048  # width of SDXL's tokens; FaceID Plus for SDXL exists as version 2 alone
FACE_PREFIX = "perceiver_resampler."

# Module paths, as released on the left, as diffusers calls them on the right.
LINEAR = {"proj": "image_embeds", "norm": "norm"}
FULL = {"proj.0": "ff.net.0.proj", "proj.2": "ff.net.2", "proj.3": "norm"}
FACE = {"proj.0": "ff.net.0.proj", "proj.2": "ff.net.2", "norm": "norm"}
FACE_PLUS = {"proj.0": "proj.net.0.proj", "proj.2": "proj.net.2", "norm": "norm"}
RESAMPLER = {"latents": "latents"} | {name: name for name in ("proj_in", "proj_out", "norm_out")}
RESAMPLER_LAYER = {
    "0.norm1": "ln0",
    "0.norm2": "ln1",
    "0.to_q": "attn.to_q",
    "0.to_kv": "attn.to_kv",
    "0.to_out": "attn.to_out.0",
    "1.0": "ff.0",
    "1.1": "ff.1.net.0.proj",
    "1.3": "ff.1.net.2",
}

FaceVersion = Literal[1, 2]


class FacePlusProjection(embeddings.IPAdapterFaceIDPlusImageProjection):
    """FaceID Plus that takes both of its inputs in one call instead of remembering one."""

    def forward(self, face: Tensor, hidden: Tensor) -> Tensor:
        """Return tokens (B, K, D) of face vectors (B, F) and hidden states (B, L, C)."""
        face_tokens = self.norm(self.proj(face).unflatten(-1, (self.num_tokens, -1)))
        features, latents = self.proj_in(hidden), face_tokens
        for block in self.layers:
            latents = block(features, latents, latents)
        tokens: Tensor = self.norm_out(self.proj_out(latents))
        return face_tokens + self.shortcut_scale * tokens if self.shortcut else tokens


def projector_for(
    image_proj: Mapping[str, Tensor], *, face_version: FaceVersion | None = None
) -> Projector:
    """Build the projector that `image_proj` belongs to, in float32, frozen, with these weights.

    Tensors are named as released, without `image_proj.`. Of FaceID Plus the two versions look the
    same in a file; of other families no version needs to be said.

    Raises:
        WeightsError: The family is unknown, or a tensor is missing, superfluous or misshapen.
    """
    build = _builder(image_proj)
    for name, tensor in image_proj.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            raise WeightsError(
                f"{name!r} of an image projector holds {tuple(tensor.shape)} of {tensor.dtype}. "
                "Floating-point numbers are needed. Get the file again."
            )
    try:
        with torch.device("meta"):  # sizes only, no random numbers
            projector = build(image_proj)
        renamed = _renamed(image_proj, _names(projector.module))
        projector.module.load_state_dict(renamed, strict=True, assign=True)
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"The tensors of this image projector do not fit together ({short_reason(error)}). A "
            "complete file in the layout of h94/IP-Adapter is needed. Get it again."
        ) from error
    if isinstance(projector.module, FacePlusProjection):
        projector.module.shortcut = _version(face_version, projector) == 2
    projector.module.eval().requires_grad_(requires_grad=False)
    return projector


def image_proj_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a projector's module as released, the inverse of `projector_for`."""
    tensors = dict(module.state_dict())
    for name in [name for name in tensors if name.endswith("attn.to_k.weight")]:
        both = [tensors.pop(name), tensors.pop(name.replace("to_k.", "to_v."))]
        tensors[name.replace("to_k.", "to_kv.")] = torch.cat(both)
    released = {ours: theirs for theirs, ours in _names(module).items()}
    return {_swap(name, released): tensor for name, tensor in tensors.items()}


def _builder(image_proj: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], Projector]:
    families = {  # by the one name that only it has
        f"{FACE_PREFIX}proj_in.weight": _face_plus,
        "latents": _plus,
        "proj.weight": _linear,
        "proj.3.weight": _full,
        "proj.2.weight": _face,
    }
    for name, build in families.items():
        if name in image_proj:
            return build
    raise WeightsError(
        f"This image projector is of no known family; its tensors are {sorted(image_proj)[:5]}. "
        f"One of {', '.join(families)} is needed. Use an IP-Adapter for Stable Diffusion 1.5, "
        "2.1 or XL."
    )


def _linear(tensors: Mapping[str, Tensor]) -> Projector:
    rows, feature_width = tensors["proj.weight"].shape
    width = len(tensors["norm.weight"])
    num_tokens = _times(rows, width)
    module = embeddings.ImageProjection(feature_width, width, num_tokens)
    return Projector(module, Feature.EMBEDS, feature_width, num_tokens, width)


def _full(tensors: Mapping[str, Tensor]) -> Projector:
    feature_width = tensors["proj.0.weight"].shape[1]
    width = len(tensors["proj.3.weight"])
    module = embeddings.IPAdapterFullImageProjection(feature_width, width)
    return Projector(module, Feature.HIDDEN, feature_width, FULL_TOKENS, width)


def _face(tensors: Mapping[str, Tensor]) -> Projector:
    inner, feature_width = tensors["proj.0.weight"].shape
    width = len(tensors["norm.weight"])
    num_tokens = _times(len(tensors["proj.2.weight"]), width)
    ratio = _times(inner, feature_width)
    module = embeddings.IPAdapterFaceIDImageProjection(feature_width, width, ratio, num_tokens)
    return Projector(module, Feature.FACE, feature_width, num_tokens, width, feature_width)


def _plus(tensors: Mapping[str, Tensor]) -> Projector:
    inner, feature_width = tensors["proj_in.weight"].shape
    width, num_tokens = len(tensors["proj_out.weight"]), tensors["latents"].shape[1]
    module = embeddings.IPAdapterPlusImageProjection(
        embed_dims=feature_width,
        output_dims=width,
        hidden_dims=inner,
        num_queries=num_tokens,
        **_resampler_sizes(tensors, prefix="", inner=inner),
    )
    return Projector(module, Feature.HIDDEN, feature_width, num_tokens, width)


def _face_plus(tensors: Mapping[str, Tensor]) -> Projector:
    inner, feature_width = tensors[f"{FACE_PREFIX}proj_in.weight"].shape
    width = len(tensors[f"{FACE_PREFIX}proj_out.weight"])
    face_inner, face_width = tensors["proj.0.weight"].shape
    num_tokens = _times(len(tensors["proj.2.weight"]), inner)
    module = FacePlusProjection(
        embed_dims=inner,
        output_dims=width,
        hidden_dims=feature_width,
        id_embeddings_dim=face_width,
        num_tokens=num_tokens,
        ffproj_ratio=_times(face_inner, face_width),
        **_resampler_sizes(tensors, prefix=FACE_PREFIX, inner=inner),
    )
    return Projector(module, Feature.FACE_AND_HIDDEN, feature_width, num_tokens, width, face_width)


def _resampler_sizes(tensors: Mapping[str, Tensor], *, prefix: str, inner: int) -> dict[str, Any]:
    first = f"{prefix}layers.0."
    names = [name for name in tensors if name.startswith(f"{prefix}layers.")]
    return {
        "depth": len({name.removeprefix(prefix).split(".")[1] for name in names}),
        "dim_head": HEAD_WIDTH,
        "heads": _times(len(tensors[f"{first}0.to_q.weight"]), HEAD_WIDTH),
        "ffn_ratio": len(tensors[f"{first}1.1.weight"]) / inner,
    }


def _times(whole: int, part: int) -> int:
    times, remainder = divmod(whole, part)
    if remainder or not times:
        raise ValueError(f"{whole} rows are not a multiple of {part}")
    return times


def _names(module: nn.Module) -> dict[str, str]:
    """Return the module paths of a projector: as released to as diffusers calls them."""
    match module:
        case embeddings.ImageProjection():
            return LINEAR
        case embeddings.IPAdapterFullImageProjection():
            return FULL
        case embeddings.IPAdapterFaceIDImageProjection():
            return FACE
    assert isinstance(
        module,
        embeddings.IPAdapterPlusImageProjection | embeddings.IPAdapterFaceIDPlusImageProjection,
    )
    layers = {
        f"layers.{number}.{theirs}": f"layers.{number}.{ours}"
        for number in range(len(module.layers))
        for theirs, ours in RESAMPLER_LAYER.items()
    }
    if isinstance(module, embeddings.IPAdapterPlusImageProjection):
        return RESAMPLER | layers
    without_latents = {theirs: ours for theirs, ours in RESAMPLER.items() if theirs != "latents"}
    prefixed = {FACE_PREFIX + theirs: ours for theirs, ours in (without_latents | layers).items()}
    return FACE_PLUS | prefixed


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        name = _swap(theirs, names)
        if ".to_kv." in name:
            key, value = tensor.float().chunk(2)
            renamed[name.replace(".to_kv.", ".to_k.")] = key
            renamed[name.replace(".to_kv.", ".to_v.")] = value
        else:
            renamed[name] = tensor.float()
    return renamed


def _swap(name: str, names: Mapping[str, str]) -> str:
    path, dot, leaf = name.rpartition(".")
    if (path or leaf) not in names:
        raise ValueError(f"{name!r} does not belong to this family")
    return names[path] + dot + leaf if path else names[leaf]


def _version(face_version: FaceVersion | None, projector: Projector) -> FaceVersion:
    if face_version is None and projector.width != SDXL_WIDTH:
        raise WeightsError(
            "This is a FaceID Plus adapter, and its file does not say which version it is. "
            "Version 1 or 2 is needed. Give the file the name that it was published by, with "
            "faceid-plus or faceid-plusv2 in it."
        )
    if face_version != 1 and projector.module.embed_dim != projector.width:
        raise WeightsError(
            f"This FaceID Plus adapter makes tokens of {projector.width} from vectors of "
            f"{projector.module.embed_dim}. Version 2 adds the two up and needs one width. Give "
            "the file the name that it was published by, with faceid-plus in it."
        )
    return face_version or 2
