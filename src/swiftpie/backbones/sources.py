"""Where the networks of a published preset are: in folders of the user, or from the hub."""

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.preset import Preset, WeightsKind
from swiftpie.backbones.weights import HALF, PICKLES, STEMS, existing, weight_files
from swiftpie.errors import WeightsError, short_reason
from swiftpie.models.projection import Feature, Projector

BIG_G = 1280  # width of the vector of CLIP ViT-bigG; ViT-H, the usual one, gives 1024
SMALL = ("model_index.json", "*/*config.json", "tokenizer*/*")  # of a pipeline
ADAPTERS = "h94/IP-Adapter"  # its repository also holds the image encoders of IP-Adapters
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Sources:
    """Folders and files on this machine."""

    pipeline: Path  # every network, in the layout of diffusers
    unet: Path | None = None  # folder or file in place of the pipeline's denoiser
    lora: Path | None = None  # file to add to it


def locate(
    preset: Preset,
    choices: Choices,
    *,
    folders: Sequence[str],
    prefers_half: bool,
    check: Callable[[Path, Path], None],
) -> Sources:
    """Find all parts of `preset`, and get from the hub what nobody chose.

    `folders` are those of the networks in a pipeline of the family, the denoiser's first;
    `prefers_half` takes the half-precision variant where there are both. `check` refuses a pipeline
    and a denoiser by what their small files say, before weights are fetched.

    Raises:
        WeightsError: A part is not there and cannot be had.
    """
    hub = _hub(choices, prefers_half=prefers_half)
    weights = choices.get("weights")
    own = None if weights is None else Path(weights)
    if own is None:
        _check_obtainable(preset, hub)
    if preset.kind is WeightsKind.PIPELINE:
        pipeline = own or hub.snapshot(_repository(preset), option="weights")
        check(pipeline, pipeline / folders[0])
        if own is None:
            hub.complete(pipeline, _repository(preset), folders, option="weights")
        return Sources(pipeline)
    is_lora = preset.kind is WeightsKind.LORA
    base = str(choices.get("base") or preset.base)
    is_here = Path(base).is_dir() or not REPOSITORY.fullmatch(base)
    pipeline = existing(base, "base") if is_here else hub.snapshot(base, option="base")
    has_network = own is not None and own.is_dir() and not is_lora
    check(pipeline, own if own is not None and has_network else pipeline / folders[0])
    if own is None:
        assert preset.file is not None
        own = hub.file(_repository(preset), preset.file)
    if not is_here:
        hub.complete(pipeline, base, folders if is_lora else folders[1:], option="base")
    return Sources(pipeline, lora=own) if is_lora else Sources(pipeline, unet=own)


def locate_image_encoder(projector: Projector, choices: Choices, *, prefers_half: bool) -> Path:
    """Return the folder of the encoder that an adapter reads; the public one if none is chosen.

    Raises:
        WeightsError: It is not there and cannot be had.
    """
    chosen = choices.get("image_encoder")
    if chosen is not None:
        return existing(chosen, "image_encoder")
    is_big = (projector.feature, projector.feature_width) == (Feature.EMBEDS, BIG_G)
    folder = "sdxl_models/image_encoder" if is_big else "models/image_encoder"
    hub = _hub(choices, prefers_half=prefers_half)
    found = hub.snapshot(ADAPTERS, [f"{folder}/config.json"], option="image_encoder")
    hub.complete(found, ADAPTERS, [folder], option="image_encoder")
    return found / folder


@dataclass(frozen=True)
class _Hub:
    """How files are had from the hub of Hugging Face."""

    is_offline: bool
    prefers_half: bool
    allow_pickle: bool

    def snapshot(self, repository: str, patterns: Sequence[str] = SMALL, *, option: str) -> Path:
        """Return the folder of a repository, with its files like `patterns`.

        Raises:
            WeightsError: It cannot be had; the message names the `option` to pass instead.
        """
        try:
            folder = snapshot_download(
                repository, allow_patterns=list(patterns), local_files_only=self.is_offline
            )
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise WeightsError(_unreachable(repository, option, error)) from error
        return Path(folder)

    def complete(
        self, snapshot: Path, repository: str, folders: Sequence[str], *, option: str
    ) -> None:
        """Get the weights of `folders` into a `snapshot` of the repository.

        Raises:
            WeightsError: They cannot be had; the message names the `option` to pass instead.
        """
        lacking = self._lacking(snapshot, folders)
        for names in self._variants():
            if lacking:
                patterns = [f"{one}/{name}" for one in lacking for name in names]
                self.snapshot(repository, patterns, option=option)
                lacking = self._lacking(snapshot, folders)
        if lacking:
            raise WeightsError(
                f"The hub's repository {repository!r} gave no weights for '{lacking[0]}' that may "
                f"be read{' (offline)' if self.is_offline else ''}. Safetensors in the layout of "
                f"diffusers are needed. Download them and pass their folder as `{option}=`, or "
                "allow pickles."
            )

    def file(self, repository: str, name: str) -> Path:
        """Return one file of a repository.

        Raises:
            WeightsError: It cannot be had.
        """
        try:
            return Path(hf_hub_download(repository, name, local_files_only=self.is_offline))
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise WeightsError(_unreachable(f"{repository}/{name}", "weights", error)) from error

    def _variants(self) -> list[list[str]]:
        # Names of weights to ask for, the best first.
        halves = (f"{HALF}*.safetensors", f"safetensors.index.{HALF}.json")
        half = [f"{stem}.{end}" for stem in STEMS for end in halves]
        wholes = (".safetensors", "-0*.safetensors", ".safetensors.index.json")
        whole = [stem + end for stem in STEMS for end in wholes]
        variants = [half, whole] if self.prefers_half else [whole, half]
        return [*variants, list(PICKLES)] if self.allow_pickle else variants

    def _lacking(self, root: Path, folders: Sequence[str]) -> list[str]:
        return [folder for folder in folders if not self._has_weights(root / folder)]

    def _has_weights(self, folder: Path) -> bool:
        half, pickle = self.prefers_half, self.allow_pickle
        try:
            return bool(weight_files(folder, prefers_half=half, allow_pickle=pickle))
        except WeightsError:
            return False


def _check_obtainable(preset: Preset, hub: _Hub) -> None:
    repository = _repository(preset)
    if preset.needs_pickle and not hub.allow_pickle:
        raise WeightsError(
            f"Preset {preset.name!r} was published as a pickle only, in {repository!r}, and a "
            "pickle can run code. Pass `allow_pickle=True` to read plain tensors from it without "
            "running any code."
        )


def _repository(preset: Preset) -> str:
    if preset.repository is None:
        raise WeightsError(
            f"The weights of preset {preset.name!r} are not on the hub: {preset.summary} Get "
            f"{preset.source.partition(':')[2]} and pass it as `weights=`."
        )
    return preset.repository


def _hub(choices: Choices, *, prefers_half: bool) -> _Hub:
    return _Hub(
        is_offline=choices.get("offline", False),
        prefers_half=prefers_half,
        allow_pickle=choices.get("allow_pickle", False),
    )


def _unreachable(what: str, option: str, error: Exception) -> str:
    reason, remedy = _failure("/".join(what.split("/")[:2]), error)
    return (
        f"'{what}' could not be had from the hub: {reason}. {remedy}, or download it yourself and "
        f"pass the place as `{option}=`."
    )


def _failure(repository: str, error: Exception) -> tuple[str, str]:
    """Return why the hub gave nothing, and what to do; the more special errors come first."""
    match error:
        case GatedRepoError():
            accept = f"Accept it on https://huggingface.co/{repository}"
            return "its licence has to be accepted first", f"{accept}, run `hf auth login`"
        case RepositoryNotFoundError():
            return "there is no such repository, or a private one", "Check the name, log in if so"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            reason = "it is not on this machine, and the hub could not be asked"
            return reason, "Go online once, without `offline=True` and HF_HUB_OFFLINE"
        case EntryNotFoundError() | RevisionNotFoundError():
            return "there is no such file or version in it", "Check the name"
        case HfHubHTTPError():
            return f"it answered with status {error.response.status_code}", "Try again later"
        case OSError(errno=errno.ENOSPC):
            return "the disk is full", "Make room where HF_HOME is"
        case _:
            return short_reason(error), "Try again"
