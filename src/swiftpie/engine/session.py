"""A loaded preset: the object that users, the command line and servers talk to."""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swiftpie.backbones.acquire.download import Needs
from swiftpie.backbones.choices import Choices, device_of, dtype_of
from swiftpie.backbones.components import FAMILIES, Components, Family, load_components
from swiftpie.backbones.components import needs_of as backbone_needs
from swiftpie.backbones.machine import AUTO, NUMBERS_A_PIXEL, SPARE_BYTES, free_memory
from swiftpie.backbones.preset import Preset
from swiftpie.backbones.recipe import Recipe
from swiftpie.backbones.resolve import best_recipe, settle
from swiftpie.engine.cache import (
    Cache,
    CachedAutoencoder,
    CachedPrompts,
    CacheReport,
    Key,
    cached_image_encoder,
    cached_inversion,
    content_key,
)
from swiftpie.engine.transform import TRANSFORMS, Transform, Turn, choose
from swiftpie.engine.transforms.offload import can_offload, offloaded
from swiftpie.errors import InputError, OutOfMemory, SwiftPieError, WeightsError
from swiftpie.faces.choose import ChosenFace, choose_face, find_faces
from swiftpie.faces.face import FaceEncoder
from swiftpie.guidance import Steering
from swiftpie.imageio.files import BAND_PIXELS
from swiftpie.imageio.images import load_image
from swiftpie.library import Library, packaged
from swiftpie.masks import Box, load_mask
from swiftpie.models.cutout import Point, Search, search_of
from swiftpie.noise import seeds_from
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.advice import advice_on, advise
from swiftpie.pipelines.drawing.denoise import OnStage, OnStep
from swiftpie.pipelines.drawing.draw import draw, draw_together, free_unused_memory
from swiftpie.pipelines.drawing.edit import EditResult
from swiftpie.pipelines.drawing.request import (
    EditRequest,
    FaceRequest,
    PersonalizeRequest,
    RepaintRequest,
    Request,
    Subject,
    View,
    as_subjects,
    detail_source_of,
    source_of,
)
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales, Style
from swiftpie.pipelines.identity import aligned_crop, face_identity
from swiftpie.pipelines.identity_file import fitted, load_identity, save_identity
from swiftpie.pipelines.naming import log_library_subjects, new_subject_of_edit, new_subjects
from swiftpie.types import GenerationResult, Identity

logger = logging.getLogger(__name__)

Drawn = TypeVar("Drawn")

TINY = "tiny-decoder"
DECODER = "decoder"  # what results call the one that memory chose
TOO_LITTLE = (
    "There is too little memory on %s for what the preset's own decoder computes. TAESD decodes "
    "instead, slightly softer, and results say so. Free some, or choose a decoder yourself by "
    "`autoencoder=`."
)

Picture = str | Path | bytes | Image.Image
CACHE_MIB = 256.0  # 110 to 200 subjects of `mini`, one picture each


class _Understood(NamedTuple):
    """What the arguments of `load` come to."""

    preset: Preset
    device: str
    transforms: list[Transform]
    choices: Choices
    origin: dict[str, str]  # what results say of it


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
        self._cache = Cache(cache_mib)
        self._shared: dict[Hashable, set[int]] = {}  # how many of a kind have shared a pass
        self._serve(components)

    def _serve(self, components: Components) -> None:
        self.components = components
        known = (self._cache, components.fingerprint)
        encoder, inversion = components.image_encoder, components.inversion
        self._cached = replace(components, text=CachedPrompts(components.text, *known))
        self._editing = replace(  # a second edit of one picture does not start anew
            self._cached,
            image_encoder=None if encoder is None else cached_image_encoder(encoder, *known),
            autoencoder=CachedAutoencoder(components.autoencoder, *known),
            inversion=None if inversion is None else cached_inversion(inversion, *known),
        )

    @property
    def cache(self) -> CacheReport:
        """What was found in the cache and what it holds; `print` it for one line."""
        return self._cache.report()

    def encode_identity(
        self,
        images: Picture | Sequence[Picture],
        *,
        masks: Picture | Sequence[Picture | None] | None = None,
        cutout: str | Search | Sequence[str | Search] = "auto",
    ) -> Identity:
        """Encode one subject once, for any number of pictures.

        Args:
            images: One or several pictures of the subject: a path, bytes or a PIL image.
            masks: As many pictures, white where the subject is; None finds the subject.
            cutout: How, for all or for each: "auto" by its transparency, or else by a network
                that warns where it is not sure; "rembg" or "rembg:MODEL" by a network of that
                library; "none" takes whole pictures. "0.2,0.1,0.8,0.95" is a box around it,
                "0.5,0.4 not:0.1,0.9" are points on and beside it.

        Raises:
            InputError: A picture cannot be read, or the subject cannot be found in it.
        """
        sources = _as_list(images)
        mask_sources = [None] * len(sources) if masks is None else _as_list(masks)
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
        searches = _searches(cutout, len(pictures))
        return self._cache.get_or_make(
            self._key_of("identity", pictures, regions, notes=[str(one) for one in searches]),
            lambda: identities.encode_identity(
                self._cached, pictures, masks=regions, searches=searches
            ),
        )

    def encode_face(
        self,
        face: Picture | ChosenFace | Tensor | NDArray[np.float32],
        *,
        encoder: FaceEncoder | None = None,
        number: int | None = None,
        crop: Image.Image | Sequence[Image.Image] | None = None,
    ) -> Identity:
        """Encode the person of a face once, for any number of pictures.

        Args:
            face: A photograph, a face that was found in one, or vectors of a face recogniser.
            encoder: Finds the face in a photograph; one of `swiftpie.faces`, and only then.
            number: Which face of a photograph, from the left, from 1; None: the largest.
            crop: The aligned faces that vectors are of; see `swiftpie.pipelines.identity`.

        Raises:
            CapabilityError: No adapter is loaded that can read this.
            InputError: There is no such face, or vectors and crops do not fit.
        """
        if isinstance(face, str | Path | bytes | Image.Image):
            if encoder is None:
                raise InputError(
                    "A photograph was given without an encoder, so no face can be found in it. "
                    "Open one, as FACE_ENCODERS.get('opencv').open(folder), and pass `encoder=`."
                )
            face = choose_face(find_faces(encoder, load_image(face)), number=number)
        if isinstance(face, ChosenFace):
            return self.encode_face(face.face.embedding, crop=aligned_crop(face))
        vectors = torch.as_tensor(face)
        crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
        return self._cache.get_or_make(
            self._key_of("face", crops, [vectors]),
            lambda: face_identity(self._cached, vectors, crop=crops),
        )

    def save_identity(self, identity: Identity, path: str | Path, *, force: bool = False) -> None:
        """Write `identity` to a safetensors file; an existing one only with `force`."""
        save_identity(identity, path, force=force)

    def load_identity(self, path: str | Path) -> Identity:
        """Read an identity that this preset's networks encoded."""
        return load_identity(path, self.components)

    @property
    def library(self) -> Library:
        """Subjects by name, for whom nobody has to give a picture."""
        return packaged()

    def named(self, word: str) -> Identity:
        """Return the library's subject of this name, encoded; a synonym or plural will do.

        Raises:
            NobodyNamed: There is none; the message offers names that are near.
        """
        who = self.library.find(word)
        return replace(self.encode_identity(self.library.image(who.name)), named=who)

    def with_named(
        self, prompt: str, subjects: Identity | Sequence[Subject] = ()
    ) -> tuple[Subject, ...]:
        """Return `subjects` and, behind them, those of the library whom `prompt` names besides.

        A subject without a name of its own is the first in the sentence that nobody else is. Models
        that read any word take nobody from the library.

        Raises:
            NobodyNamed: There is nobody at all.
        """
        given = as_subjects(subjects)
        vocabulary = self.components.text.vocabulary
        others = new_subjects(prompt, vocabulary, given=[one.name for one in given])
        return (*given, *(Subject(self.named(one.word), name=one.word) for one in others.known))

    def fitted(self, identity: Identity, *, name: str) -> Identity:
        """Return an identity from elsewhere, checked and on this device."""
        return fitted(identity, self.components, name=name)

    @overload
    def draw(
        self,
        request: EditRequest | RepaintRequest,
        *,
        on_stage: OnStage | None = None,
        on_step: OnStep | None = None,
    ) -> EditResult: ...
    @overload
    def draw(
        self,
        request: PersonalizeRequest | FaceRequest,
        *,
        on_stage: OnStage | None = None,
        on_step: OnStep | None = None,
    ) -> GenerationResult: ...
    def draw(
        self, request: Request, *, on_stage: OnStage | None = None, on_step: OnStep | None = None
    ) -> GenerationResult | EditResult:
        """Draw what is asked for; the methods below spell requests as calls.

        Args:
            request: What to draw.
            on_stage: Called with the name of each stage when it has ended; may raise to stop.
            on_step: Called after each step, as `pipelines.denoise.OnStep` says; may raise to stop.
                All pictures of the request are then drawn at once, whatever the memory.

        Raises:
            CapabilityError: The networks cannot do this.
            ConfigError: The guidance is for another number of steps.
            InputError: A number is out of range, or things do not go together.
            OutOfMemory: Memory is too little for one picture even with networks taking turns.
        """
        advise(self.components, request)

        def compute() -> GenerationResult | EditResult:
            with self.components.scope():
                return draw(self._serving(request), request, on_stage=on_stage, on_step=on_step)

        return self._with_room(compute)

    def draw_together(
        self,
        requests: Sequence[Request],
        *,
        on_stage: OnStage | None = None,
        makes_ready: bool = False,
    ) -> list[GenerationResult | EditResult]:
        """Draw requests of several people, those of one kind and shape in one pass.

        Networks of fixed sizes would make people wait for each new number of requests. Only as many
        share a pass as did before in a call that `makes_ready`; else each has its own.

        `on_stage` is called with the name of each stage when it has ended, and may raise to stop
        all. The errors are those of `draw`. Nothing is logged, as logs are not for what strangers
        write; see `advice_on`.
        """
        split = self._learn if makes_ready else self._known_parts
        kinds: dict[int, list[int]] = {}
        for number, request in enumerate(requests):
            kinds.setdefault(id(self._serving(request)), []).append(number)
        results: dict[int, GenerationResult | EditResult] = {}
        for numbers in kinds.values():
            together = [requests[number] for number in numbers]

            def compute(
                together: Sequence[Request] = together,
            ) -> list[GenerationResult | EditResult]:
                with self.components.scope():
                    serving = self._serving(together[0])
                    return draw_together(serving, together, on_stage=on_stage, split=split)

            results.update(zip(numbers, self._with_room(compute), strict=True))
        return [results[number] for number in range(len(requests))]

    def _learn(self, kind: Hashable, count: int) -> Sequence[int]:
        self._shared.setdefault(kind, {1}).add(count)
        return [count]

    def _known_parts(self, kind: Hashable, count: int) -> Sequence[int]:
        if not self.components.has_fixed_sizes:
            return [count]
        known, parts = self._shared.get(kind, {1}), []
        while count:
            parts.append(max(one for one in known if one <= count))
            count -= parts[-1]
        return parts

    def _with_room(self, compute: Callable[[], Drawn]) -> Drawn:
        """Return what `compute` returns, with networks that take turns where memory is short.

        Raises:
            OutOfMemory: It is too short even so.
        """
        try:
            return compute()
        except OutOfMemory as error:
            device = self.components.device
            if not can_offload(self.components):
                raise
            logger.warning("%s From now on networks take turns on %s.", error, device)
        self._serve(offloaded(self.components, device))
        free_unused_memory()
        return compute()

    def advice_on(self, request: Request) -> list[str]:
        """Return what `draw` would warn of."""
        return list(advice_on(self.components, request))

    def _serving(self, request: Request) -> Components:
        is_edit = isinstance(request, EditRequest | RepaintRequest)
        return self._editing if is_edit else self._cached

    def personalize(
        self,
        subjects: Identity | Sequence[Subject],
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        mask: Tensor | MaskSource = MaskSource.NONE,
        detail_mask: Tensor | MaskSource | None = None,
        box: Box | None = None,
        view: View | None = None,
        size_px: tuple[int, int] | None = None,
        **steering: Unpack[Steering],
    ) -> GenerationResult:
        """Draw the subjects into the scene of `prompt`; picture i has the seed `seed + i`.

        Args:
            subjects: One identity from `encode_identity`, or several subjects.
            prompt: What the picture shows; not empty.
            seed: Of the first picture; without one it is drawn, and the result tells it.
            num_images: How many pictures.
            scales: Scales of the branches; the preset's defaults if not given.
            mask: Region of a single identity (1, 1, H, W) in [0, 1], or where all regions come
                from.
            detail_mask: The same of the detail branch alone, which acts where both let it; by
                default the preset's, unless `mask` is given.
            box: Left, top, right and bottom in [0, 1] that a single identity shall fill.
            view: Yaw and pitch in degrees from where a single identity shall be seen.
            size_px: Height and width; the preset's size if not given.
            **steering: `guidance`, a method of `swiftpie.guidance`; `negative_prompt`, what it
                leads away from; `shaping` of the identity's attention maps.

        Raises:
            ConfigError: The guidance is for another number of steps.
            InputError: The prompt is empty or a number is out of range.
        """
        request = PersonalizeRequest(
            subjects=as_subjects(subjects, mask=mask, detail_mask=detail_mask, box=box, view=view),
            prompt=prompt,
            seeds=seeds_from(seed, num_images),
            scales=scales,
            mask=source_of(mask),
            detail_mask=detail_source_of(detail_mask),
            size_px=size_px,
            **steering,
        )
        return self.draw(request)

    def generate(
        self,
        prompt: str,
        *,
        subjects: Identity | Sequence[Subject] = (),
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        mask: MaskSource = MaskSource.NONE,
        size_px: tuple[int, int] | None = None,
        **steering: Unpack[Steering],
    ) -> GenerationResult:
        """Draw the scene of `prompt` with those whom it names, from the library unless given.

        So "a kitten on a beach" shows the library's cat, as `named` of the result tells. `subjects`
        are as in `with_named`, all else as in `personalize`.

        Raises:
            InputError: As of `personalize`.
            NobodyNamed: The sentence names nobody of the library and no subject was given; the
                message offers names that are near.
        """
        everyone = self.with_named(prompt, subjects)
        log_library_subjects(one.identity.named for one in everyone)
        return self.personalize(
            everyone,
            prompt,
            seed=seed,
            num_images=num_images,
            scales=scales,
            mask=mask,
            size_px=size_px,
            **steering,
        )

    def face(
        self,
        face: Identity | Picture | ChosenFace | Tensor | NDArray[np.float32],
        prompt: str,
        *,
        style: Style = Style.PLAIN,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        size_px: tuple[int, int] | None = None,
        encoder: FaceEncoder | None = None,
    ) -> GenerationResult:
        """Draw the person of a face into the scene of `prompt`. From arXiv:2505.21144.

        `face` is of `encode_face`, or what that takes, with an `encoder` if it is a photograph;
        `style` is how prompt and face share the picture. All else is as in `personalize`.

        Raises:
            CapabilityError: No adapter is loaded that can read this.
            InputError: The prompt is empty, a number is out of range, or there is no face.
        """
        known = face if isinstance(face, Identity) else self.encode_face(face, encoder=encoder)
        request = FaceRequest(
            identity=known,
            prompt=prompt,
            seeds=seeds_from(seed, num_images),
            style=style,
            scales=scales,
            size_px=size_px,
        )
        return self.draw(request)

    def edit(
        self,
        image: Picture,
        prompt: str,
        *,
        source_prompt: str = "",
        keyword: str = "",
        mask: Picture | Tensor | Box | None = None,
        identity: Identity | str | None = None,
        seed: int | None = None,
        settings: EditSettings | None = None,
        **steering: Unpack[Steering],
    ) -> EditResult:
        """Change a picture so that it fits `prompt`.

        Whom the sentence names and the picture does not show comes from the library, for models
        that know no picture by a word. `draw` takes an `EditRequest` as it stands, without that.

        Args:
            image: Any shape; transparency is ignored.
            prompt: What the picture shall show; not empty.
            source_prompt: What it shows now; may be empty.
            keyword: What in the picture shall change, as in "cat". The mask is then found between
                this word and no words, instead of between the two prompts.
            mask: Where to change it: a picture, (1, 1, H, W) in [0, 1] over the picture, or a box;
                found if not given.
            identity: A subject that replaces the picture itself as image condition; a word takes it
                from the library.
            seed: Of all that is random; without one it is drawn, and the result tells it.
            settings: Everything else.
            **steering: As in `personalize`.

        Raises:
            CapabilityError: The preset has no inversion network, no image encoder or no such mode.
            InputError: The prompt is empty, or picture, mask or seed cannot be used.
        """
        picture = load_image(image)
        request = EditRequest(
            image=picture,
            prompt=prompt,
            seed=seeds_from(seed, 1)[0],
            source_prompt=source_prompt,
            keyword=keyword,
            mask=None if mask is None else _place_of(mask, picture),
            identity=self._shown(identity),
            settings=settings or EditSettings(),
            **steering,
        )
        request = self.with_newcomer(request)
        log_library_subjects(
            one.named for one in (request.identity, request.newcomer) if one is not None
        )
        return self.draw(request)

    def with_newcomer(self, request: EditRequest) -> EditRequest:
        """Return an edit with the subject of the library that its sentence brings, if any.

        It is the identity where words say that it is not in the picture. Where they leave that
        open it is the newcomer, who comes if the picture's own subject does not stay.
        """
        if request.identity is not None or request.newcomer is not None:
            return request
        texts = {"source_prompt": request.source_prompt, "keyword": request.keyword}
        brought = new_subject_of_edit(request.prompt, self.components.text.vocabulary, **texts)
        if brought is None:
            return request
        who = self.named(brought.word)
        is_sure = any(texts.values())
        return replace(request, identity=who) if is_sure else replace(request, newcomer=who)

    def insert(
        self,
        photo: Picture,
        identity: Identity | str,
        *,
        prompt: str = "",
        box: Box | None = None,
        view: View | None = None,
        seed: int | None = None,
    ) -> EditResult:
        """Put a subject into a photograph, in its light, at its own size.

        Args:
            photo: Any shape and size; transparency is ignored.
            identity: Who comes, of `encode_identity`, or a name of the library.
            prompt: What it is, as in "a photo of a dog"; may be empty.
            box: Left, top, right and bottom in [0, 1] that it fills, feet at the bottom; proposed
                if not given.
            view: Yaw and pitch in degrees from where it is seen.
            seed: Of all that is random; without one it is drawn, and the result tells it.

        Raises:
            CapabilityError: No identity adapter is loaded, or the preset cannot turn subjects.
            InputError: The picture, the box or a number cannot be used.
        """
        request = RepaintRequest(
            image=load_image(photo),
            seed=seeds_from(seed, 1)[0],
            identity=self._shown(identity),
            prompt=prompt,
            box=box,
            view=view,
        )
        return self.draw(request)

    def remove(
        self,
        photo: Picture,
        *,
        mask: Picture | Tensor | Box | Search | None = None,
        points: Sequence[Point] = (),
        seed: int | None = None,
    ) -> EditResult:
        """Take something out of a photograph; all else is as in `insert` and `edit`.

        Args:
            photo: Any shape and size; transparency is ignored.
            mask: All that goes: a picture, (1, 1, H, W) in [0, 1] over the photograph, or a box;
                or a search for it.
            points: Instead, shares of width and height on the thing that goes. Its outline and the
                shadow at its foot are found, with a box only inside of it.
            seed: Of all that is random; without one it is drawn, and the result tells it.

        Raises:
            InputError: Nothing says what goes, or a place cannot be used.
            NoSubject: Nothing that stands out is at the points.
        """
        picture = load_image(photo)
        place = _goes_of(mask, points, picture)
        return self.draw(RepaintRequest(image=picture, seed=seeds_from(seed, 1)[0], mask=place))

    def replace(
        self,
        photo: Picture,
        identity: Identity | str,
        *,
        prompt: str = "",
        mask: Picture | Tensor | Box | Search | None = None,
        points: Sequence[Point] = (),
        seed: int | None = None,
    ) -> EditResult:
        """Put a subject in the place of what goes; see `insert` and `remove`."""
        picture = load_image(photo)
        request = RepaintRequest(
            image=picture,
            seed=seeds_from(seed, 1)[0],
            identity=self._shown(identity),
            prompt=prompt,
            mask=_goes_of(mask, points, picture),
        )
        return self.draw(request)

    def _shown(self, identity: Identity | str | None) -> Identity | None:
        return self.named(identity) if isinstance(identity, str) else identity

    def _key_of(
        self,
        kind: str,
        pictures: Sequence[Image.Image],
        tensors: Sequence[Tensor | None],
        notes: Sequence[str] = (),
    ) -> Key:
        """Return what an identity depends on: these networks, their frame, and all numbers."""
        preset = self.components.preset
        parts: list[str | bytes] = [preset.name, str(preset.image_size_px), *notes]
        for picture in pictures:
            parts += [f"{picture.mode} {picture.size}", _digest(picture)]
        known = ("" if one is None else one for one in tensors)
        return content_key(kind, self.components.fingerprint, *parts, *known)


def draw_apart(
    session: Session,
    requests: Sequence[Request],
    *,
    failures: type[Exception] = SwiftPieError,
    on_stage: OnStage | None = None,
) -> list[GenerationResult | EditResult | Exception]:
    """Draw together; where that fails, draw one by one, so that nobody pays for another's.

    `failures` stand where the result of a request that raised one would; others are raised.
    """
    if not requests:
        return []
    try:
        return list(session.draw_together(requests, on_stage=on_stage))
    except failures as error:
        if len(requests) == 1:
            return [error]
        apart = ([one] for one in requests)
        return [draw_apart(session, one, failures=failures, on_stage=on_stage)[0] for one in apart]


def load(
    preset: str | None = None,
    *,
    recipe: str | Recipe | None = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    cache_mib: float = CACHE_MIB,
    **choices: Unpack[Choices],
) -> Session:
    """Load what `swiftpie.load` describes, by the same arguments, and draw with PyTorch."""
    known, device, transforms, merged, origin = _understood(preset, recipe, device, engine, choices)
    for one in transforms:
        if one.needs is not None:
            one.needs(FAMILIES.get(known.family), merged).fetch()
    components = load_components(known, device=device, **merged)
    if DECODER in origin and getattr(components.autoencoder, "is_tiny", False):
        transforms.remove(TRANSFORMS.get(TINY))
        del origin[DECODER]
    elif DECODER in origin:
        logger.warning(TOO_LITTLE, device)
    offload = TRANSFORMS.get("offload")
    if components.execution_device is not None and offload not in transforms:
        logger.info("%s has too little room for all networks at once; they take turns.", device)
        transforms = sorted([*transforms, offload], key=lambda one: one.turn)
    for one in transforms:
        components = one.apply(components)
    components = replace(components, origin=origin)
    return Session(components, cache_mib=cache_mib)


def needs_of(
    preset: str | None = None,
    *,
    recipe: str | Recipe | None = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    **choices: Unpack[Choices],
) -> Needs:
    """Return what `load` would fetch for the same arguments; only small files come.

    Whatever settings and headers tell is checked, so what this returns for can be loaded.

    Raises:
        ConfigError: As of `load`.
        WeightsError: Something cannot be had, or does not fit the rest.
        MissingExtra: A package is needed that is not installed.
    """
    known, device, transforms, merged, _ = _understood(preset, recipe, device, engine, choices)
    found = backbone_needs(known, device=device, **merged)
    for one in transforms:
        if one.needs is not None:
            found += one.needs(FAMILIES.get(known.family), merged)
    return found


def _understood(
    preset: str | None,
    recipe: str | Recipe | None,
    device: str,
    engine: str | Sequence[str],
    choices: Choices,
) -> _Understood:
    """Return what is to be loaded, where, with which transforms, and all choices.

    It complains before weights are read.
    """
    if recipe == AUTO and preset is None:
        recipe = best_recipe()
    known, merged = settle(preset, recipe, choices)
    is_large = FAMILIES.get(known.family).is_large
    device = device_of(device, is_large=is_large)
    transforms = choose(engine, device=device)
    origin = {} if recipe is None else {"recipe": getattr(recipe, "name", str(recipe))}
    if is_large:
        merged["dtype"] = merged.get("dtype") or "auto"
        stay = any(one.turn is Turn.CALLS for one in transforms)  # graphs need their weights there
        merged["offloads"] = TRANSFORMS.get("offload") in transforms or (False if stay else "auto")
        if choices.get("autoencoder") is None and not _can_decode(known, device, merged):
            found = _tiny_decoder(FAMILIES.get(known.family), transforms, merged)
            transforms += found
            transforms.sort(key=lambda one: one.turn)
            origin |= dict.fromkeys([DECODER] if found else [], "TAESD, for lack of memory")
    return _Understood(known, device, transforms, merged, origin)


def _can_decode(preset: Preset, device: str, choices: Choices) -> bool:
    """Whether there is room for what the preset's own decoder computes, with nothing else there."""
    numbers = NUMBERS_A_PIXEL * preset.image_size_px**2
    free = free_memory(torch.device(device))
    return numbers * dtype_of(choices, device).itemsize + SPARE_BYTES <= free


def _tiny_decoder(
    family: Family, transforms: Sequence[Transform], choices: Choices
) -> list[Transform]:
    """Return the tiny decoder for `family`; none where it was chosen already or cannot be had."""
    tiny = TRANSFORMS.get(TINY)
    if family.tiny_autoencoder is None or tiny in transforms or tiny.needs is None:
        return []
    try:
        tiny.needs(family, choices)
    except WeightsError as error:
        logger.warning("There may be too little memory to decode a picture. %s", error)
        return []
    return [tiny]


def _digest(picture: Image.Image) -> bytes:
    """Return the sha256 of all pixels, which are not copied all at once."""
    digest, rows = sha256(), max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        digest.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return digest.digest()


def _place_of(mask: Picture | Tensor | Box, picture: Image.Image) -> Tensor | Box:
    return mask if isinstance(mask, Tensor | tuple) else load_mask(mask, picture.size)


def _goes_of(
    mask: Picture | Tensor | Box | Search | None, points: Sequence[Point], picture: Image.Image
) -> Tensor | Box | Search:
    if points:
        if mask is not None and not isinstance(mask, tuple):
            raise InputError(
                "A mask and points came together. A mask says all that goes, and points look for "
                "it. Leave one out."
            )
        return Search(box=mask, points=tuple(points))
    if mask is None:
        raise InputError(
            "Nothing says what shall go. A mask, a box or points are needed. Write for example "
            "points=[(0.4, 0.6)]."
        )
    return mask if isinstance(mask, Search) else _place_of(mask, picture)


def _searches(cutout: str | Search | Sequence[str | Search], count: int) -> list[Search]:
    given = [cutout] * count if isinstance(cutout, str | Search) else list(cutout)
    if len(given) != count:
        raise InputError(
            f"{count} pictures came with {len(given)} ways to cut them out. Give one for all, or "
            'one a picture, as in `cutout=["auto", "none"]`.'
        )
    return [search_of(one) for one in given]


def _as_list(value: object) -> list[Picture]:
    if isinstance(value, (str, Path, bytes, Image.Image)):
        return [value]
    assert isinstance(value, Sequence)
    return list(value)
