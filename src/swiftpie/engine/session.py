"""A loaded preset: the object that users, the command line and servers talk to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from PIL import Image
from torch import Tensor

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.loading import load_components
from swiftpie.backbones.preset import PRESETS
from swiftpie.engine.cache import Cache, CacheReport, Key, content_key
from swiftpie.engine.cached_networks import (
    CachedImageEncoder,
    CachedPrompts,
    remember_inversions,
    remember_pictures,
)
from swiftpie.engine.transform import applied, choose
from swiftpie.errors import InputError
from swiftpie.guidance.base import Steering
from swiftpie.images import load_image
from swiftpie.masks import Box, load_mask
from swiftpie.noise import seeds_from
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.edit import EditResult, edit
from swiftpie.pipelines.personalize import personalize
from swiftpie.pipelines.request import EditSettings, MaskSource, Scales, Subject
from swiftpie.types import GenerationResult, Identity

Picture = str | Path | bytes | Image.Image
CACHE_MIB = 256.0  # some 200 subjects of `mini`, one picture each


class Session:
    """One preset on one device, and what it has encoded lately. Threads may share a session."""

    def __init__(self, components: Components, *, cache_mib: float = CACHE_MIB) -> None:
        """Wrap loaded `components`; `swiftpie.load` is the usual way to get a session.

        Args:
            components: The networks.
            cache_mib: Bound of the identities, prompts and edited pictures that are kept for
                later calls, the least recently used of which go first; 0 keeps none.

        Raises:
            ConfigError: The bound is negative.
        """
        self.components = components
        self._cache = Cache(cache_mib)
        prompts = CachedPrompts(components.text, self._cache, components.fingerprint)
        self._cached = replace(components, text=prompts)
        self._editing = self._remembering_pictures()

    @property
    def cache(self) -> CacheReport:
        """What was found in the cache and what it holds; `print` it for one line."""
        return self._cache.report()

    def encode_identity(
        self,
        images: Picture | Sequence[Picture],
        *,
        masks: Picture | Sequence[Picture | None] | None = None,
    ) -> Identity:
        """Encode one subject once, for any number of pictures.

        Args:
            images: One or several pictures of the subject: a path, bytes or a PIL image.
            masks: As many pictures, white where the subject is; None finds the subject by its
                transparency or against a plain background.

        Raises:
            InputError: A picture cannot be read, or the subject cannot be found in it.
        """
        sources = _as_list(images)
        mask_sources = _as_list(masks) if masks is not None else [None] * len(sources)
        if len(mask_sources) != len(sources):
            raise InputError(
                f"{len(sources)} pictures came with {len(mask_sources)} masks. Give one mask a "
                "picture, None where it shall be found."
            )
        pictures = [load_image(source) for source in sources]
        regions = [
            None if mask is None else load_mask(mask, picture.size)
            for picture, mask in zip(pictures, mask_sources, strict=True)
        ]
        return self._cache.get_or_make(
            self._key_of(pictures, regions),
            lambda: identities.encode_identity(self._cached, pictures, masks=regions),
        )

    def save_identity(self, identity: Identity, path: str | Path, *, force: bool = False) -> None:
        """Write `identity` to a safetensors file; an existing one only with `force`."""
        identities.save_identity(identity, path, force=force)

    def load_identity(self, path: str | Path) -> Identity:
        """Read an identity that this preset's networks encoded."""
        return identities.load_identity(path, self.components)

    def personalize(
        self,
        subjects: Identity | Sequence[Subject],
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        mask: Tensor | MaskSource = MaskSource.NONE,
        box: Box | None = None,
        size_px: tuple[int, int] | None = None,
        **steering: Unpack[Steering],
    ) -> GenerationResult:
        """Draw the subjects into the scene of `prompt`; picture i has the seed `seed + i`.

        Without a seed one is drawn; the result tells it.
        See `swiftpie.pipelines.personalize.personalize` for the arguments.

        Raises:
            InputError: The prompt is empty or a number is out of range.
        """
        with self.components.scope():
            return personalize(
                self._cached,
                subjects,
                prompt,
                seeds=seeds_from(seed, num_images),
                scales=scales,
                mask=mask,
                box=box,
                size_px=size_px,
                **steering,
            )

    def edit(
        self,
        image: Picture,
        prompt: str,
        *,
        source_prompt: str = "",
        keyword: str = "",
        mask: Picture | Tensor | Box | None = None,
        identity: Identity | None = None,
        settings: EditSettings | None = None,
    ) -> EditResult:
        """Change a picture so that it fits `prompt`.

        See `swiftpie.pipelines.edit.edit` for the arguments; a mask may also be a picture file.

        Raises:
            CapabilityError: The preset has no inversion network or no image encoder.
            InputError: The prompt is empty, or picture or mask cannot be used.
        """
        picture = load_image(image)
        if mask is not None and not isinstance(mask, Tensor | tuple):
            mask = load_mask(mask, picture.size)
        with self.components.scope():
            return edit(
                self._editing,
                picture,
                prompt,
                source_prompt=source_prompt,
                keyword=keyword,
                mask=mask,
                identity=identity,
                settings=settings,
            )

    def _remembering_pictures(self) -> Components:
        """Return components for edits, so that the second of one picture does not start anew."""
        cached, known = self._cached, (self._cache, self.components.fingerprint)
        inversion, encoder = cached.inversion, cached.image_encoder
        return replace(
            cached,
            image_encoder=None if encoder is None else CachedImageEncoder(encoder, *known),
            autoencoder=remember_pictures(cached.autoencoder, *known),
            inversion=None if inversion is None else remember_inversions(inversion, *known),
        )

    def _key_of(self, pictures: Sequence[Image.Image], masks: Sequence[Tensor | None]) -> Key:
        """Return what an identity depends on: these networks, their frame, and all pixels."""
        preset = self.components.preset
        parts: list[str | bytes] = [self.components.fingerprint, preset.name]
        parts.append(str(preset.image_size_px))
        for picture, mask in zip(pictures, masks, strict=True):
            parts += [f"{picture.mode} {picture.size}", picture.tobytes()]
            parts.append("" if mask is None else mask.cpu().numpy().tobytes())
        return content_key("identity", *parts)


def load(
    preset: str = "mini",
    *,
    device: str = "cpu",
    engine: str | Sequence[str] = (),
    cache_mib: float = CACHE_MIB,
    **choices: Unpack[Choices],
) -> Session:
    """Load a preset by name.

    Args:
        preset: One of `swiftpie presets`.
        device: A torch device, as "cpu" or "cuda".
        engine: Transforms that make it quicker or smaller, any of `swiftpie engine`.
        cache_mib: Bound of what is kept for later calls; see `Session`.
        **choices: What to load instead of, or besides, the preset's own networks: `weights`,
            `base`, `adapter`, `image_encoder`, `inversion`, `reference` are paths; `steps`,
            `dtype`, `plan`, `face_version`, `lora_scale`, `allow_pickle` and `offline` say how.
            See `swiftpie.backbones.choices`.

    Raises:
        ConfigError: No such preset or transform, the preset leaves no such choice, or the bound
            of the cache is negative.
        CapabilityError: A transform cannot be applied to these networks.
        WeightsError: Weights are missing, damaged or do not fit.
        MissingExtra: The preset or a transform needs a package that is not installed.
    """
    transforms = choose(engine)  # complains before weights are read
    components = load_components(PRESETS.get(preset), device=device, **choices)
    return Session(applied(components, transforms), cache_mib=cache_mib)


def _as_list(value: object) -> list[Picture]:
    if isinstance(value, (str, Path, bytes, Image.Image)):
        return [value]
    assert isinstance(value, Sequence)
    return list(value)
