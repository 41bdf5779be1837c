"""Settings of drawings and edits; loads no tensor library."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from swiftpie.arguments import check_limits, checked, unknown_argument
from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX
from swiftpie.backbones.presets import Preset
from swiftpie.config import OPTIONS, Option, OptionField, Surface, options_of
from swiftpie.errors import ConfigError, InputError
from swiftpie.registry import Registry

if TYPE_CHECKING:
    from swiftpie.attention.manipulate import Shaping
    from swiftpie.guidance import Guidance
    from swiftpie.types import Picture, Prompts

Options = TypeVar("Options")

BALANCE_OF_IDENTITY, BALANCE_OF_TEXT = 0.4, 0.3  # change of the scales at either end
MAX_SCALE = 4.0  # far above what keeps pictures natural; larger values only overflow
MAX_STEPS, MAX_SEED, MAX_TUNE_S = 10_000, 2**31, 86_400  # Limits of tuning.
NOT_COMFYUI = frozenset({Surface.CLI, Surface.BATCH, Surface.HTTP})
RARE = frozenset({Surface.BATCH, Surface.HTTP})


class MaskSource(StrEnum):
    """Where the region for mask-guided rescaling comes from."""

    NONE = "none"  # the whole picture
    INLINE = "inline"  # found from attention during the one call of the denoiser
    TWO_PASS = "two-pass"  # found by a first call without detail
    LAYOUT_FIRST = "layout-first"  # found by a first call in which no subject acts
    BOX = "box"


FIRST_PASS = frozenset({MaskSource.TWO_PASS, MaskSource.LAYOUT_FIRST})
FOUND = FIRST_PASS | {MaskSource.INLINE}  # by attention


class EditMode(StrEnum):
    """Whether attention is rescaled by SwiftEdit's paper or by its released code.

    The latents of a picture are their mean in the paper's mode, a draw in the released one.
    """

    PAPER = "paper"  # Eq. 9, one row
    RELEASED = "released"  # the published code, two rows; see swiftpie.attention.processors


GUIDANCES: "Registry[Callable[[int], Steering]]" = Registry(
    package="", attribute="METHOD", entry_point_group="swiftpie.guidance"
)
"""Guidance that other distributions offer: what gives it, and shaping, for so many steps."""


class IdentityGuidance(StrEnum):
    """How prompt and identity share the picture: by arXiv:2505.21144, and by `GUIDANCES`."""

    PLAIN = "plain"
    DCG = "dcg"  # a scale for each of text and identity: for styles
    AM1 = "am1"  # stronger attention to the identity: for realism
    AM2 = "am2"  # attention gathered where the identity is: for realism
    DCG_AM1 = "dcg+am1"
    DCG_AM2 = "dcg+am2"


OWN_GUIDANCE: Mapping[str, IdentityGuidance] = IdentityGuidance.__members__
if GUIDANCES.names():  # Every surface offers the members. A name of our own stays ours.
    _offered = {name.upper().replace("-", "_"): name for name in GUIDANCES.names()}
    _names = {**OWN_GUIDANCE, **_offered, **OWN_GUIDANCE}
    IdentityGuidance = StrEnum(  # type: ignore[no-redef,misc]  # names of entry points
        "IdentityGuidance", _names, module=__name__
    )


class Steering(TypedDict, total=False):
    """Options that steer a drawing; missing ones and None change nothing."""

    identity_guidance: IdentityGuidance  # chooses guidance and shaping, so it excludes them
    guidance: "Guidance | None"
    shaping: "Shaping | None"
    negative_prompt: "Prompts"
    style_reference: "Picture | None"
    style_scale: float
    best_of: int | None  # of so many seeds the best picture is kept


class DrawingSteering(Steering, total=False):
    """The same for a new picture, whose subjects may be mirrored or lean."""

    flip: bool
    tilt: float  # degrees
    adds_named_subjects: bool  # those of the library that the prompt names as well


STRENGTH = partial(Option, kind=float, least=0, most=MAX_SCALE)


@checked
@dataclass(frozen=True)
class Scales:
    """Factors of mask-guided rescaling, each branch inside and outside of the region.

    None leaves one to preset and mode. In an edit (arXiv:2412.04301, Eq. 9 and supplement) identity
    is the picture's own appearance and the region is where it changes. There
    `text_background_scale` is 1, where the equation, read literally, has 0: that would leave the
    background without text.
    """

    identity_scale: Annotated[  # semantic branch
        float | None, OPTIONS["Scales.identity_scale"]._replace(most=MAX_SCALE)
    ] = None
    detail_scale: Annotated[  # detail branch
        float | None, OPTIONS["Scales.detail_scale"]._replace(most=MAX_SCALE)
    ] = None
    background_scale: Annotated[  # both identity branches
        float | None, OPTIONS["Scales.background_scale"]._replace(most=MAX_SCALE)
    ] = None
    text_scale: Annotated[float | None, OPTIONS["Scales.text_scale"]._replace(most=MAX_SCALE)] = (
        None
    )
    text_background_scale: Annotated[
        float | None, OPTIONS["Scales.text_background_scale"]._replace(most=MAX_SCALE)
    ] = None
    balance: Annotated[float | None, OPTIONS["Scales.balance"]] = None
    energy_cap: Annotated[float | None, OPTIONS["Scales.energy_cap"]] = None

    def __repr__(self) -> str:
        return f"Scales({', '.join(f'{name}={value}' for name, value in self.given.items())})"

    @property
    def given(self) -> dict[str, float]:
        """The factors that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def over(self, usual: "ResolvedScales") -> "ResolvedScales":
        """Return `usual` with the given factors in place of its own."""
        return replace(usual, **given) if (given := self.given) else usual

    @classmethod
    def of(cls, preset: Preset) -> "ResolvedScales":
        """Return the preset's own scales."""
        defaults = preset.defaults
        return ResolvedScales(
            identity_scale=defaults["identity_scale"], detail_scale=defaults["detail_scale"]
        )

    @classmethod
    def for_edit(
        cls,
        preset: Preset | None = None,
        *,
        mode: EditMode | None = None,
        has_reference: bool = False,
    ) -> "ResolvedScales":
        """Return the scales of an edit: the paper's, the released code's, or the preset's own.

        Without a mode they are those of the preset's, or else of the paper's.
        With a reference of a new subject as appearance, the appearance acts inside the region only.
        A model with layout also sees what stays, so its scales are the usual ones.
        """
        if has_reference and not (preset is not None and preset.predicts_layout):
            return ResolvedScales(detail_scale=0.0)
        if mode is None and preset is not None:
            mode = EditMode(preset.edit_mode)
        if mode is EditMode.RELEASED:
            return ResolvedScales(identity_scale=0.2, detail_scale=0.0, background_scale=1.0)
        text_scale = 2.0 if preset is None else preset.defaults.get("edit_text_scale", 2.0)
        return ResolvedScales(
            identity_scale=0.0, detail_scale=0.0, background_scale=1.0, text_scale=text_scale
        )


@dataclass(frozen=True)
class ResolvedScales(Scales):
    """The factors that a picture is drawn with."""

    identity_scale: float = 1.0
    detail_scale: float = 1.0
    background_scale: float = 0.0
    text_scale: float = 1.0
    text_background_scale: float = 1.0
    balance: float = 0.0
    energy_cap: float | None = None

    def __post_init__(self) -> None:
        Scales(**vars(self))  # which checks them


USUAL = Scales()  # leaves all to preset and mode

METHODS: Registry[Any] = Registry(
    package="swiftpie.pipelines.methods",
    attribute="TECHNIQUE",
    entry_point_group="swiftpie.techniques",
)
"""The techniques that edit and that users choose, and all that other distributions offer."""


@cache
def methods() -> Mapping[str, Any]:
    """Return the techniques for edits that users choose, by name.

    One that another distribution offers and that cannot be imported is refused when it draws.
    """
    by_name = {}
    for entry in METHODS.names():
        with suppress(ConfigError):
            technique = METHODS.get(entry)
            by_name[technique.name] = technique
    return {name: technique for name, technique in by_name.items() if name}


@cache
def owners() -> Mapping[str, Any]:
    """Return the technique that each option belongs to."""
    having = (technique for technique in methods().values() if technique.options is not None)
    return {name: technique for technique in having for name in options_of(technique.options)}


@dataclass(frozen=True, kw_only=True, init=False)
class EditSettings:
    """Settings of an edit, independent of its picture and prompt.

    `EditSettings(chord="fast", variation=0.5)`: options of techniques stand beside its own.
    """

    method: str | None  # None: the first of the techniques that the model can
    scales: Scales  # by default what belongs to the mode
    size_px: Annotated[
        int | None,
        Option("Side in pixels of the square in which the edit is computed.", surfaces=RARE),
    ]
    own: tuple[tuple[str, Any], ...]  # options of techniques that are not the default

    @partial(checked, name="EditSettings")
    def __init__(
        self,
        *,
        method: str | None = None,
        scales: Scales = USUAL,
        size_px: int | None = None,
        own: tuple[tuple[str, object], ...] = (),
        **options: Any,  # noqa: ANN401 - of techniques
    ) -> None:
        """Check the names and values of all options.

        Raises:
            InputError: There is no such method, or an option has no such value.
            UnknownArgument: No technique has such an option.
        """
        if method is not None and method not in methods():
            raise InputError(
                f"EditSettings() got `method={method!r}`. It takes one of "
                f"{', '.join(repr(name) for name in sorted(methods()))}."
            )
        given = {**dict(own), **options}
        if unknown := given.keys() - owners().keys():
            known = (*options_of(EditSettings), "scales")
            error = unknown_argument("EditSettings", unknown.pop(), known)
            raise error
        kinds = {name: owners()[name].options for name in given}
        made = {
            kind: kind(**{name: given[name] for name in given if kinds[name] is kind})
            for kind in {*kinds.values()}
        }
        usual = {name: options_of(kinds[name])[name].default for name in given}
        found = {name: getattr(made[kinds[name]], name) for name in sorted(given)}
        kept = (pair for pair in found.items() if pair[1] != usual[pair[0]])
        method = None if method is None else str(method)
        check_limits("size_px", size_px, (MIN_SIDE_PX, MAX_SIDE_PX))
        vars(self).update(method=method, scales=scales, size_px=size_px, own=tuple(kept))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the option
        if name[:1] == "_" or name == "own" or name not in owners():
            raise AttributeError(name)
        return getattr(self.of(owners()[name].options), name)

    def of(self, options: type[Options]) -> Options:
        """Return the options of a technique."""
        return options(**{name: value for name, value in self.own if name in options_of(options)})

    @classmethod
    def more_options(cls) -> dict[str, OptionField]:
        """Return the choice of a technique, and the options of all."""
        by = [f"{name}: {technique.about}." for name, technique in methods().items()]
        about = "\n\n".join(["How to edit. By default what the model was made for.", *by])
        names = {name.upper(): name for name in methods()}
        kind: Any = StrEnum("Method", names)  # type: ignore[misc]  # names of entry points
        method_option = Option(about, kind=kind, surfaces=NOT_COMFYUI)
        fields = {"method": OptionField("method", kind | None, None, method_option)}
        fields |= {name: options_of(owner.options)[name] for name, owner in owners().items()}
        return {
            name: field._replace(option=field.option._replace(panel=field.option.panel or "Method"))
            for name, field in fields.items()
        }


def steering_of(identity_guidance: IdentityGuidance, num_steps: int) -> Steering:
    """Return guidance and reshaping of attention for so many steps."""
    # Here, because the command line names styles without loading PyTorch.
    from swiftpie.attention.manipulate import AM1, AM2, STABLE_AM2
    from swiftpie.guidance import decoupled_for_steps

    shapings = {
        IdentityGuidance.AM1: AM1,
        IdentityGuidance.AM2: AM2,
        IdentityGuidance.DCG_AM1: AM1,
        IdentityGuidance.DCG_AM2: STABLE_AM2,
    }
    if identity_guidance.name not in OWN_GUIDANCE:
        offered = GUIDANCES.get(identity_guidance.value)(num_steps)
        if not isinstance(offered, Mapping) or not {*offered} <= {"guidance", "shaping"}:
            raise ConfigError(
                f"The guidance {identity_guidance.value!r} of another package gives {offered!r}. "
                "It has to give a mapping with `guidance`, `shaping` or both. Repair its `METHOD`."
            )
        return {"guidance": offered.get("guidance"), "shaping": offered.get("shaping")}
    has_dcg = identity_guidance in {
        IdentityGuidance.DCG,
        IdentityGuidance.DCG_AM1,
        IdentityGuidance.DCG_AM2,
    }
    return {
        "guidance": decoupled_for_steps(num_steps) if has_dcg else None,
        "shaping": shapings.get(identity_guidance),
    }


@checked
@dataclass(frozen=True)
class TuneSettings:
    """How a subject is tuned; equal settings and pictures give an equal result on the CPU."""

    steps: Annotated[
        int, Option("Steps of training, a third to half a second each.", least=1, most=MAX_STEPS)
    ] = 100
    learning_rate: Annotated[float, Option("Size of a step.", least=1e-6, most=1)] = 0.01
    num_scenes: Annotated[
        int, Option("Scenes that the subject is trained in.", least=1, most=64)
    ] = 8
    seed: Annotated[int, Option("Seed of everything random.", least=0, most=MAX_SEED)] = 0
    seconds: Annotated[int | None, OPTIONS["TuneSettings.seconds"]._replace(most=MAX_TUNE_S)] = None
