"""The bundle of loaded networks, the family that they are of, and the one call that loads them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, Unpack, cast

from swiftpie.backbones.choices import Choices, device_of
from swiftpie.backbones.downloads import ALL_READ, DownloadList, Unread
from swiftpie.backbones.licences import check_commercial
from swiftpie.backbones.presets import Capability, Preset, check_personalizes
from swiftpie.errors import CapabilityError, WeightsError
from swiftpie.library import Named
from swiftpie.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from swiftpie.geometry.layout import Layout
    from swiftpie.geometry.shading import Lighting
    from swiftpie.models.denoiser import Denoiser
    from swiftpie.models.inversion import Inversion
    from swiftpie.models.text import PromptEncoder
    from swiftpie.noise import Schedule
    from swiftpie.types import Autoencoder, Identity, TextCondition

Value = TypeVar("Value")

MIN_SIDE_PX, MAX_SIDE_PX = 64, 2048
SAME_AREA = 1.25  # areas within this factor count as the size of the training pictures


class ValueCache(Protocol):
    """Returns what belongs to a subject or a place, made once where there is room to keep it."""

    def __call__(self, kind: str, of: "Identity | str", make: Callable[[], Value]) -> Value:
        """Return the value of a `kind` that depends on an identity's frames, or on a text, alone.

        Callers share the value and must not write into it.
        """


def uncached(kind: str, of: "Identity | str", make: Callable[[], Value]) -> Value:
    """Return what `make` returns: a `ValueCache` that keeps nothing."""
    del kind, of
    return make()


def run_network(network: "nn.Module", *tensors: "Tensor") -> "Tensor":
    """Return the output of a network; an engine may compute it in another way."""
    returned: Tensor = network(*tensors)
    return returned


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How networks compute; by default as PyTorch does where they are."""

    # The context in which a session draws.
    scope: Callable[[], AbstractContextManager[object]] = nullcontext
    device: "torch.device | None" = None  # Where networks come only while they run.
    # Whether the first picture of another size or batch costs extra work, such as an export.
    has_fixed_sizes: bool = False
    # Calls a further network, as a technique may have, with tensors.
    run: "Callable[..., Tensor]" = run_network


@dataclass(frozen=True, eq=False)
class Components:
    """Loaded networks with the settings that belong to them."""

    preset: Preset
    schedule: "Schedule"
    text: "PromptEncoder"
    image_encoder: "nn.Module | None"  # None where no adapter is loaded
    autoencoder: "Autoencoder"
    denoiser: "Denoiser"
    inversion: "Inversion | None"  # None where edits find their way without it
    fingerprint: str  # sha256 of all weights
    own: Any = field(default=None, kw_only=True)  # what the family alone has
    engine: Engine = field(default_factory=Engine, kw_only=True)
    keep: ValueCache = field(default=uncached, kw_only=True)
    # Stored with pictures: the recipe, a decoder that was chosen automatically.
    origin: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    commercial_only: bool = field(default=False, kw_only=True)  # as it was chosen

    @property
    def device(self) -> "torch.device":
        if self.engine.device is not None:
            return self.engine.device
        weight: Tensor = next(self.denoiser.installation.network.parameters())
        return weight.device

    @cached_property
    def family(self) -> "Family":
        return FAMILIES.get(self.preset.family)

    @cached_property
    def released(self) -> "Components":
        """The same weights with SwiftEdit's attention as released; these keep serving others."""
        from swiftpie.attention.install import install_released
        from swiftpie.models.denoiser import sharing_weights

        # The copy takes a good part of an edit's time.
        denoiser: Any = sharing_weights(cast("Any", self.denoiser))
        install_released(denoiser.installation)
        return replace(self, denoiser=denoiser)

    @cached_property
    def null_tokens(self) -> "Tensor | None":
        """Identity tokens (1, K, D) of zero image features; None where these have no meaning."""
        import torch

        from swiftpie.models.vision import HasNullTokens

        encoder = self.image_encoder
        with torch.no_grad():
            return encoder.null_tokens() if isinstance(encoder, HasNullTokens) else None

    def inverter(self) -> "Inversion":
        """Return the inversion network, or raise CapabilityError if the preset has none."""
        if self.inversion is None:
            raise CapabilityError(
                f"Preset {self.preset.name!r} has no inversion network, so it cannot "
                f"{Capability.EDIT}. Load it with `inversion=`, a folder with SwiftEdit's network."
            )
        return self.inversion

    @property
    def knows_subjects(self) -> bool:
        """Whether an image encoder reads reference pictures, or the denoiser without its tokens."""
        branches = self.denoiser.installation
        reads_alone = bool(branches.detail) and not branches.plan.semantic
        return self.image_encoder is not None or reads_alone

    def check_knows_subjects(self) -> None:
        """Raise CapabilityError unless an adapter is loaded, or the denoiser reads references."""
        if Capability.PERSONALIZE not in self.preset.capabilities or not self.knows_subjects:
            check_personalizes(self.preset)
            raise CapabilityError(
                f"Preset {self.preset.name!r} was loaded without an identity adapter, so it cannot "
                f'{Capability.PERSONALIZE}. Load it with `adapter=`, or with `detail="joint"`, '
                "which needs no training."
            )

    def sized(self, cells: tuple[int, int]) -> "Components":
        """Return the same networks with the schedule for pictures of so many latent cells."""
        schedule = self.family.schedule_at(self, cells)
        return self if schedule is self.schedule else replace(self, schedule=schedule)

    def encoder_of_identity(self) -> "nn.Module":
        """Return the image encoder, or raise CapabilityError without an identity adapter."""
        if self.image_encoder is None:
            raise CapabilityError(
                f"Preset {self.preset.name!r} was loaded without an identity adapter, which makes "
                "tokens of pictures. Load it with `adapter=`."
            )
        return self.image_encoder


class Placement(NamedTuple):
    """Where the subjects of a drawing go, and the light on them."""

    subjects: tuple[Any, ...]  # those of the request, with boxes that were chosen for them
    layouts: "Sequence[Layout]"  # One for each subject, a row a picture.
    lights: "tuple[Lighting | None, ...]"  # One for each subject; None: its reference's.


class Family(ABC):
    """Networks of one kind: everything in which they differ from those of other kinds.

    One object serves all presets that name the family, and holds no weights. The rest of SwiftPie
    asks it, and knows no family by name. `modules` are the parts of a diffusers pipeline by their
    names there (`unet` or `transformer`, `vae`, …), with the preset as
    `swiftpie.backbones.presets.describe` has it.
    """

    name: str
    tiny_autoencoder: str | None = None  # hub repository of a small autoencoder for its latents
    needs_pooled_text: bool = False  # whether prompts given as embeddings need their vectors too
    lora_loader: str | None = None  # class of diffusers that reads LoRAs for it, if there are any
    takes_adapters: bool = False  # whether files bring identity branches, also of faces
    is_large: bool = False  # whether accelerators, short numbers and offloading are worth while
    knows_all_times: bool = False  # whether its denoiser takes times between those of its steps
    edits_by_reference: bool = False  # whether it was made to edit a picture among its references
    edits_by_words: bool = False  # whether an edit needs no words for what its picture shows
    shows_own_pixels: bool = False  # whether pictures show subjects by the pixels of their own
    sees_what_stays: bool = False  # whether it completes a picture of which it sees the rest
    needs_even_grid: bool = False  # whether rows and columns of latents come in pairs
    shifts_times: bool = False  # whether larger pictures stay noisy for longer
    knows_shapes: bool = False  # whether it was trained on other shapes than squares of one size
    # Scores of `pipelines.ranking` by which the best of several pictures are chosen.
    ranks_by: Sequence[str] = ("identity_score", "prompt_score")
    own_modules: Collection[str] = ()  # A pipeline's modules that diffusers does not know.
    unread: Unread = ALL_READ  # weights that stay in their files: nothing computes with them
    # Yields warnings of what a request has that these networks do not draw.
    advice: "Callable[[Components, Any], Iterator[str]] | None" = None
    # Returns what becomes of each word of the prompts of what a request stands on.
    accounts: "Callable[[Any], Iterable[tuple[str, str, str]]] | None" = None
    # Returns where the subjects of a request go in pictures of noise (B, C, h, w) with as many rows
    # of text; None: in their boxes, and those without one in all of the picture.
    place: "Callable[[Components, Any, Tensor, TextCondition], Placement] | None" = None

    # For exported graphs: samples of their further inputs, of which those of one number are the
    # usual values; layout and light of the subject inside of a graph; its further outputs.
    graph_inputs: "Callable[[], dict[str, Tensor]] | None" = None
    graph_place: "Callable[..., tuple[Layout, Lighting]] | None" = None
    graph_outputs: "Callable[..., dict[str, Tensor]] | None" = None

    @abstractmethod
    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load every network of `preset`.

        Raises:
            ConfigError: The family does not leave such a choice, or so many steps.
            WeightsError: A file is missing, unreadable, damaged or does not fit the others.
            MissingExtra: A package that reads such weights is not installed.
        """

    def techniques(self) -> Sequence[Any]:
        """Return what is tried before the techniques of all families, in this order."""
        return ()

    def named_besides(
        self, prompt: str, by: Preset | Components, *, given: Sequence[str] = ()
    ) -> tuple[Named, ...]:
        """Return the subjects of the library that a prompt names besides those `given` by name.

        Only networks that were taught few words need this; `by` are they, or their preset.

        Raises:
            UnknownSubjectError: No subject is given or named, and the networks need one.
        """
        del prompt, by, given
        return ()

    def picture_size(self, components: Components, request: Any) -> tuple[int, int]:  # noqa: ANN401 - of any kind
        """Return height and width in pixels of the pictures that a request gets."""
        return request.size_px or (components.preset.image_size_px,) * 2

    def taught(self, components: Components) -> Mapping[str, Sequence[str]] | None:
        """Return the words of the captions of training, as JSON holds them; None: all words."""
        del components
        return None

    def name_of_file(self, words: str) -> str:
        """Return how prompts call the subject of a file that is called by these words."""
        return words

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadList:
        """Plan the downloads of `load`; at most small files are fetched.

        Raises:
            ConfigError: The family does not leave such a choice.
            WeightsError: A part is refused by its host, or does not fit by its header.
            MissingExtra: A package that reads such weights is not installed.
        """
        del preset, device, choices
        return DownloadList()  # comes with the package

    def diffusers_reference(self, preset: Preset) -> Callable[..., Any] | None:
        """Return what opens a preset's files by diffusers, to draw the same, if that can."""
        del preset
        return None

    def null_text(self, text: "PromptEncoder") -> "TextCondition":
        """Return what the denoiser reads in one row where guidance wants no prompt."""
        return text.encode([""])

    def schedule_at(self, components: Components, cells: tuple[int, int]) -> "Schedule":
        """Return the schedule for pictures of (rows, columns) latent cells; most know one."""
        del cells
        return components.schedule

    def reference_text(self, components: Components) -> "TextCondition | None":
        """Return what the denoiser reads with references, in one row; None: an empty prompt."""
        del components
        return None

    def check_facts(self, preset: Preset, facts: Mapping[str, tuple[object, object]]) -> None:
        """Raise WeightsError where a fact of networks is (given, needed) and those differ."""
        for what, (given, needed) in facts.items():
            if given != needed:
                raise WeightsError(
                    f"These networks do not belong to preset {preset.name!r}: {what} is {given}, "
                    f"and {needed} is needed. Pass weights of the family {self.name!r}."
                )

    def check_dtype(self, preset: Preset, dtype: "torch.dtype") -> None:  # noqa: B027 - most compute in any
        """Raise CapabilityError for a type in which the networks cannot compute."""

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return modules of a diffusers pipeline, not copied; CapabilityError if it has no such."""
        raise CapabilityError(_no_pipeline(components.preset))

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return networks from modules as they are in memory, the identity branches in them.

        `loaded` are the networks as they were before some modules were exchanged, if they were.

        Raises:
            InputError: A module was exchanged that the identity branches are part of.
            CapabilityError: diffusers has no pipeline for such networks.
        """
        del loaded
        raise CapabilityError(_no_pipeline(modules["preset"]))

    def to_folder(self, components: Components) -> dict[str, Any]:
        """Return what a pipeline's folder holds, without an adapter, or raise CapabilityError."""
        return self.to_modules(components)

    def read_own(self, folder: Path) -> dict[str, Any]:
        """Return those of `own_modules` in a pipeline's folder; WeightsError if one is damaged."""
        del folder
        return {}

    def from_folder(self, modules: Mapping[str, Any], adapter: Path | None) -> Components:
        """Return networks from modules as a folder holds them, with the branches of `adapter`.

        Raises:
            InputError: Something is installed on the modules already.
            WeightsError: The parts do not belong together.
        """
        del adapter
        return self.from_modules(modules, None)

    def sharing_weights(self, modules: Mapping[str, Any]) -> dict[str, Any]:
        """Return `modules` for `from_folder` that stay in use; InputError if changed already."""
        return dict(modules)

    def is_for_adapter(self, modules: Mapping[str, Any]) -> bool:
        """Whether modules from a folder need the adapter file of that folder."""
        del modules
        return False

    def write_adapter(self, path: Path, components: Components) -> None:  # noqa: B027 - most have none
        """Write what `to_folder` leaves out, if anything; InputError if `path` cannot be new."""


FAMILIES: Registry[Family] = Registry(
    package="swiftpie.backbones.families",
    attribute="FAMILY",
    family_attribute="FAMILIES",
    elsewhere={"tiny": "swiftpie.mini"},
    entry_point_group="swiftpie.families",
)
"""One family a file, named as the file, or several that share a file, by name in `FAMILIES`."""


def load_components(
    preset: Preset, *, device: str = "cpu", **choices: Unpack[Choices]
) -> Components:
    """Load every network of `preset` to a torch device; `choices` are those of `Choices`.

    The device may be auto, as may the dtype; unless that is chosen, networks are float32.

    Raises:
        TypeError: There is no such choice.
        ConfigError: The preset's family is unknown, or leaves no such choice, size or steps; or a
            licence is stricter than `commercial_only` wants.
        WeightsError: A file is missing, is not safetensors, is damaged or has other shapes.
    """
    if unknown := sorted(choices.keys() - Choices.__annotations__.keys()):
        raise TypeError(f"load() got an unexpected keyword argument {unknown[0]!r}")
    commercial_only = bool(choices.get("commercial_only"))
    family, known = _in_family(preset, device, choices)
    return replace(family.load(**known), commercial_only=commercial_only)


def download_plan(
    preset: Preset, *, device: str = "cpu", **choices: Unpack[Choices]
) -> DownloadList:
    """Plan the downloads of `load_components`; at most small files are fetched.

    Raises:
        ConfigError: The preset's family is unknown, or leaves no such choice, size or steps.
        WeightsError: A part is refused by its host, or does not fit by its header.
        MissingExtra: A package that reads such weights is not installed.
    """
    family, known = _in_family(preset, device, choices)
    return family.download_plan(**known)


def _in_family(preset: Preset, device: str, choices: Choices) -> tuple[Family, dict[str, Any]]:
    """Return the family of a preset, and what its methods take of a caller's choices."""
    check_commercial(preset, choices)
    choices.pop("commercial_only", None)
    preset, family = preset.sized(choices.pop("size_px", None)), FAMILIES.get(preset.family)
    device = device_of(device, is_large=family.is_large)
    return family, {"preset": preset, "device": device, "choices": choices}


def _no_pipeline(preset: Preset | Mapping[str, Any]) -> str:
    name = preset.name if isinstance(preset, Preset) else preset["name"]
    return (
        f"Preset {name!r} has networks that no pipeline of diffusers is made of. Use "
        "swiftpie.load() instead."
    )
