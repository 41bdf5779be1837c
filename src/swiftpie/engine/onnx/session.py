"""A session of mini that draws without PyTorch, and loads PyTorch for calls that need it."""

from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from swiftpie.engine.onnx.draw import OnnxIdentity, OnnxModel, OnnxResult
from swiftpie.engine.onnx.scene import needs_torch
from swiftpie.pipelines.drawing.settings import Scales
from swiftpie.pipelines.naming import log_library_subjects, new_subjects
from swiftpie.scenes import read_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from swiftpie.engine.encoding import Picture
    from swiftpie.engine.session import Session
    from swiftpie.types import GenerationResult, Identity
    from swiftpie.validation import Box

PLAIN_CUTOUTS = ("auto", "none")


def is_plain(scales: Scales | None) -> bool:
    """Whether no strength is about the background, which graphs do not draw apart."""
    plain = Scales()
    outside = ("background_scale", "text_background_scale", "energy_cap")
    return scales is None or all(getattr(scales, name) == getattr(plain, name) for name in outside)


class OnnxSession:
    """Draws one subject of one picture without PyTorch, and has all methods of a `Session`.

    Other calls load a `Session` once and pass on to it, with identities converted. Threads may
    share a session.
    """

    def __init__(self, model: OnnxModel, load_full: "Callable[[], Session]") -> None:
        """Wrap a model; `load_full` loads the session for all other calls."""
        self._model = model
        self._load_full = load_full
        model.open_soon()

    @cached_property
    def full(self) -> "Session":
        """The session with PyTorch."""
        return self._load_full()

    def encode_identity(
        self,
        images: "Picture | Sequence[Picture]",
        *,
        masks: "Picture | Sequence[Picture | None] | None" = None,
        cutout: Any = "auto",  # noqa: ANN401 - as of `Session`
    ) -> "OnnxIdentity | Identity":
        """Return the identity of one subject; see `Session.encode_identity`."""
        given: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        if len(given) == 1 and masks is None and cutout in PLAIN_CUTOUTS:
            found = self._model.encode_identity(given[0], whole=cutout == "none")
            if found is not None:
                return found
        return self.full.encode_identity(images, masks=masks, cutout=cutout)

    def personalize(
        self,
        subjects: "OnnxIdentity | Identity | Sequence[Any]",
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        box: "Box | None" = None,
        scene: "Picture" = "",
        **others: Any,  # noqa: ANN401 - as of `Session`
    ) -> "OnnxResult | GenerationResult":
        """Draw the subjects into the scene of `prompt`; see `Session.personalize`.

        Raises:
            InputError: The prompt is empty or a number is out of range.
        """
        place = read_scene(scene)
        settings: dict[str, Any] = {
            "seed": seed,
            "num_images": num_images,
            "scales": scales,
            "scene": place,
        }
        is_drawable = is_plain(scales) and not needs_torch(place, prompt)
        if isinstance(subjects, OnnxIdentity) and not others and is_drawable:
            return self._model.personalize(subjects, prompt, box=box, **settings)
        known = cast("Any", self._known(subjects))
        return self.full.personalize(known, prompt, box=box, **settings, **others)

    def named(self, word: str) -> "OnnxIdentity | Identity":
        """Return the library's subject of this name; see `Session.named`."""
        return self._model.named(word)

    def generate(
        self,
        prompt: str,
        *,
        subjects: Any = (),  # noqa: ANN401 - as of `Session`
        **settings: Any,  # noqa: ANN401
    ) -> "OnnxResult | GenerationResult":
        """Draw the scene of `prompt` and the subjects that it names; see `Session.generate`.

        Raises:
            InputError: As of `personalize`.
            NobodyNamed: No subject is named or given.
        """
        others = () if subjects else new_subjects(prompt, self._model.vocabulary).known
        if len(others) != 1:
            given = cast("Any", self._known(subjects))
            return self.full.generate(prompt, subjects=given, **settings)
        log_library_subjects(others)
        return self.personalize(self._model.named(others[0].word), prompt, **settings)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - attributes of `Session`
        """Return an attribute of the full session; its methods take identities of this one, too."""
        found = getattr(self.full, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: found(
            *map(self._known, args), **{key: self._known(value) for key, value in kwargs.items()}
        )

    def _known(self, value: object) -> object:
        """Return `value` with each identity of this session in tensors of PyTorch."""
        if isinstance(value, OnnxIdentity):
            return _as_identity(value, self.full)
        if isinstance(value, list | tuple) and type(value) in {list, tuple}:
            return type(value)(self._known(entry) for entry in value)
        if is_dataclass(value) and not isinstance(value, type):
            given = {
                field.name: getattr(value, field.name) for field in fields(value) if field.init
            }
            changed = {name: self._known(entry) for name, entry in given.items()}
            if any(changed[name] is not given[name] for name in given if given[name] != ()):
                return replace(value, **changed)
        return value


def _as_identity(identity: OnnxIdentity, session: "Session") -> "Identity":
    """Return the same subject in tensors."""
    import torch

    from swiftpie.types import Identity

    tensors = {name: torch.from_numpy(feature) for name, feature in identity.features.items()}

    def below(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    components = session.components
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        keys=below("keys/"),
        values=below("values/"),
        cutouts=identity.cutouts,
        named=identity.named,
        is_face=False,
        tuned="",
        **{name: tensors[name] for name in ("tokens", "pooled", "pixels", "mask")},
    )
