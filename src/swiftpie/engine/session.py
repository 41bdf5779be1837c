"""A loaded preset: the object that users, the command line and servers call."""

import copy
import logging
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components
from swiftpie.config import options_of
from swiftpie.engine.offload import can_offload
from swiftpie.engine.runner import (
    Cache,
    CacheReport,
    Key,
    Runner,
    content_key,
    progress_bar,
    reporting_layers,
)
from swiftpie.errors import InputError, OutOfMemory, UnknownSubjectError
from swiftpie.faces import FaceEncoder
from swiftpie.faces.choose import ChosenFace, choose_face, face_region, find_faces
from swiftpie.imageio.decoding import BAND_PIXELS, is_picture, load_image
from swiftpie.library import Library, Named, log_named, subject_library
from swiftpie.masks import Box, load_mask
from swiftpie.photo.search import Point, Search, search_of
from swiftpie.pipelines import identity as identities
from swiftpie.pipelines.animation import USUAL_FRAMES
from swiftpie.pipelines.choose import Choice, Clock, OnStage, choose, identities_in, with_sources
from swiftpie.pipelines.denoise import OnStep
from swiftpie.pipelines.draw import Result, draw_together, find_region
from swiftpie.pipelines.identity import aligned_crop, face_identity
from swiftpie.pipelines.identity_file import (
    LARGE,
    PLAIN,
    lacks_features,
    prepare_identity,
    read_identity_file,
    save_identity,
)
from swiftpie.pipelines.layers import LayerScales
from swiftpie.pipelines.request import (
    FacePicture,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    Region,
    Source,
    Subject,
    View,
    as_subjects,
    drawing_of,
    seeds_from,
)
from swiftpie.pipelines.settings import (
    USUAL,
    DrawingSteering,
    EditSettings,
    MaskSource,
    Scales,
    Steering,
    TuneSettings,
)
from swiftpie.pipelines.tasks import (
    TASKS,
    EditRequest,
    Removal,
    Request,
    RequestT,
    RetouchRequest,
    change_of,
    with_files_opened,
)
from swiftpie.pipelines.tuning import OnTune, tune
from swiftpie.pipelines.warnings import add_advice
from swiftpie.types import EditResult, GenerationResult, Identity, Picture

logger = logging.getLogger(__name__)
Given = TypeVar("Given")
NewT = TypeVar("NewT", bound=PersonalizeRequest)
EditT = TypeVar("EditT", bound=EditRequest)
RetouchT = TypeVar("RetouchT", bound=RetouchRequest)

Outcome = tuple[Choice[Any], Result] | Exception
Face = Picture | ChosenFace | Tensor | NDArray[np.float32]

CACHE_MIB = 256.0  # 110 to 200 subjects of `mini`, one picture each

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ABOUT, GONE, GONE_OF_INSERTIONS = _TEXTS["about"], _TEXTS["gone"], _TEXTS["gone_of_insertions"]
"""What arguments are, and what messages say of those that a method does not take."""


def _about(task: str) -> dict[str, str]:
    """Return what users read about the arguments of a task."""
    names = {"seeds": "seed", "size_px": "size", "to_boxes": "to_box", "to_views": "to_view"}
    kind = TASKS[task]
    options = options_of(Subject, without=("name", "scale")) | options_of(kind.request)
    options |= options_of(Removal) if Removal in kind.parts else {}
    helps = {names.get(name, name): field.option.help for name, field in options.items()}
    return {**helps, **ABOUT, "scales": f"Scales(…) of {', '.join(options_of(Scales))}."}


class Session:
    """One preset on one device, with a cache of recent encodings. Threads may share a session."""

    @checked
    def __init__(self, components: Components, *, cache_mib: float = CACHE_MIB) -> None:
        """Wrap loaded `components`; `swiftpie.load` is the usual way to get a session.

        Args:
            components: The networks.
            cache_mib: Limit in MiB of the identities, prompts and edited pictures kept for later
                calls. The least recently used entries are removed first; 0 keeps none.

        Raises:
            ConfigError: The limit is negative.
        """
        self._runner = Runner(components, Cache(cache_mib))
        self.face_encoder: FaceEncoder | None = None  # finds faces in photographs
        # Whether long calls show a bar; None: in terminals and notebooks.
        self.progress: bool | None = None

    def __repr__(self) -> str:
        return f"Session({self.components.preset.name!r} on {self.components.device})"

    @checked
    def with_face_encoder(self, encoder: FaceEncoder | None) -> "Session":
        """Return a session on the same networks and cache that finds faces by `encoder`."""
        other = copy.copy(self)
        other.face_encoder = encoder
        return other

    @property
    def components(self) -> Components:
        """The loaded networks; offloaded ones after memory was too short for all of them."""
        return self._runner.components

    @property
    def cache(self) -> CacheReport:
        """Hits, misses and contents of the cache."""
        return self._runner.cache.report()

    @checked
    def encode_identity(
        self,
        images: Picture | Sequence[Picture],
        *,
        masks: Picture | Sequence[Picture | None] | None = None,
        cutout: str | Search | Sequence[str | Search] = "auto",
    ) -> Identity:
        """Return the identity of one subject, which any number of later calls can draw.

        Args:
            images: One or several pictures of the subject, as `load_image` reads them.
            masks: One mask a picture, white where the subject is; None finds the subject.
            cutout: How to find it, for all pictures or one entry each: "auto" by transparency, or
                else a network; "none" takes whole pictures, or for published adapters their middle
                squares. "0.2,0.1,0.8,0.95" is a box around the subject, "0.5,0.4 not:0.1,0.9" are
                points on it and off it.

        Raises:
            InputError: A picture cannot be read, or the subject cannot be found in it.
        """
        components = self._runner.cached
        sources = _as_list(images)
        mask_sources = [None] * len(sources) if masks is None else _as_list(masks)
        if len(mask_sources) != len(sources):
            raise InputError(
                f"{len(sources)} pictures cannot be combined with {len(mask_sources)} masks. Pass "
                "one mask for each picture, or None where the subject is searched for."
            )
        pictures = [load_image(source) for source in sources]
        regions = [
            None if mask is None else load_mask(mask, picture.size, of_subject=True)
            for picture, mask in zip(pictures, mask_sources, strict=True)
        ]
        searches = _searches(cutout, len(pictures))
        names = [str(source) if isinstance(source, str | Path) else "" for source in sources]
        key = _key_of(components, "identity", pictures, regions, notes=[*map(str, searches)])
        identity = self._runner.cache.get_or_make(
            key,
            lambda: identities.encode_identity(
                components, pictures, masks=regions, searches=searches, names=names
            ),
        )
        for number in identity.left_out:
            logger.warning(
                "Picture %d%s shows no subject that stands out, so it is left out. Give it a mask, "
                "or say where the subject is.",
                *(number, f" ('{names[number - 1]}')" if names[number - 1] else ""),
            )
        return identity

    @checked
    def encode_face(
        self,
        face: Face,
        *,
        encoder: FaceEncoder | None = None,
        number: int | None = None,
        crop: Image.Image | Sequence[Image.Image] | None = None,
    ) -> Identity:
        """Return the identity of a person by the face, which any number of later calls can draw.

        Args:
            face: A photograph, a face found in one, or vectors of a face recogniser.
            encoder: A face encoder, which finds the face; only a photograph needs it. By default
                that of the session, see `with_face_encoder`.
            number: Which face of a photograph, counted from the left from 1; None is the largest.
            crop: The aligned face of each vector, for adapters that read pictures too.

        Raises:
            CapabilityError: No loaded adapter reads faces of this kind.
            InputError: There is no such face, or vectors and crops do not match.
        """
        components, encoder = self._runner.cached, encoder or self.face_encoder
        is_vectors = isinstance(face, Tensor | np.ndarray) and not is_picture(face)
        if not (is_vectors or isinstance(face, ChosenFace)):
            if encoder is None:
                raise InputError(
                    "A photograph needs a face encoder, which finds the face in it. Open one, as "
                    "FACE_ENCODERS.get('opencv').open(folder), and pass it as `encoder=`."
                )
            face = choose_face(
                find_faces(encoder, load_image(cast("Picture", face))), number=number
            )
        if isinstance(face, ChosenFace):
            crop, face = aligned_crop(face), face.face.embedding
        vectors = torch.as_tensor(face)
        crops = [crop] if isinstance(crop, Image.Image) else list(crop or [])
        return self._runner.cache.get_or_make(
            _key_of(components, "face", crops, [vectors]),
            lambda: face_identity(components, vectors, crop=crops),
        )

    @checked
    def tune(
        self,
        identity: Identity,
        settings: TuneSettings | None = None,
        *,
        on_event: OnTune | None = None,
    ) -> Identity:
        """Return the same subject, trained so that pictures show more of its own pictures.

        It takes a minute with `mini` on one core, and with a published one-step model at most one
        on an accelerator. The result is an identity like any other, for the same
        weights alone; those stay as they are, so pictures of other subjects do not change.

        Args:
            identity: The subject from `encode_identity`.
            settings: What is trained, and for how many steps.
            on_event: Called after each step; returns True to end early, or raises to stop.

        Raises:
            CapabilityError: The preset draws in several steps, the subject is a face, or the engine
                cannot train.
        """
        components, settings = self.components, settings or TuneSettings()
        is_on = False if on_event else self.progress
        with (
            components.engine.scope(),
            progress_bar("tuning", total=settings.steps + 2, is_on=is_on) as advance,
        ):
            if advance is not None:
                on_event = lambda event: advance(f"step {event.step}")  # noqa: E731
            return tune(components, identity, settings, on_event=on_event)

    @checked
    def save_identity(self, identity: Identity, path: str | Path, *, force: bool = True) -> None:
        """Write `identity` to a safetensors file; one that exists is replaced if `force`."""
        save_identity(identity, path, force=force)

    @checked
    def load_identity(self, path: str | Path) -> Identity:
        """Return the identity in a file; the same networks must have encoded it."""
        return self.prepare_identity(read_identity_file(path, self.components), name=str(path))

    @property
    def library(self) -> Library:
        """The subjects that the package holds, by name."""
        return subject_library()

    @checked
    def named(self, word: str) -> Identity:
        """Return the identity of the library's subject that a name, synonym or plural means.

        Raises:
            UnknownSubjectError: The library has no such subject; the message offers similar names.
        """
        return self.identity_of(self.library.find(word))

    @checked
    def identity_of(self, source: Source) -> Identity:
        """Return the identity of what shows a subject, encoded once and then from the cache.

        Raises:
            InputError: A picture or a file cannot be used.
            WeightsError: Other networks made the identity.
        """
        match source:
            case Pictures(images=images, masks=masks, cutouts=cutouts):
                cutout = cutouts[0] if len(cutouts) == 1 else cutouts
                return self.encode_identity(images, masks=masks or None, cutout=cutout)
            case FacePicture(image=image, number=number):
                return self.encode_face(load_image(image), number=number)
            case Named(name=name):
                return replace(self.encode_identity(self.library.image(name)), named=source)
            case IdentityRef(identity=Path() as path):
                return self.load_identity(path)
            case IdentityRef(identity=identity):
                assert isinstance(identity, Identity)
                return self.prepare_identity(identity, name="The identity")
            case _:
                return source

    @checked
    def with_named(
        self, prompt: str, subjects: Identity | Sequence[Identity | Subject] = ()
    ) -> tuple[Subject, ...]:
        """Return `subjects` and then the library's subjects that `prompt` names in addition.

        A subject without a name takes the first name in the prompt that is still free. Models that
        read any word take no subject from the library, and need none.

        Raises:
            UnknownSubjectError: No subject is given or named, and the model needs one.
        """
        first, components = as_subjects(subjects), self.components
        names = [subject.name for subject in first]
        words = components.family.named_besides(prompt, components, given=names)
        return (*first, *(Subject(self.identity_of(word), name=word.word) for word in words))

    @checked
    def resolved(self, request: RequestT) -> RequestT:
        """Return a request ready to draw: files open, sources encoded, subjects found.

        `draw` does this itself; what is resolved already stays unchanged.

        Raises:
            InputError: A picture or a file cannot be used.
            UnknownSubjectError: No subject is given or named, and the model needs one.
            WeightsError: Other networks made an identity.
        """
        return self._resolved(request, [])

    def _resolved(self, request: RequestT, warnings: list[str]) -> RequestT:
        if isinstance(request, PersonalizeRequest):
            return self._with_subjects(with_sources(request, self.identity_of))
        change = with_sources(with_files_opened(request), self.identity_of)
        if isinstance(change, EditRequest):
            return self._with_face_region(change, warnings)
        return self._with_inserted(change)

    def choose(self, request: RequestT, *, clock: Clock | None = None) -> Choice[RequestT]:
        """Return a request that is resolved, with the technique and the networks that draw it.

        The errors are those of `draw`.
        """
        warnings: list[str] = []
        resolved = self._resolved(request, warnings)
        networks = self._runner.networks_for(resolved)
        choice = choose(networks, resolved, clock=clock, faces=self.face_encoder)
        choice.warnings.extend(warnings)
        return choice

    def _with_subjects(self, request: NewT) -> NewT:
        if request.adds_named_subjects:
            assert isinstance(request.prompt, str), "a sentence names subjects"
            named = self.with_named(request.prompt, request.subjects)
            request = replace(request, subjects=named, adds_named_subjects=False)
        size_of = partial(self.components.family.picture_size, self.components)
        return request.with_files_opened(size_of)

    def _with_face_region(self, request: EditT, warnings: list[str]) -> EditT:
        """Return an edit that changes the picture's face, if it brings one and names no place.

        Without a face encoder the prompts find the region, as in other edits.

        Raises:
            ImageError: The picture shows no face.
        """
        brings_face = request.identity is not None and request.identity.is_face
        is_placed = request.mask is not None or request.keyword
        if request.finds_face and brings_face and not is_placed and self.face_encoder is not None:
            face = face_region(self.face_encoder, request.picture)
            for note in face.notes:
                logger.warning("%s", note)
            warnings += face.notes
            request = replace(request, mask=load_mask(face.mask, request.picture.size))
        return replace(request, finds_face=False)

    def _with_inserted(self, request: RetouchT) -> RetouchT:
        """Return a change of a photograph with its subject, or else the one of the prompt.

        Raises:
            UnknownSubjectError: A subject is to be inserted, and none is given or named.
        """
        source = request.source
        if source is None and request.adds_named_subjects:
            named = self.with_named(request.prompt)
            if not named:
                raise UnknownSubjectError("No picture of a subject to insert was given.")
            source = named[0].identity
        return replace(request, source=source, adds_named_subjects=False)

    @checked
    def prepare_identity(self, identity: Identity, *, name: str) -> Identity:
        """Return an identity from another process, checked and moved to this device.

        What a small file lacks is computed once, and then comes from the cache.
        """
        components = self.components
        if not lacks_features(identity, components):
            return prepare_identity(identity, components, name=name)
        tensors = [getattr(identity, name) for name in (*PLAIN, LARGE)]
        notes = (identity.fingerprint, identity.preset, str(identity.cutouts))
        return self._runner.cache.get_or_make(
            _key_of(components, "small", (), tensors, notes=notes),
            lambda: prepare_identity(identity, components, name=name),
        )

    @overload
    def draw(
        self,
        request: PersonalizeRequest,
        *,
        on_stage: OnStage | None = ...,
        on_step: OnStep | None = ...,
    ) -> GenerationResult: ...
    @overload
    def draw(
        self,
        request: EditRequest | RetouchRequest,
        *,
        on_stage: OnStage | None = ...,
        on_step: OnStep | None = ...,
    ) -> EditResult: ...
    @checked
    def draw(
        self, request: Request, *, on_stage: OnStage | None = None, on_step: OnStep | None = None
    ) -> Result:
        """Draw a request; the methods below turn their arguments into requests.

        Args:
            request: What to draw.
            on_stage: Called with the name of each stage when it ends, and with "check" within it,
                as before each layer of networks that run eagerly; may raise to stop.
            on_step: Called after each step, see `pipelines.denoise.OnStep`; may raise to
                stop. All pictures of the request are then drawn in one pass.

        Raises:
            CapabilityError: The networks cannot draw this request.
            ConfigError: The guidance is for another number of steps.
            InputError: A number is out of range, or arguments exclude each other.
            OutOfMemory: Memory is too little for one picture even with offloaded networks.
        """
        is_on = False if on_stage or on_step else self.progress
        with progress_bar("drawing", is_on=is_on) as advance:
            choice = self.choose(request, clock=Clock(on_stage or advance, on_step))
            if isinstance(request, EditRequest) or request.adds_named_subjects:
                words = [identity.named for identity in identities_in(choice.request)]
                if named := [*filter(None, words)]:
                    log_named(named)
            add_advice(choice, is_logged=True)
            (result,) = self._drawn([choice])
        return result

    @checked
    def draw_together(
        self,
        requests: Sequence[Request],
        *,
        on_stage: OnStage | None = None,
        makes_ready: bool = False,
    ) -> list[Result]:
        """Draw several requests, those of one kind and shape in one pass.

        Networks with fixed sizes are compiled for each number of requests. For them, a pass only
        uses numbers that an earlier call with `makes_ready` prepared.

        `on_stage` is as in `draw`, and may raise to stop all. The errors are those of `draw`.
        Advice is not logged, because a server's log must not hold its users' prompts; results have
        it as `warnings`.
        """
        clock = Clock(on_stage)
        choices = [self.choose(request, clock=clock) for request in requests]
        return self.draw_chosen(choices, makes_ready=makes_ready)

    def draw_chosen(
        self, choices: Sequence[Choice[Any]], *, makes_ready: bool = False
    ) -> list[Result]:
        """Draw what `choose` returned for one clock, as `draw_together` does."""
        for choice in choices:
            add_advice(choice)
        return self._drawn(choices, makes_ready=makes_ready)

    def _drawn(self, choices: Sequence[Choice[Any]], *, makes_ready: bool = False) -> list[Result]:
        """Return results; where memory is short, offload networks and try again.

        Raises:
            OutOfMemory: Memory is too little even so.
        """
        if not choices:
            return []
        listener = choices[0].clock.on_stage
        try:
            with self.components.engine.scope(), reporting_layers(self.components, listener):
                return draw_together(self._runner.ready(choices, makes_ready=makes_ready))
        except OutOfMemory as error:
            if not can_offload(self.components):
                raise
            device = self.components.device
            logger.warning("%s From now on networks take turns on %s.", error, device)
        self._runner.offload()
        return self._drawn(choices, makes_ready=makes_ready)

    @checked
    def advice_on(self, request: Request) -> list[str]:
        """Return the warnings that are known of a request before it is drawn."""
        choice = self.choose(request)
        add_advice(choice)
        return choice.warnings

    @checked
    def explain(self, request: PersonalizeRequest) -> list[tuple[str, str, str]]:
        """Return each word of the prompts, what becomes of it, and what it sets or why not.

        A model that reads any word accounts for none.
        """
        choice = self.choose(request)
        accounts = choice.components.family.accounts
        return [] if accounts is None else list(accounts(choice.staged))

    @checked
    def find_region(self, request: EditRequest | RetouchRequest) -> Image.Image:
        """Return what a change may change, before anything is drawn: white in mode L.

        It is as large as the picture, and a mask for `edit`. The errors are those of `draw`.
        """
        return find_region(self.choose(request))

    @partial(checked, about=_about("personalize"))
    def personalize(
        self,
        subjects: Identity | Sequence[Identity | Subject],
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scene: Picture = "",
        scales: Scales = USUAL,
        mask: MaskSource | Region | str = MaskSource.NONE,
        detail_mask: MaskSource | Region | str | None = None,
        box: Box | None = None,
        view: View | None = None,
        layers: LayerScales | str = "",
        size: tuple[int, int] | None = None,
        **steering: Unpack[DrawingSteering],
    ) -> GenerationResult:
        """Draw the subjects into the scene of `prompt`; picture i takes the seed `seed + i`.

        One identity may come with its `box`, left, top, right and bottom in [0, 1], its `view`,
        yaw and pitch in degrees, and its `layers`. Masks are pictures or (1, 1, H, W) in [0, 1].
        `size` is width and height in pixels; by default that of a photographed place, else the
        preset's. Of `best_of` seeds, the best `num_images` are kept; the result has their `scores`.

        Raises:
            ConfigError: The guidance is for another number of steps.
            InputError: The prompt is empty or a number is out of range.
        """
        where = {"scene": scene, "mask": mask, "detail_mask": detail_mask}
        words = {"prompt": prompt, "adds_named_subjects": False}
        sizes = {"size_px": _height_and_width(size), "scales": scales}
        options = {**words, **where, **sizes, **steering}
        subjects = as_subjects(subjects, box=box, view=view, layers=layers)
        seeds = seeds_from(seed, num_images)
        return self.draw(drawing_of(TASKS["personalize"], options, subjects=subjects, seeds=seeds))

    @partial(checked, about=_about("personalize"))
    def generate(
        self,
        prompt: str,
        *,
        subjects: Identity | Sequence[Identity | Subject] = (),
        **arguments: Any,  # noqa: ANN401 - of personalize
    ) -> GenerationResult:
        """Draw the scene of `prompt` with the subjects that it names, given or from the library.

        "a kitten on a beach" shows the library's cat, which `named` of the result records.
        `subjects` are those of `with_named`; `arguments` and errors are those of `personalize`.

        Raises:
            UnknownSubjectError: The prompt names no subject of the library and none is given; the
                message offers similar names.
        """
        return self.personalize(subjects, prompt, **arguments, adds_named_subjects=True)

    @partial(checked, about=_about("animate"))
    def animate(
        self,
        subjects: Identity | Sequence[Identity | Subject],
        prompt: str,
        *,
        to: str | Sequence[str] = (),
        to_box: Box | None = None,
        to_view: View | None = None,
        num_frames: int = USUAL_FRAMES,
        seed: int | None = None,
        scene: Picture = "",
        scales: Scales = USUAL,
        mask: MaskSource | Region | str = MaskSource.NONE,
        detail_mask: MaskSource | Region | str | None = None,
        box: Box | None = None,
        view: View | None = None,
        layers: LayerScales | str = "",
        size: tuple[int, int] | None = None,
        **steering: Unpack[DrawingSteering],
    ) -> GenerationResult:
        """Draw the frames of an animation, of one seed and of one place.

        With `mini`, what does not change from the first frame to the last is equal in all of them,
        bit by bit. Motion modules move what the prompt says, and need no end.

        `to` is one prompt, or several on the way; `to_box` and `to_view` are those of the first
        subject in the last frame. The frames are the `images`, which `save` writes as a film.

        Raises:
            CapabilityError: The preset draws no animations, or not such a place or view.
            InputError: With `mini`, the prompts differ in more than time, weather and season, or
                nothing changes. A number is out of range, or a box moves with a mask that stays.
        """
        where = {"scene": scene, "mask": mask, "detail_mask": detail_mask}
        sizes = {"size_px": _height_and_width(size), "num_frames": num_frames, "scales": scales}
        ends = {
            "to": (to,) if isinstance(to, str) else tuple(to),
            "to_boxes": () if to_box is None else (to_box,),
            "to_views": () if to_view is None else (to_view,),
        }
        options = {"prompt": prompt, **ends, **where, **sizes, **steering}
        subjects = as_subjects(subjects, box=box, view=view, layers=layers)
        seeds = seeds_from(seed, 1)
        return self.draw(drawing_of(TASKS["animate"], options, subjects=subjects, seeds=seeds))

    @partial(checked, about=_about("edit"), gone=GONE)
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

        If `identity` is a face, and neither `mask` nor `keyword` is given, a session
        `with_face_encoder` changes the face of the picture. A prompt that brings another subject
        is for `replace` where the model has a small vocabulary, and is refused here.

        Without a mask, a hole is what changes, or the prompts find the region. `identity`, a
        subject or its name in the library, replaces the picture as image condition. The mask is a
        picture, a box, or (1, 1, H, W) in [0, 1] over the picture.

        Raises:
            CapabilityError: The preset has no inversion network, no image encoder or no such mode.
            InputError: The prompt is empty, or picture, mask or seed cannot be used.
        """
        words = {"prompt": prompt, "source_prompt": source_prompt, "keyword": keyword}
        options = {**words, "mask": mask, "settings": settings, **steering}
        return self._change("edit", image, options, identity=identity, seed=seed)

    @partial(checked, about=_about("insert"), gone=GONE_OF_INSERTIONS)
    def insert(
        self,
        photo: Picture,
        identity: Identity | str,
        *,
        prompt: str = "",
        box: Box | None = None,
        view: View | None = None,
        seed: int | None = None,
        scales: Scales = USUAL,
        **steering: Unpack[Steering],
    ) -> EditResult:
        """Put a subject into a photograph, in its light, at its own size.

        The photograph has any shape and size; its transparency stays, but for what is drawn.
        Without a box, the subject stands on the ground that a network finds, at the usual height of
        its name or of what the prompt calls it, else at an estimated one.

        Raises:
            CapabilityError: No identity adapter is loaded, or the preset cannot turn subjects.
            InputError: The picture, the box or a number cannot be used.
        """
        place = {"box": box, "view": view, "adds_named_subjects": False}
        options = {"prompt": prompt, **place, **scales.given, **steering}
        return self._change("insert", photo, options, identity=identity, seed=seed)

    @partial(checked, about=_about("remove"), gone=GONE)
    def remove(
        self,
        photo: Picture,
        *,
        mask: Picture | Tensor | Box | Search | None = None,
        points: Sequence[Point] = (),
        seed: int | None = None,
    ) -> EditResult:
        """Remove something from a photograph, by default what its hole held.

        The mask is a picture, a box, (1, 1, H, W) in [0, 1] over the photograph, or a search.
        Points are on the thing, as fractions of width and height: its outline and the shadow at its
        foot are found, inside of a given box.

        Raises:
            InputError: Neither a mask nor points are given, or one cannot be used.
            NoSubject: Nothing stands out at the points.
        """
        return self._change("remove", photo, {"mask": mask, "points": points}, seed=seed)

    @partial(checked, about=_about("replace"), gone=GONE)
    def replace(
        self,
        photo: Picture,
        identity: Identity | str,
        *,
        prompt: str = "",
        mask: Picture | Tensor | Box | Search | None = None,
        points: Sequence[Point] = (),
        keep_pose: bool | None = None,
        view: View | None = None,
        seed: int | None = None,
        scales: Scales = USUAL,
        **steering: Unpack[Steering],
    ) -> EditResult:
        """Remove something and put a subject in its place; see `insert` and `remove`.

        With `keep_pose` it takes the pose of what it replaces, as a garment on a body; without a
        mask it then replaces what the prompt names.
        """
        place = {"mask": mask, "points": points, "keep_pose": keep_pose, "view": view}
        words = {"prompt": prompt, "adds_named_subjects": False}
        options = {**words, **place, **scales.given, **steering}
        return self._change("replace", photo, options, identity=identity, seed=seed)

    def _change(
        self,
        task: str,
        image: Picture,
        options: Mapping[str, Any],
        *,
        identity: Identity | str | None = None,
        seed: int | None,
    ) -> EditResult:
        source = self.library.find(identity) if isinstance(identity, str) else identity
        picture, (drawn,) = load_image(image), seeds_from(seed, 1)
        change = change_of(TASKS[task], options, image=picture, source=source, seed=drawn)
        return self.draw(change)


def draw_isolated(
    session: Session,
    items: Sequence[Given],
    request_of: Callable[[Given], Request],
    *,
    failures: tuple[type[Exception], ...],
    on_stage: OnStage | None = None,
) -> list[Outcome]:
    """Draw the requests of all `items` together, or one by one where that fails.

    Returns what was drawn of each, and its result. An error of the types `failures` replaces both;
    other errors are raised.
    """
    outcomes: dict[int, Outcome] = {}
    choices: dict[int, Choice[Any]] = {}
    clock = Clock(on_stage)
    for number, item in enumerate(items):
        try:
            choices[number] = session.choose(request_of(item), clock=clock)
        except failures as error:
            outcomes[number] = error
        clock.check("encode")
    outcomes.update(
        zip(choices, _drawn_isolated(session, [*choices.values()], failures), strict=True)
    )
    clock.on_stage = None  # it may hold what waits for these outcomes, which hold the clock
    return [outcomes[number] for number in range(len(items))]


def _drawn_isolated(
    session: Session, choices: Sequence[Choice[Any]], failures: tuple[type[Exception], ...]
) -> list[Outcome]:
    try:
        return [*zip(choices, session.draw_chosen(choices), strict=True)]
    except failures as error:
        if len(choices) == 1:
            return [error]
    return [_drawn_isolated(session, [choice], failures)[0] for choice in choices]


def _height_and_width(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a size as requests have it, as tensors do."""
    if size is None:
        return None
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        raise InputError(f"`size={size!r}` is no width and height. Give both: `size=(512, 512)`.")
    return size[1], size[0]


def _key_of(
    components: Components,
    kind: str,
    pictures: Sequence[Image.Image],
    tensors: Sequence[Tensor | None],
    notes: Sequence[str] = (),
) -> Key:
    """Return what an identity depends on: the networks, their frame, and all pixels."""
    preset = components.preset
    parts: list[str | bytes] = [preset.name, str(preset.image_size_px), *notes]
    for picture in pictures:
        parts += [f"{picture.mode} {picture.size}", _digest(picture)]
    contents = ("" if tensor is None else tensor for tensor in tensors)
    return content_key(kind, components.fingerprint, *parts, *contents)


def _digest(picture: Image.Image) -> bytes:
    """Return the sha256 of all pixels, read in bands so that no second copy exists."""
    digest, rows = sha256(), max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        digest.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return digest.digest()


def _searches(cutout: str | Search | Sequence[str | Search], count: int) -> list[Search]:
    cutouts = [cutout] * count if isinstance(cutout, str | Search) else list(cutout)
    if len(cutouts) != count:
        raise InputError(
            f"{count} pictures cannot be combined with {len(cutouts)} cut-outs. Pass one for all "
            'pictures, or one for each, as in `cutout=["auto", "none"]`.'
        )
    return [search_of(search) for search in cutouts]


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - pictures, or what is refused as one
    is_list = isinstance(value, Sequence) and not is_picture(value)
    return list(value) if is_list else [value]
