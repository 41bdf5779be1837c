"""The session of mini that draws without PyTorch, and calls on one that has it for all else."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack, cast

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.machine import AUTO
from swiftpie.engine.onnx.draw import MINI, LightIdentity, LightModel, LightResult, packaged
from swiftpie.engine.onnx.graphs import installed_runtime
from swiftpie.pipelines.drawing.settings import Scales
from swiftpie.pipelines.naming import log_library_subjects, new_subjects

if TYPE_CHECKING:
    from swiftpie.backbones.recipe import Recipe
    from swiftpie.engine.session import Picture, Session
    from swiftpie.types import GenerationResult, Identity
    from swiftpie.validation import Box

PLAIN_CUTOUTS = ("auto", "none")


def is_light(preset: str | None, engine: str | Sequence[str], **choices: object) -> bool:
    """Whether a session of this kind can stand for what was asked to be loaded."""
    named = [engine] if isinstance(engine, str) else list(engine)
    is_plain = all(one in (None, False, AUTO) for one in choices.values())
    return named == [AUTO] and preset in {None, MINI} and is_plain and bool(installed_runtime())


def is_plain(scales: Scales | None) -> bool:
    """Whether strengths say nothing of what lies outside of a region, as there is none."""
    plain = Scales()
    outside = ("background_scale", "text_background_scale", "energy_cap")
    return scales is None or all(getattr(scales, one) == getattr(plain, one) for one in outside)


class LightSession:
    """Draws one subject of one picture without PyTorch; whatever else a `Session` can, it calls.

    PyTorch is then loaded, once, and goes on from what is known already. Threads may share a
    session.
    """

    def __init__(self, model: LightModel, load_full: "Callable[[], Session]") -> None:
        """Wrap a model; `load_full` loads the session for all else."""
        self._model = model
        self._load_full = load_full
        model.open_soon()

    @cached_property
    def full(self) -> "Session":
        """The session for all else."""
        return self._load_full()

    def encode_identity(
        self,
        images: "Picture | Sequence[Picture]",
        *,
        masks: "Picture | Sequence[Picture | None] | None" = None,
        cutout: Any = "auto",  # noqa: ANN401 - as of `Session`
    ) -> "LightIdentity | Identity":
        """Encode one subject once, for any number of pictures; see `Session.encode_identity`."""
        given: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        if len(given) == 1 and masks is None and cutout in PLAIN_CUTOUTS:
            found = self._model.encode_identity(given[0], whole=cutout == "none")
            if found is not None:
                return found
        return self.full.encode_identity(images, masks=masks, cutout=cutout)

    def personalize(
        self,
        subjects: "LightIdentity | Identity | Sequence[Any]",
        prompt: str,
        *,
        seed: int | None = None,
        num_images: int = 1,
        scales: Scales | None = None,
        box: "Box | None" = None,
        **others: Any,  # noqa: ANN401 - as of `Session`
    ) -> "LightResult | GenerationResult":
        """Draw the subjects into the scene of `prompt`; see `Session.personalize`.

        Raises:
            InputError: The prompt is empty or a number is out of range.
        """
        asked: dict[str, Any] = {"seed": seed, "num_images": num_images, "scales": scales}
        if isinstance(subjects, LightIdentity) and not others and is_plain(scales):
            return self._model.personalize(subjects, prompt, box=box, **asked)
        known = cast("Any", self._known(subjects))
        return self.full.personalize(known, prompt, box=box, **asked, **others)

    def named(self, word: str) -> "LightIdentity | Identity":
        """Return the library's subject of this name; see `Session.named`."""
        return self._model.named(word)

    def generate(
        self,
        prompt: str,
        *,
        subjects: Any = (),  # noqa: ANN401 - as of `Session`
        **settings: Any,  # noqa: ANN401
    ) -> "LightResult | GenerationResult":
        """Draw the scene of `prompt` with those whom it names; see `Session.generate`.

        Raises:
            InputError: As of `personalize`.
            NobodyNamed: Nobody is named or given.
        """
        others = () if subjects else new_subjects(prompt, self._model.vocabulary).known
        if len(others) != 1:
            given = cast("Any", self._known(subjects))
            return self.full.generate(prompt, subjects=given, **settings)
        log_library_subjects(others)
        return self.personalize(self._model.named(others[0].word), prompt, **settings)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a `Session` has
        """Return what the full session calls so, which takes identities of this one, too."""
        found = getattr(self.full, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: found(
            *map(self._known, args), **{key: self._known(one) for key, one in kwargs.items()}
        )

    def _known(self, value: object) -> object:
        """Return `value` with tensors of PyTorch in place of this session's identities."""
        if isinstance(value, LightIdentity):
            return _as_identity(value, self.full)
        if isinstance(value, list | tuple) and type(value) in {list, tuple}:
            return type(value)(self._known(one) for one in value)
        if is_dataclass(value) and not isinstance(value, type):
            told = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
            changed = {name: self._known(one) for name, one in told.items()}
            if any(changed[name] is not told[name] for name in told if told[name] != ()):
                return replace(value, **changed)
        return value


def _as_identity(light: LightIdentity, session: "Session") -> "Identity":
    """Return the same subject in tensors."""
    import torch

    from swiftpie.types import Identity

    tensors = {name: torch.from_numpy(one) for name, one in light.features.items()}

    def below(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    components = session.components
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        keys=below("keys/"),
        values=below("values/"),
        cutouts=light.cutouts,
        named=light.named,
        **{name: tensors[name] for name in ("tokens", "pooled", "pixels", "mask")},
    )


def load(
    preset: str | None = None,
    *,
    recipe: "str | Recipe | None" = None,
    device: str = AUTO,
    engine: str | Sequence[str] = (),
    cache_mib: float | None = None,
    **choices: Unpack[Choices],
) -> "Session":
    """Load a preset by name, or a recipe; without either the embedded model, mini.

    Args:
        preset: One of `swiftpie presets`.
        recipe: One of `swiftpie recipes`, or a `Recipe`, instead of a preset: it chooses one and
            what goes with it. "auto" takes the best that is on this machine whole and fits it.
        device: A torch device, as "cpu" or "cuda"; auto is the best one of this machine, and the
            processor for networks as small as those of mini.
        engine: Transforms that make it quicker or smaller, any of `swiftpie engine`, or auto. By
            default there are none, so that the first picture waits for no export, and pictures
            are the same to the last bit whatever is installed. For mini alone, auto is a session
            that draws with onnxruntime or OpenVINO, whichever is installed, and loads PyTorch only
            for what it cannot do. Networks that are too large for their device are offloaded
            anyway, which changes no picture.
        cache_mib: Bound of what is kept for later calls, in MiB; see `Session`.
        **choices: What to load instead of, or besides, the networks chosen above: `weights`,
            `base`, `adapter`, `image_encoder`, `inversion`, `reference` are paths; `steps`,
            `dtype`, `plan`, `face_version`, `lora_scale`, `allow_pickle` and `offline` say how.
            See `swiftpie.backbones.choices`.

    Raises:
        ConfigError: No such preset, recipe or transform, preset and recipe at once, the preset
            leaves no such choice, or the bound of the cache is negative.
        CapabilityError: A transform cannot be applied to these networks.
        WeightsError: Weights are missing, damaged or do not fit.
        MissingExtra: The preset or a transform needs a package that is not installed.
    """

    def load_full() -> "Session":
        from swiftpie.engine import session

        bound = {} if cache_mib is None else {"cache_mib": cache_mib}
        return session.load(preset, recipe=recipe, device=device, engine=engine, **bound, **choices)

    others = {"recipe": recipe, "device": device, "cache_mib": cache_mib, **choices}
    if is_light(preset, engine, **others):
        return cast("Session", LightSession(packaged(), load_full))  # it can all that that can
    return load_full()
