"""Where networks and face encoders are: folders of the user, or repositories."""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from swiftpie.arguments import checked
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.downloads import DownloadList, ModelPart
from swiftpie.backbones.hub import (
    COMMIT,
    CONFIG,
    PICKLES,
    PINS,
    VOCABULARIES,
    Host,
    RemoteFile,
    RepoListing,
    RepoReference,
    existing,
    explain,
    is_unreachable,
    list_files,
    parse_reference,
    published_listing,
    root_of,
    transport_error,
    weight_names,
)
from swiftpie.backbones.licences import check_commercial, files_of, licence_of
from swiftpie.backbones.presets import PLACES, PRESETS, Preset, Recipe, WeightsKind
from swiftpie.config import home_folder
from swiftpie.errors import WeightsError, short_reason
from swiftpie.faces import FACE_ENCODERS, FaceEncoder, FaceSettings
from swiftpie.imageio.atomic import atomic_file, make_folder

if TYPE_CHECKING:
    from swiftpie.models.vision import Projector

BIG_G = 1280  # width of the vector of CLIP ViT-bigG; ViT-H, the usual one, gives 1024
ADAPTERS = "h94/IP-Adapter"  # its repository also holds the image encoders of IP-Adapters
# What the part with a preset's own weights is called.
FOLDERS = ("pipeline", "autoencoder", "inversion", "reference", "image_encoder")
NAMES = {WeightsKind.UNET: "denoiser", WeightsKind.LORA: "lora", WeightsKind.MOTION: "motion"}
INDEX = "model_index.json"  # other programs know a pipeline by this file
SCHEDULER = "scheduler/scheduler_config.json"  # which `verify` compares with the preset's


class WeightFormats(NamedTuple):
    """Which of several files with the same weights may be read, and which is preferred."""

    prefers_half: bool
    allow_pickle: bool


PLAIN = WeightFormats(prefers_half=False, allow_pickle=False)


@dataclass(frozen=True)
class FileSelection:
    """The files that are needed from a folder, by subfolder; "" is the folder itself."""

    networks: tuple[str, ...] = ()  # their settings and weights
    configs: tuple[str, ...] = ()  # their settings alone
    tokenizers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def select(self, names: Collection[str], formats: WeightFormats) -> list[str]:
        """Return the selected files among `names`, the large ones last."""
        small = [name for name in (INDEX, SCHEDULER) if name in names and self.tokenizers]
        settings = (_below(folder, CONFIG) for folder in (*self.configs, *self.networks))
        small += [_first([(setting,)], names)[0] for setting in settings]
        for folder in self.tokenizers:
            _first([tuple(_below(folder, name) for name in kind) for kind in VOCABULARIES], names)
            small += sorted(
                name
                for name in names
                if name.rpartition("/")[0] == folder and name.endswith((".json", ".txt", ".jinja"))
            )
        large = [name for folder in self.networks for name in _weights(folder, names, formats)]
        return [*small, *large, *(_first([(file,)], names)[0] for file in self.files)]


def plan_networks(
    preset: Preset,
    resolver: "WeightsResolver",
    *,
    texts: Mapping[str, str],
    denoiser: str = "unet",
    autoencoder: str = "vae",
) -> list[ModelPart]:
    """Plan the parts of `preset`: `pipeline`, `denoiser` or `lora`, and others.

    `texts` maps folders of text encoders in a pipeline of the family to those of their tokenizers.
    Nothing large is downloaded.

    Raises:
        WeightsError: A part does not exist, or its host refuses it.
    """
    choices = resolver.choices
    weights, own_autoencoder = choices.get("weights"), choices.get("autoencoder")
    if weights is None:
        weights = _published(preset)
    others = (*texts, *(() if own_autoencoder else (autoencoder,)))
    whole = FileSelection(networks=(denoiser, *others), tokenizers=tuple(texts.values()))
    if preset.kind is WeightsKind.PIPELINE:
        parts = [resolver.find("pipeline", "weights", weights, whole)]
    else:
        name = NAMES[preset.kind]
        own = resolver.find(name, "weights", weights, FileSelection(("",)))
        lent = whole
        if name == "denoiser":
            settings = (denoiser,) if own.is_file else ()
            lent = replace(whole, networks=others, configs=settings)
        base = choices.get("base") or preset.base
        assert base is not None, "a preset that is part of a pipeline names that pipeline"
        parts = [resolver.find("pipeline", "base", base, lent), own]
        if preset.lora is not None:
            lora = _beside(weights, preset.lora)
            parts.append(resolver.find("lora", "weights", lora, FileSelection()))
    for name in ("autoencoder", "inversion", "reference"):
        chosen = choices.get(name)
        if chosen is not None:
            parts.append(resolver.find(name, name, str(chosen), FileSelection(("",))))
    return parts


def plan_adapter(resolver: "WeightsResolver") -> ModelPart | None:
    """Plan the chosen adapter, if there is one; nothing is downloaded."""
    chosen = resolver.choices.get("adapter")
    if chosen is None:
        return None
    reference = parse_reference(chosen)
    if reference is not None and not reference.is_file:
        raise WeightsError(
            f"The adapter '{reference}' is not a file. Add the path of a file behind a colon, as "
            f"in `adapter={ADAPTERS}:sdxl_models/ip-adapter_sdxl_vit-h.safetensors`."
        )
    return resolver.find("adapter", "adapter", chosen, FileSelection())


def plan_image_encoder(projector: "Projector | None", resolver: "WeightsResolver") -> ModelPart:
    """Plan the image encoder that an adapter reads, by default the public one.

    There is no `projector` before the adapter is downloaded; the default is then that of ViT-H.

    Raises:
        WeightsError: It does not exist, or its host refuses it.
    """
    reads = projector and (projector.feature, projector.feature_width)
    is_big = reads == ("embeds", BIG_G)
    folder = "sdxl_models/image_encoder" if is_big else "models/image_encoder"
    chosen = resolver.choices.get("image_encoder") or f"{ADAPTERS}:{folder}"
    return resolver.find("image_encoder", "image_encoder", chosen, FileSelection(("",)))


@checked
def is_downloaded(recipe: Recipe) -> bool:
    """Whether all of `recipe` is on this machine: weights, settings and tokenizers."""
    try:
        return all(part.names for part in plan_published(recipe, from_package=False).parts)
    except WeightsError:
        return False


def plan_published(recipe: Recipe, *, from_package: bool = True) -> DownloadList:
    """Plan all files of a recipe without the network and without loading a tensor library.

    What is not on this machine is planned as it stands in the package: with names, and sizes and
    sums where a public source states them.

    Raises:
        WeightsError: A part is not here, and what is published of it does not count.
    """
    preset = PRESETS.get(recipe.preset)
    choices = cast("Choices", {**recipe.choices(), "offline": True})
    resolver = WeightsResolver(choices, WeightFormats(True, True), from_package)
    encoders = (name for name in preset.networks if name.startswith("text_encoder"))
    texts = {name: name.replace("text_encoder", "tokenizer") for name in encoders}
    parts = plan_networks(preset, resolver, texts=texts, denoiser=preset.networks[0])
    if (adapter := plan_adapter(resolver)) is not None:
        parts += [adapter, plan_image_encoder(None, resolver)]
    return DownloadList(tuple(parts))


def check_within_reach(preset: Preset, choices: Choices) -> None:
    """Refuse networks that are neither on this machine nor within reach; the error names them all.

    This check loads no tensor library. The family's own plan loads one before it looks.

    Raises:
        WeightsError: The hub cannot be reached, or must not be asked.
        ConfigError: A licence is stricter than `commercial_only` wants.
    """
    check_commercial(preset, choices)
    if preset.repository is None and choices.get("weights") is None:
        return  # comes with the package, or users have to bring it
    own = {"weights": preset.repository and _published(preset), "base": preset.base}
    given = {name: choice for name, choice in choices.items() if choice is not None}
    places = {name: place for name in PLACES if (place := {**own, **given}.get(name))}
    if preset.kind is WeightsKind.PIPELINE:
        places.pop("base", None)
    parts = {name: parse_reference(str(place)) for name, place in places.items()}
    missing = {
        name: part
        for name, part in parts.items()
        if part and part.host is Host.HUB and not ((root := root_of(part)) and root.exists())
    }
    if not missing:
        return
    reason = "not on this machine, and the session is offline"
    if not choices.get("offline", False):
        try:
            list_files(next(iter(missing.values())))
            return
        except (OSError, transport_error()) as error:
            if not is_unreachable(error):
                return  # the plan says what is wrong with this one
            reason = short_reason(error).rstrip(".")
    named = ", ".join(f"'{replace(part, revision=None)}'" for part in missing.values())
    options = " or ".join(f"`{name}=`" for name in missing)
    raise WeightsError(
        f"{named} cannot be downloaded: {reason}. Check the network or its proxy, copy the cache "
        f"of a machine that has them, or pass a path of yours as {options}."
    )


def _beside(weights: str | Path, file: str) -> str | Path:
    reference = parse_reference(weights)
    if reference is not None:
        return str(replace(reference, path=_below(reference.path or "", file)))
    folder = Path(weights)
    return (folder.parent if folder.is_file() else folder) / file


@dataclass(frozen=True)
class WeightsResolver:
    """Finds the parts that a user's choices name."""

    choices: Choices
    formats: WeightFormats = PLAIN
    from_package: bool = False  # whether the package says what is not here, without the network

    def find(self, name: str, option: str, chosen: str | Path, wanted: FileSelection) -> ModelPart:
        """Plan the part `name`.

        Args:
            name: Role of the part.
            option: The choice that names it.
            chosen: A path or a reference.
            wanted: Files that are needed below it, unless it is a file.

        Raises:
            WeightsError: It does not exist, or its host refuses it.
        """
        reference = parse_reference(chosen)
        place = reference or existing(chosen, option)
        if name in FOLDERS and (place.is_file() if isinstance(place, Path) else place.is_file):
            raise WeightsError(
                f"'{chosen}' is one file, and `{option}=` takes a folder in the layout of "
                "diffusers. Convert it: from_single_file(FILE) of the class of diffusers for it, "
                "such as StableDiffusionPipeline, then save_pretrained(FOLDER)."
            )
        if reference is None:
            return self._own(name, option, existing(chosen, option), wanted)
        try:
            return self._find(name, option, reference, wanted)
        except (LookupError, OSError, transport_error()) as error:
            raise WeightsError(explain(reference, option, error)) from error

    def _own(self, name: str, option: str, path: Path, wanted: FileSelection) -> ModelPart:
        """Return a part in a folder of the user; the loader reports missing files."""
        part = ModelPart(name, option, None, root=path, path=path, licence="the one of your file")
        if path.is_file():
            return replace(part, root=path.parent, names=(path.name,))
        with suppress(LookupError):
            return replace(part, names=tuple(wanted.select(_names_below(path), self.formats)))
        return part

    def _find(
        self, name: str, option: str, reference: RepoReference, wanted: FileSelection
    ) -> ModelPart:
        from huggingface_hub.errors import OfflineModeIsEnabled

        wanted, on_hub = _inside(reference, wanted), reference.host is Host.HUB
        is_pinned = COMMIT.fullmatch(reference.revision or "") is not None
        listing = self._list(reference) if on_hub and not is_pinned else None
        root = root_of(reference, listing)
        names: list[str] | None = None
        if root is not None:
            with suppress(LookupError):
                names = wanted.select(_names_below(root), self.formats)
        files: tuple[RemoteFile, ...] = ()
        if names is None and self.from_package:
            listing = published_listing(reference)
            root = root or root_of(reference, listing) or home_folder() / "not here"
            names = self._needed(reference, listing, wanted) if on_hub else [*listing.files]
            files = tuple(listing.files[path] for path in names)
        elif on_hub and names is None:
            if listing is None and not self._may_ask:
                raise OfflineModeIsEnabled
            listing = listing or list_files(reference)
            root = root or root_of(reference, listing)
            names = self._needed(reference, listing, wanted)
            files = tuple(listing.files[path] for path in names)
        assert root is not None, "what is listed has a place, and a release"
        path = root / (reference.path or "")
        if not on_hub and not (path.exists() or self.from_package):
            raise WeightsError(_unfetched(reference, root, option))
        return ModelPart(
            name,
            option,
            reference,
            root=root,
            path=path,
            names=tuple(names or ()),  # of a release, the loader reports what is missing
            listing=listing,
            files=files,
            licence=licence_of(reference, None if listing is None else listing.licence),
        )

    @property
    def _may_ask(self) -> bool:
        return not self.choices.get("offline", False)

    def _list(self, reference: RepoReference) -> RepoListing | None:
        """Return the current listing; None where the hub is unreachable and a copy may serve."""
        if not self._may_ask:
            return None
        try:
            return list_files(reference)
        except (OSError, transport_error()) as error:
            if not is_unreachable(error) or root_of(reference, None) is None:
                raise
            return None

    def _needed(
        self, reference: RepoReference, listing: RepoListing, wanted: FileSelection
    ) -> list[str]:
        for path in wanted.files:
            listing.find(path)  # its error lists similar names
        try:
            return wanted.select(listing.files, self.formats)
        except LookupError as error:
            pickles = any(file.endswith(PICKLES) for file in listing.files)
            advice = ", or allow pickles" if pickles and not self.formats.allow_pickle else ""
            raise WeightsError(
                f"The repository {reference.repository!r} holds no {error.args[0]}. Choose a "
                "repository in the layout of diffusers with safetensors, for the preset's family"
                f"{advice}."
            ) from error


def _unfetched(reference: RepoReference, root: Path, option: str) -> str:
    page = f"https://github.com/{reference.repository}/releases/tag/{reference.revision}"
    return (
        f"There is no '{root / (reference.path or '')}'. It comes in an archive of {page}. Run "
        "`swiftpie fetch` with the name of the recipe, as in `swiftpie fetch swiftedit`, or pass "
        f"the path of yours as `{option}=`. By hand, unpack it by `mkdir -p {root} && "
        f"cat *.tar.gz* | tar -xz -C {root}`."
    )


def is_settings(file: RemoteFile) -> bool:
    return file.path.rpartition("/")[2] == CONFIG


def _names_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def _inside(reference: RepoReference, wanted: FileSelection) -> FileSelection:
    """Return `wanted` with names that start at the root of the repository."""
    if reference.is_file:
        return FileSelection(files=(reference.path or "",))
    return FileSelection(
        *(
            tuple(_below(reference.path or "", name).rstrip("/") for name in names)
            for names in (wanted.networks, wanted.configs, wanted.tokenizers, wanted.files)
        )
    )


def _weights(folder: str, names: Collection[str], formats: WeightFormats) -> list[str]:
    below = {name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == folder}
    if found := weight_names(below, **formats._asdict()):
        return [_below(folder, name) for name in found]
    raise LookupError(f"weights in '{folder or '.'}' that may be read")


def _first(kinds: Iterable[tuple[str, ...]], names: Collection[str]) -> tuple[str, ...]:
    """Return the first of several sets of files that is there as a whole."""
    tried = list(kinds)
    for kind in tried:
        if all(name in names for name in kind):
            return kind
    raise LookupError(f"'{tried[-1][0]}'")


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _published(preset: Preset) -> str:
    if preset.repository is None:
        raise WeightsError(
            f"The weights of preset {preset.name!r} are not on the hub: {preset.summary} Get "
            f"{preset.source.partition(':')[2]} and pass it as `weights=`."
        )
    return str(RepoReference(preset.repository, preset.file, preset.revision))


def face_folder() -> Path:
    return home_folder() / "faces"


def plan_files(names: Sequence[str], choices: Choices) -> DownloadList:
    """Plan the public files of face encoders, and of networks for photographs, by name.

    Files that users must bring are left out.
    """
    check_commercial(None, choices, files=names)
    resolver = WeightsResolver(choices)
    parts = []
    for file in dict.fromkeys(file for name in names for file in files_of(name)):
        if file.repository and not file.place.is_file():
            path = file.path or file.name
            place = RepoReference(file.repository, path, PINS.get(file.repository))
            part = resolver.find(file.name, file.option, str(place), FileSelection())
            parts.append(replace(part, licence=file.licence))
    return DownloadList(tuple(parts))


def fetch_files(names: Sequence[str], choices: Choices | None = None) -> None:
    """Download the missing files of face encoders and networks, and put all in their places."""
    needs = plan_files(names, choices or {})
    needs.fetch()
    places = {file.name: file.place for name in names for file in files_of(name)}
    for part in needs.parts:
        make_folder(places[part.name].parent)
        with atomic_file(places[part.name]) as temporary:
            shutil.copyfile(part.path, temporary)


def fetched(settings: FaceSettings) -> list[str]:
    """Return the encoders of `settings` that need a download, as no local path is given."""
    chosen = [] if settings.face_models else [settings.name]
    if settings.judge is not None and not (settings.judge_models or settings.face_models):
        chosen.append(settings.judge)
    return [name for name in chosen if FACE_ENCODERS.get(name).is_published]


def with_files(settings: FaceSettings, choices: Choices | None = None) -> FaceSettings:
    """Return `settings` with the paths of all files, after downloading the public ones."""
    names = fetched(settings)
    if not names:
        return settings
    fetch_files(names, choices)
    folder = face_folder()
    own = folder if settings.name in names else settings.face_models
    return replace(settings, face_models=own, judge_models=settings.judge_models or folder)


@checked
def open_face_encoder(settings: FaceSettings, *, offline: bool = False) -> FaceEncoder:
    """Open a face encoder, after downloading its public files if they are missing.

    Raises:
        ConfigError: There is no such encoder.
        WeightsError: A file is missing or damaged, or cannot be downloaded.
        MissingExtra: A package is not installed.
    """
    return with_files(settings, {"offline": offline}).open()
