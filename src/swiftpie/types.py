"""Values that pass between the layers, and the protocol of autoencoders.

Shape letters used in every docstring: `B` batch, `R` reference pictures, `K` identity tokens,
`T` text tokens, `N` image tokens of an attention layer, `D` width, `C` channels, `H W` pixels,
`h w` latent cells. Pixels are in [-1, 1], masks in [0, 1] with 1 = subject.
"""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, Self, Union

from PIL import Image, ImageOps

from swiftpie.errors import InputError
from swiftpie.validation import USUAL_FPS, Box

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from swiftpie.geometry.layout import Layout
    from swiftpie.library import Named


class TextCondition(NamedTuple):
    """A batch of encoded prompts."""

    hidden_states: "Tensor"  # (B, T, D)
    attention_mask: "Tensor"  # (B, T) 1 = token, 0 = padding
    pooled: "Tensor"  # (B, D) one vector a prompt

    def repeat(self, batch: int) -> Self:
        """Return a single prompt as `batch` rows."""
        return type(self)(*(tensor.expand(batch, *tensor.shape[1:]) for tensor in self))

    def row(self, index: int) -> Self:
        """Return one row as a batch of one."""
        return type(self)(*(tensor[index : index + 1] for tensor in self))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all `parts`, shorter ones padded with what no layer attends to."""
        if len(parts) == 1:
            return parts[0]
        import torch

        longest = max(part.hidden_states.shape[1] for part in parts)
        rows = [_padded(part, longest - part.hidden_states.shape[1]) for part in parts]
        return cls(*(torch.cat(tensors) for tensors in zip(*rows, strict=True)))


def _padded(text: TextCondition, room: int) -> TextCondition:
    from torch.nn import functional as F

    states, mask = F.pad(text.hidden_states, (0, 0, 0, room)), F.pad(text.attention_mask, (0, room))
    return text._replace(hidden_states=states, attention_mask=mask) if room else text


Picture = Union[str, Path, bytes, bytearray, Image.Image, BinaryIO, "NDArray[np.uint8]"]
"""A picture as users give it: the path of its file, its bytes, an open file, or pixels."""
Prompts = str | tuple[str, ...] | TextCondition
"""One prompt for all pictures, one prompt for each picture, or encoded rows."""

NO_FACTS: Mapping[str, str] = MappingProxyType({})
# The longer side of each of several pictures, and of a film, in a notebook.
SHOWN_PX, FILM_PX = 256, 512
# Of photographs 4 of 5 bad outlines and 2 of 17 good ones lie below this confidence, of composites
# with rivals 45 of 52 and 5 of 48.
DOUBTFUL = 0.5
# Of 36 bad outlines of composites a box whose sides were off by up to 6 % mended 27, and a point
# mended 10 of these.
REMEDY = "a box close around it may mend it, as in `cutout='0.2,0.1,0.8,0.95'`, and a mask does"


class CutoutMethod(StrEnum):
    """How a subject was separated from the rest of its picture."""

    MASK = "mask"  # given
    TRANSPARENCY = "transparency"  # The picture's own transparency.
    NETWORK = "network"  # ours, and then colours and edges
    COLOUR = "colour"  # these alone, as the network saw no subject
    NONE = "none"  # not at all: the whole picture is the subject


class Cutout(NamedTuple):
    """How the subject of one reference picture was separated from its background."""

    way: str  # one of `CutoutMethod`, or the name of a public network
    confidence: float | None  # in [0, 1]; None if unknown
    is_cut: bool = False  # whether the lower border of the picture cuts the subject off
    cut_at: str = ""  # other borders that do, of "left", "right" and "top"

    def __str__(self) -> str:
        return self.way if self.confidence is None else f"{self.way} {self.confidence:.2f}"

    @property
    def is_doubtful(self) -> bool:
        """Whether most such cut-outs are bad; measured for the packaged network only."""
        is_unsure = self.confidence is not None and self.confidence < DOUBTFUL
        return self.way == CutoutMethod.COLOUR or (self.way == CutoutMethod.NETWORK and is_unsure)


def spell_cutouts(cutouts: tuple[tuple[Cutout, ...], ...]) -> str:
    """Return how the pictures of each subject were cut out, as files keep it."""
    return "; ".join(", ".join(map(str, pictures)) or "unknown" for pictures in cutouts)


class NotebookRepr:
    """What notebooks show as pictures with a line of text."""

    def _pictures(self) -> Sequence[Image.Image]:
        raise NotImplementedError

    def _file(self) -> tuple[str, bytes]:
        """Return the name of a format, and the file that is shown; empty without pictures."""
        from swiftpie.imageio.images import contact_sheet

        pictures, file = self._pictures(), io.BytesIO()
        if pictures:
            is_one = len(pictures) == 1
            shown = pictures[0] if is_one else contact_sheet([pictures], cell_px=SHOWN_PX)
            shown.save(file, "PNG")
        return "png", file.getvalue()

    def _repr_html_(self) -> str:  # alone, as a notebook stores whatever else there is as well
        kind, data = self._file()
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        picture = f'<img src="{source}"><br>' if data else ""
        return f"{picture}<code>{html.escape(repr(self))}</code>"


def _sized(pictures: Sequence[Image.Image]) -> str:
    sizes = sorted({f"{picture.width}x{picture.height} px" for picture in pictures})
    kind = "picture" if len(pictures) == 1 else "pictures"
    return f"{len(pictures)} {kind}{' of ' * bool(sizes)}{', '.join(sizes)}"


@dataclass(frozen=True, repr=False)
class Identity(NotebookRepr):
    """One subject, encoded once and reusable for any number of pictures.

    `keys` and `values` belong to the detail branch: the projected features of all reference
    pictures, concatenated, for each self-attention layer by its module path.
    """

    preset: str  # the preset whose networks encoded it
    fingerprint: str  # sha256 over the networks, the pictures and their masks
    tokens: "Tensor"  # (1, K, D) semantic branch
    pooled: "Tensor"  # (1, D)
    keys: "Mapping[str, Tensor]"  # each (1, R*N, D_layer)
    values: "Mapping[str, Tensor]"  # each (1, R*N, D_layer)
    pixels: "Tensor"  # (R, 3, H, W) canonical reference frames, grey outside the subject
    mask: "Tensor"  # (R, 1, H, W) the subject in them
    cutouts: tuple[Cutout, ...] = ()  # One for each picture; empty if the identity has none.
    left_out: tuple[int, ...] = ()  # which of the given pictures, from 1, show no subject
    named: "Named | None" = None  # the word by which it was taken from the library
    # The first frame at the resolution of its picture, (1, 4, S', S') in 8 bit on the CPU,
    # premultiplied over black; None if no larger than `pixels`, or the preset places no subjects.
    large: "Tensor | None" = None
    is_face: bool = False  # A person's face; an edit draws it where the face is.
    tuned: str = ""  # how it was tuned; empty if it is as the encoder reads its pictures

    def __repr__(self) -> str:
        cutouts = ", ".join(map(str, self.cutouts))
        facts = (_sized(self._pictures()), cutouts, self.named and f"library's {self.named.name!r}")
        return f"Identity({self.preset!r}: {', '.join(filter(None, facts))})"

    def _pictures(self) -> Sequence[Image.Image]:
        from swiftpie.imageio.images import to_pil

        return to_pil(self.pixels)

    @cached_property
    def digest(self) -> str:
        """sha256 of its frames, whatever fingerprint a file says it has."""
        digest = sha256()
        for frame in (self.pixels, self.mask, self.large):
            if frame is not None:
                digest.update(f"{tuple(frame.shape)} {frame.dtype} ".encode())
                digest.update(frame.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def is_cut(self) -> bool:
        """Whether the lower border of its first picture cuts the subject off."""
        return any(cutout.is_cut for cutout in self.cutouts[:1])

    @property
    def cut_at(self) -> str:
        """The other borders of its first picture that do."""
        return "".join(cutout.cut_at for cutout in self.cutouts[:1])

    @property
    def is_whole(self) -> bool:
        """Whether a picture of the user's, not the library's, shows all of it."""
        return not (self.named or self.cut_at or self.is_cut)

    def without_detail(self) -> Self:
        """Return the same subject for the semantic branch alone."""
        return replace(self, keys={}, values={})

    def with_features(self, change: "Callable[[Tensor], Tensor]") -> Self:
        """Return the same subject with each tensor changed that the branches read."""
        return replace(
            self,
            tokens=change(self.tokens),
            pooled=change(self.pooled),
            keys={name: change(rows) for name, rows in self.keys.items()},
            values={name: change(rows) for name, rows in self.values.items()},
        )

    def to(self, device: "torch.device | str") -> Self:
        """Return the same subject with its tensors, except `large`, on a device."""
        moved = self.with_features(lambda rows: rows.to(device))
        return replace(moved, pixels=self.pixels.to(device), mask=self.mask.to(device))


class IdentityBranch(StrEnum):
    """A path by which the subject conditions the drawing."""

    SEMANTIC = "semantic"  # cross-attention to identity tokens
    DETAIL = "detail"  # self-attention to features of references, as trained
    JOINT_DETAIL = "joint detail"  # the same in one softmax with the layer's own features
    MATCHED_DETAIL = "matched detail"  # the values of references at matching places
    ALIGNED = "aligned detail"  # the subject in its place, as input of the denoiser


class DenoisedLatents(NamedTuple):
    """The result of denoising."""

    latents: "Tensor"  # (B, C, h, w) clean
    subject_mask: "Tensor"  # (B, 1, h', w') in [0, 1], where the denoiser finds subjects
    region: "Tensor"  # (B, S, h, w) in [0, 1], the regions that rescaling used


class DecodedImages(NamedTuple):
    """New pictures before they are of 8 bits, a row each."""

    # (B, 3, H, W) in [-1, 1], or bytes; latents (B, C, h, w) where these are asked for.
    pixels: "Tensor"
    subject_mask: "Tensor"  # (B, 1, H, W) in [0, 1], where subjects are
    regions: "Tensor"  # (B, S, h, w) in [0, 1], the region of each subject in rescaling
    layouts: "tuple[Layout, ...]" = ()  # where each subject was placed, a row a picture
    branches: "tuple[IdentityBranch, ...]" = ()  # active ones
    facts: Mapping[str, str] = NO_FACTS  # that files say besides those of the request


class EditedImage(NamedTuple):
    """A changed picture in the bits of the given one; the fields are those of `EditResult`."""

    image: Image.Image
    edited: Image.Image
    blend: Image.Image
    region: Image.Image
    latent_region: "Tensor"
    branches: "tuple[IdentityBranch, ...]" = ()
    facts: Mapping[str, str] = NO_FACTS  # that files say besides those of the request
    reconstruction: Image.Image | None = None
    box: Box | None = None


@dataclass(frozen=True, repr=False)
class GenerationResult(NotebookRepr):
    """Finished pictures and how they were made."""

    images: tuple[Image.Image, ...]  # empty if the output is a tensor
    subject_masks: tuple[Image.Image, ...]  # mode L, 255 = subject, same size as the pictures
    regions: "Tensor"  # (B, S, h, w) in [0, 1], the region of each subject in rescaling
    seeds: tuple[int, ...]
    layouts: "tuple[Layout, ...]"  # where each subject was placed, one row a picture
    branches: tuple[IdentityBranch, ...]  # active ones; scales of others had no effect
    cutouts: tuple[tuple[Cutout, ...], ...]  # One for each picture of each subject.
    timings_ms: Mapping[str, float]  # by stage: text, place, denoise, decode, join, total
    scales: Mapping[str, float]  # by name, those of the preset among them
    origin: Mapping[str, str]  # the recipe, an automatic decoder, names of the library
    tensor: "Tensor | None" = None  # pixels (B, 3, H, W) or latents (B, C, h, w) as output
    named: "tuple[Named, ...]" = ()  # subjects of the library
    # Of the best of several pictures, by name, one for each; see `pipelines.ranking`.
    scores: tuple[Mapping[str, float], ...] = ()
    warnings: tuple[str, ...] = ()  # in sentences
    record: Mapping[str, str] = field(default_factory=dict)  # what files of the pictures say

    def __repr__(self) -> str:
        seeds = ", ".join(map(str, self.seeds)) or "none"
        took = f"{self.timings_ms.get('total', 0.0):.0f} ms"
        return f"GenerationResult({_sized(self.images)}, seeds {seeds}, {took})"

    def _pictures(self) -> Sequence[Image.Image]:
        return self.images

    @property
    def _is_film(self) -> bool:
        return len(self.seeds) == 1 < len(self.images)

    def _file(self) -> tuple[str, bytes]:
        from swiftpie.imageio.writing import encode_animation

        if not self._is_film:
            return super()._file()
        frames = [ImageOps.contain(image, (FILM_PX, FILM_PX)) for image in self.images]
        return "webp", encode_animation(frames, ".webp", fps=USUAL_FPS, metadata=self.record)

    def save(
        self,
        path: str | Path,
        *,
        fps: float = USUAL_FPS,
        force: bool = True,
        sign: str | Path | None = None,
    ) -> tuple[Path, ...]:
        """Write the pictures and how they were made, and return the names of their files.

        Several are numbered, as `out-1.png`. Frames of one seed are a film: see `save_animation`
        for its formats, of which `fps` is the speed. Existing files are replaced unless
        `force` is False. `sign` is a PEM file for content credentials; see `save_image`.

        Raises:
            InputError: A file exists or cannot be written, the result holds a tensor instead, or
                the PEM file cannot sign.
            MissingExtra: Signing needs the extra `c2pa`.
        """
        from swiftpie.imageio.writing import (
            check_image_target,
            numbered,
            save_animation,
            save_image,
        )

        if not self.images:
            raise InputError("The result holds a tensor, and no pictures to save. Draw pictures.")
        if self._is_film:
            record = self.record
            save_animation(self.images, path, fps=fps, metadata=record, force=force, sign=sign)
            return (Path(path),)
        files = numbered(Path(path), len(self.images))
        for file in files:
            check_image_target(file, force=force)
        for image, file in zip(self.images, files, strict=True):
            record = getattr(image, "record", self.record)
            save_image(image, file, metadata=record, force=force, sign=sign)
        return tuple(files)


@dataclass(frozen=True, repr=False)
class EditResult(NotebookRepr):
    """An edited picture and how it came about; all pictures are as large as the given one."""

    image: Image.Image
    region: Image.Image  # mode L, 255 = may change; 0 pixels are the given picture's own
    edited: Image.Image  # before the original pixels outside the mask are restored
    blend: Image.Image  # mode L, how much of `edited` shows in each pixel of `image`
    latent_region: "Tensor"  # (1, 1, h, w) in [0, 1], the same as attention used it
    branches: tuple[IdentityBranch, ...]  # active ones; scales of others had no effect
    cutouts: tuple[tuple[Cutout, ...], ...]  # One for each picture of a new subject.
    seed: int
    timings_ms: Mapping[str, float]  # by stage: encode, invert, prepare, denoise, decode, join
    scales: Mapping[str, float]  # that a denoiser was given, if the edit took one
    origin: Mapping[str, str]  # the recipe, an automatic decoder, names of the library
    named: "tuple[Named, ...]" = ()  # the new subject, if it is of the library
    reconstruction: Image.Image | None = None  # the released mode's first row
    box: Box | None = None  # where a subject was inserted into a photograph; None without one
    scores: tuple[Mapping[str, float], ...] = ()  # one, of the best of several pictures
    warnings: tuple[str, ...] = ()  # in sentences
    record: Mapping[str, str] = field(default_factory=dict)  # what files of the picture say

    def __repr__(self) -> str:
        took = f"{self.timings_ms.get('total', 0.0):.0f} ms"
        return f"EditResult({_sized([self.image])}, seed {self.seed}, {took})"

    def _pictures(self) -> Sequence[Image.Image]:
        return [self.image]

    def save(
        self,
        path: str | Path,
        *,
        force: bool = True,
        sign: str | Path | None = None,
        source: str | Path | bytes | None = None,
    ) -> Path:
        """Write the picture and how it was made, and return the name of its file.

        An existing file is replaced unless `force` is False. `sign` is a PEM file for content
        credentials, which keep `source`, the file of the picture before the edit; see
        `save_image`.

        Raises:
            InputError: The file exists and is not replaced, cannot be written, or cannot be signed.
            MissingExtra: Signing needs the extra `c2pa`.
        """
        from swiftpie.imageio.writing import save_image

        record = self.record
        save_image(self.image, path, metadata=record, force=force, sign=sign, source=source)
        return Path(path)


class Posterior(NamedTuple):
    """The normal distribution of the scaled latents of pictures, each (B, C, h, w)."""

    mean: "Tensor"
    deviation: "Tensor"  # 0 for deterministic encoders


class Autoencoder(Protocol):
    """Pixels to latents and back."""

    def posterior(self, pixels: "Tensor") -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""

    def encode(self, pixels: "Tensor") -> "Tensor":
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""

    def decode(self, latents: "Tensor") -> "Tensor":
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
