"""What the tiny family does with its networks, which are our own and belong together."""

import importlib.resources
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swiftpie.backbones.choices import Choices, schedule_of, with_steps
from swiftpie.backbones.components import MAX_SIDE_PX, Components
from swiftpie.backbones.hub import existing
from swiftpie.backbones.load.weights import (
    fingerprint_of,
    load_network,
    read_tokenizer,
    unknown_fingerprint,
)
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.lexicon import FILLERS, HEADS, HOLDERS
from swiftpie.library import subject_library
from swiftpie.mini import word_edits
from swiftpie.mini.animation import ANIMATE
from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie.mini.insert import INSERT
from swiftpie.mini.inversion import INVERSION, TinyInversion
from swiftpie.mini.layout_predictor import LayoutPredictor
from swiftpie.mini.remove import REMOVE
from swiftpie.mini.scene import prepare_art, prepare_scene, prepare_words
from swiftpie.mini.text_encoder import TextEncoder, WordTokenizer, encode_tokens
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.text import TextTower
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.request import MAX_SUBJECTS, PersonalizeRequest
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest
from swiftpie.places.placing import ACROSS, Staged, StagedPrompt, accounts_of, stage
from swiftpie.places.reading import ENGLISH, MESSAGES, Outcome, Reading, names_people, read
from swiftpie.places.vocabulary import GENERIC, Vocabulary, spelled_alike
from swiftpie.scenes import DRAWN, MOST_ENLARGED, scene_library
from swiftpie.types import TextCondition

CHOICES = {"steps", "weights", "inversion"}
IDLE_CHOICES = {"allow_pickle", "offline"}  # nothing is downloaded or unpickled anyway
# Why words have no effect that stand together in one phrase.
INVERSION_FOLDER = "inversion"  # identities do not depend on it, so no fingerprint does

NETWORKS: Mapping[str, Callable[[Path], nn.Module]] = {
    "text_encoder": TextEncoder.built,
    "image_encoder": ConvImageEncoder.built,
    "autoencoder": PatchAutoencoder.built,
    "denoiser": TinyDenoiser.built,
    "layout_predictor": LayoutPredictor.built,
}
"""How each network is made from its folder."""

NAMES = {"autoencoder": "vae", "denoiser": "unet"}  # names in diffusers' pipelines that differ
MODULES: Mapping[str, Callable[[Path], nn.Module]] = {
    **{NAMES.get(name, name): build for name, build in NETWORKS.items()},
    "inversion_unet": TinyInversion.built,
}

TECHNIQUES = (
    Technique(
        PersonalizeRequest,
        prepare_scene,
        lambda _, staged: staged.is_scene,
        draws_by_seed=True,
        drawn_size=lambda _, staged: staged.drawn_px,
        stage=stage,
    ),
    INVERSION,
    Technique(
        EditRequest,
        word_edits.prepare_word_edit,
        follows_seed=word_edits.follows_seed,
        advice=word_edits.advice,
    ),
    INSERT,
    REMOVE,
    ANIMATE,
    Technique(
        PersonalizeRequest,
        prepare_art,
        lambda _, staged: staged.is_art,
        draws_by_seed=True,
        stage=stage,
    ),
    Technique(PersonalizeRequest, prepare_words, stage=stage),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class MiniNetworks:
    """What this family alone has."""

    layout_predictor: LayoutPredictor
    vocabulary: Vocabulary | None  # words of the training captions; None: all words


@dataclass(frozen=True)
class VocabularyTextEncoder(TextTower):
    """A tower whose tokenizer holds the words of its training captions."""

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        return Vocabulary.stored(self.tokenizer.taught)

    def readable(self, prompt: str) -> str:
        """Return a prompt in words that captions had."""
        if self.vocabulary is None:
            return prompt
        return self.vocabulary.as_taught(read(prompt).spoken)

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, ...]:
        return super().tokenize([*map(self.readable, prompts)])

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens that say each of `names`, or the generic name of what is unknown."""
        text = self.readable(prompt) if any(names) else ""
        readable = (name if name.lower() in text.lower() else GENERIC for name in names)
        return super().find_words(text, [*readable])

    def dropped(self, prompt: str) -> str:
        def is_cut(text: str) -> bool:
            return bool(TextTower.dropped(self, self.readable(text)))

        if not is_cut(prompt):
            return ""
        words = prompt.split()
        ends = range(1, len(words) + 1)
        kept = bisect_left(ends, True, key=lambda end: is_cut(" ".join(words[:end])))
        return " ".join(words[kept:])

    def read(self, ids: Tensor, mask: Tensor) -> TextCondition:
        device = self.encoder.device
        return encode_tokens(self.encoder, ids.to(device), mask.to(device))


def load(preset: Preset, *, device: str, choices: Choices) -> Components:
    names = {name for name, value in choices.items() if value not in (None, AUTO)}
    if refused := sorted(names - CHOICES - IDLE_CHOICES):
        raise ConfigError(
            f"`{refused[0]}=` cannot be combined with preset {preset.name!r}: its networks are "
            "trained together. Leave it out, or choose a preset of Stable Diffusion."
        )
    weights = choices.get("weights")
    folder = _package_folder(preset) if weights is None else _own_folder(weights)
    chosen = choices.get("inversion")
    inversion = folder / INVERSION_FOLDER if chosen is None else existing(chosen, "inversion")
    preset = with_steps(preset, choices.get("steps"))
    networks = {
        name: _ready(load_network(build, folder / name), device) for name, build in NETWORKS.items()
    }
    tokenizer = read_tokenizer(folder / "tokenizer", WordTokenizer)
    return _components(
        preset,
        VocabularyTextEncoder(tokenizer, networks.pop("text_encoder")),
        fingerprint=fingerprint_of(folder, without=INVERSION_FOLDER),
        inversion=_ready(load_network(TinyInversion.built, inversion), device)
        if inversion.is_dir()
        else None,
        **networks,
    )


def techniques() -> Sequence[Technique]:
    """Return the techniques that put subjects into scenes, and edit what words say."""
    return TECHNIQUES


def advice(components: Components, staged: Staged | EditRequest | RetouchRequest) -> Iterator[str]:
    """Yield warnings of words that the model was not taught, and of what it leaves out."""
    vocabulary, name = components.own.vocabulary, components.preset.name
    if vocabulary is None:
        return
    match staged:
        case Staged():
            yield from _advice_on_drawing(name, staged)
        case RetouchRequest(prompt=prompt):  # edits are drawn as they are read, or refused
            yield from _advice_on_insertion(name, read(prompt, vocabulary))


def check_dtype(preset: Preset, dtype: torch.dtype) -> None:
    """Raise CapabilityError for all types but float32."""
    if dtype is not torch.float32:
        raise CapabilityError(
            f"Preset {preset.name!r} was converted to {dtype}; it computes in float32 only. "
            "Call pipe.to(torch.float32), or load it again."
        )


def to_modules(components: Components) -> dict[str, Any]:
    text = components.text
    assert isinstance(text, VocabularyTextEncoder), "this family reads prompts by one tower"
    parts = {**vars(components), **vars(components.own)}
    modules = {NAMES.get(name, name): parts.get(name) for name in NETWORKS}
    modules |= {"text_encoder": text.encoder, "tokenizer": text.tokenizer}
    return modules | {"inversion_unet": components.inversion}


def read_own(folder: Path) -> dict[str, Any]:
    """Return the networks in a pipeline's folder, and their tokenizer, or raise WeightsError."""
    builds = {name: build for name, build in MODULES.items() if (folder / name).is_dir()}
    networks = {
        name: _ready(load_network(build, folder / name), "cpu") for name, build in builds.items()
    }
    return networks | {"tokenizer": read_tokenizer(folder / "tokenizer", WordTokenizer)}


def from_modules(modules: Mapping[str, Any], loaded: Components | None) -> Components:
    """Return the networks, any of them exchanged; WeightsError without a layout predictor."""
    preset = read_preset(modules["preset"])
    if modules["layout_predictor"] is None:
        raise WeightsError(
            f"`layout_predictor=None` cannot be combined with preset {preset.name!r}: it places "
            "subjects by this network. Leave it out."
        )
    return _components(
        preset,
        VocabularyTextEncoder(modules["tokenizer"], modules["text_encoder"]),
        inversion=modules["inversion_unet"],
        fingerprint=modules["fingerprint"] if loaded is None else unknown_fingerprint(),
        **{name: modules[NAMES.get(name, name)] for name in NETWORKS if name != "text_encoder"},
    )


def _components(
    preset: Preset,
    text: VocabularyTextEncoder,
    *,
    layout_predictor: LayoutPredictor,
    **parts: Any,  # noqa: ANN401 - the other fields
) -> Components:
    return Components(
        preset=preset,
        schedule=schedule_of(preset),
        text=text,
        own=MiniNetworks(layout_predictor, text.vocabulary),
        **parts,
    )


def _advice_on_insertion(name: str, reading: Reading) -> Iterator[str]:
    """Yield a warning of unknown words; the picture of what is inserted explains its name."""
    explained = FILLERS.union(HOLDERS, *(one.keys for one in reading.mentions if reading.unknown))
    means = subject_library().meant_by
    if unknown := [word for word in reading.unknown if word not in explained and not means(word)]:
        yield MESSAGES["words"]["unknown"].format(preset=name, words=quoted(dict.fromkeys(unknown)))


def _advice_on_drawing(name: str, staged: Staged) -> Iterator[str]:
    said, (high, wide) = MESSAGES["drawings"], staged.request.size_px or (0, 0)
    yield from _advice_on_words(name, staged)
    for prompt in staged.prompts if staged.is_scene else ():
        scene = prompt.px if staged.photograph is None else staged.photograph.size
        times = max(new / old for new, old in zip((wide, high), scene, strict=True))
        if times > MOST_ENLARGED and max(wide, high) <= MAX_SIDE_PX:
            most = "x".join(str(int(MOST_ENLARGED * side)) for side in scene)
            yield said["soft"].format(scene=scene, wide=wide, high=high, most=most)
        is_place = staged.photograph is None and wide > 0
        if is_place and scene_library().is_cut(prompt.shown, (wide, high)):
            yield said["cut"].format(wide=wide, high=high, place=prompt.shown)
        if staged.photograph is not None or prompt.is_photo:
            yield from _advice_on_borders(prompt.reading, staged)
        yield from _advice_on_drawings(staged, prompt)
    library = [identity.named for identity in staged.identities]
    if any(named is not None and names_people(named.name) for named in library):
        yield said["people"].format(preset=name)


def _advice_on_words(name: str, staged: Staged) -> Iterator[str]:
    """Yield warnings of the words of a drawing's prompts that preset `name` does not obey."""
    for prompt in staged.prompts:
        accounts = accounts_of(staged, prompt)
        if all(outcome is not Outcome.WARNED for _, outcome, _ in accounts):
            continue
        lost = [
            (phrase, why)
            for phrase, outcome, why in prompt.reading.phrases(accounts)
            if outcome is Outcome.WARNED
        ]
        groups = dict.fromkeys((why, phrase if why == "typo" else "") for phrase, why in lost)
        for why, slip in groups:
            phrases = [*dict.fromkeys(slip or phrase for phrase, each in lost if each == why)]
            is_place, where = why == "place", prompt.shown.removeprefix(DRAWN)
            near = scene_library().near(" ".join(phrases)) if is_place else spelled_alike(slip)
            said = {
                "preset": name,
                "where": where,
                "near": quoted(near, " or "),
                "most": MAX_SUBJECTS,
            }
            yield MESSAGES["words"][why].format(**said, words=quoted(phrases))
    yield from [ENGLISH for reading in staged.readings if reading.is_foreign][:1]


def quoted(words: Iterable[str], between: str = ", ") -> str:
    return between.join(map(repr, words))


def _advice_on_drawings(staged: Staged, prompt: StagedPrompt) -> Iterator[str]:
    """Yield warnings of subjects of the library, which are drawings, some of them without legs."""
    place, shown, said = prompt.named, prompt.shown, MESSAGES["drawings"]
    library = [identity.named for identity in staged.identities if identity.named is not None]
    heads = dict.fromkeys(named.word for named in library if named.name in HEADS)
    if not library or (place and not heads and not prompt.has_photos):
        return
    views = max(len(identity.pixels) for identity in staged.identities)
    yield said["drawn"].format(
        names=quoted(dict.fromkeys(named.word for named in library)),
        too=said["too"].format(shown=shown) if place != shown else "",
        wholes=said["wholes"].format(heads=quoted(heads)) if heads else "",
        part=said["part"].format(views=views) if views > 1 else "",
        how=said["how"].format(place=place) if place != shown else "",
    )


def _advice_on_borders(reading: Reading, staged: Staged) -> Iterator[str]:
    """Yield a warning where a border that cuts a subject wins over words for where it is."""
    sides, request = {*reading.placed} & {*ACROSS}, staged.request
    for subject, borders in zip(request.subjects, staged.borders, strict=True):
        cut = {*borders.split()} & {"left", "right"} if sides else set()
        if request.flip:
            cut = {"right" if border == "left" else "left" for border in cut}
        if cut and subject.box is None and sides != cut:
            border = " ".join(sorted(cut))
            yield MESSAGES["drawings"]["border"].format(side=min(sides), border=border)


def _own_folder(weights: str | Path) -> Path:
    folder = existing(weights, "weights")
    if lacking := [name for name in NETWORKS if not (folder / name).is_dir()]:
        raise WeightsError(
            f"'{folder}' has no folder '{lacking[0]}', so its networks are of another family. Pass "
            f"a folder that `swiftpie train` exported for the family 'tiny' as `weights=`."
        )
    return folder


def _ready(network: nn.Module, device: str) -> Any:  # noqa: ANN401 - any network
    return network.to(device).eval().requires_grad_(requires_grad=False)


def _package_folder(preset: Preset) -> Path:
    kind, _, name = preset.source.partition(":")
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / name
    if kind != "package" or not folder.is_dir():
        raise WeightsError(
            f"The weights of preset {preset.name!r} are not at {preset.source!r}. "
            "Reinstall SwiftPie, or pass a folder with `weights=`."
        )
    return folder
