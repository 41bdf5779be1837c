"""What the tiny family does with its networks, which are our own and belong together."""

import importlib.resources
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from swiftpie.lexicon import FILLERS, HEADS, HOLDERS, OF_PLACES, words_in
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
from swiftpie.places.placing import ACROSS, Staged, StagedPrompt, stage
from swiftpie.places.reading import COLOURLESS, ENGLISH, Reading, names_people, read
from swiftpie.places.vocabulary import GENERIC, Vocabulary
from swiftpie.scenes import MOST_ENLARGED, scene_library
from swiftpie.types import TextCondition

CHOICES = {"steps", "weights", "inversion"}
IDLE_CHOICES = {"allow_pickle", "offline"}  # nothing is downloaded or unpickled anyway
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
        return prompt if self.vocabulary is None else self.vocabulary.as_taught(prompt)

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
            yield from _advice_on_drawing(name, vocabulary, staged)
        case RetouchRequest(prompt=prompt):  # edits are drawn as they are read, or refused
            yield from _advice_on_insertion(name, vocabulary, read(prompt, vocabulary))


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


def _advice_on_insertion(name: str, vocabulary: Vocabulary, reading: Reading) -> Iterator[str]:
    """Yield a warning of unknown words; the picture of what is inserted explains its name."""
    if not reading.unknown:
        return
    mentioned = words_in(" ".join(mention.words for mention in reading.mentions))
    explained, means = {*FILLERS, *HOLDERS, *mentioned}, subject_library().meant_by
    unknown = [word for word in reading.unknown if word not in explained and not means(word)]
    if unknown:
        yield vocabulary.advice_on([*dict.fromkeys(unknown)], preset=name)


def _advice_on_drawing(name: str, vocabulary: Vocabulary, staged: Staged) -> Iterator[str]:
    photograph, size = staged.photograph, staged.request.size_px or (0, 0)
    prompts = staged.prompts if staged.is_scene else ()
    yield from _advice_on_words(name, vocabulary, staged)
    for reading, prompt in zip(staged.readings, prompts, strict=False):
        if photograph is None:
            yield from _advice_on_place(reading, prompt, size)
    if photograph is not None:
        yield from _advice_on_size(photograph.size, size[::-1])
    for prompt in prompts:
        if photograph is not None or prompt.is_photo:
            yield from _advice_on_poses(prompt.reading, staged)
        yield from _advice_on_drawings(staged, prompt)
    for reading in staged.readings:
        yield from _missing_subjects(reading, staged)
    library = [identity.named for identity in staged.identities]
    if any(named is not None and names_people(named.name) for named in library):
        yield (
            f"Preset {name!r} draws animals, plants and things. Its people are small figures "
            "of the library. For a person, give a photograph that shows the whole of them."
        )


def _advice_on_words(name: str, vocabulary: Vocabulary, staged: Staged) -> Iterator[str]:
    """Yield warnings of what preset `name` leaves out of the prompts of a drawing."""
    lost, is_scene, readings = dict[str, None](), staged.is_scene, staged.readings
    is_own = is_scene and any(identity.named is None for identity in staged.identities)
    for reading in readings:
        lost |= dict.fromkeys(
            word  # others that are unknown are a name, which a picture explains
            for word in (reading.lost if is_scene else reading.unknown)
            if not is_own
            or vocabulary.knows(word)
            or not {*words_in(word)}.isdisjoint({*reading.unknown} - HOLDERS)
        )
    left_out = [*lost]
    if lost:  # what is named again is shown
        names = [subject.name for subject in staged.request.subjects]
        names += [name for one in staged.identities for name in (one.named or ())[:2]]
        shown = {*words_in(" ".join(names))}
        left_out = [word for word in lost if word not in shown]
    means = subject_library().meant_by  # a noun of the library was taught, wherever it stands
    taught = [w for w in left_out if w not in OF_PLACES and (vocabulary.knows(w) or means(w))]
    if unknown := [word for word in left_out if word not in taught]:
        yield vocabulary.advice_on(unknown, preset=name)
    if apart := [repr(word) for word in taught]:
        yield (
            f"The words {', '.join(apart)} have no effect at their place in the prompt. Write "
            "subjects first or after 'and', and places after a preposition, as in 'a dog and a cat "
            "on a beach'."
        )
    worn = dict.fromkeys(filter(None, (reading.worn for reading in readings)))
    if worn and is_scene:
        yield (
            f"Preset {name!r} leaves out {', '.join(map(repr, worn))}: it draws nothing that a "
            "subject wears or holds. Use a larger model for that."
        )
    foreign = [ENGLISH for reading in readings if reading.is_foreign]
    yield from foreign[:1]
    is_open = is_scene and staged.request.scene == "" and bool(left_out or foreign)
    for prompt in staged.prompts if is_open else ():
        if prompt.reading.place is None:
            alike = scene_library().near(left_out[-1]) if left_out else ["on a beach"]
            near = " or ".join(map(repr, alike))
            yield (
                "The prompt names no place of the library, so the picture shows a "
                f"{prompt.shown.split()[-1]}. Name one, as {near}, or give a picture of "
                "the place by `scene=`."
            )
    if any(reading.art == COLOURLESS for reading in readings):
        yield f"Preset {name!r} draws in colour, so {COLOURLESS!r} is left out."


def _advice_on_place(
    reading: Reading, prompt: StagedPrompt, size: tuple[int, int]
) -> Iterator[str]:
    """Yield warnings of weather and sizes that a place does not show; of height and width."""
    place, (high, wide) = prompt.shown, size
    if prompt.reading != reading:
        yield (
            f"Weather and season do not enter a {place}: it shows at most the light of a cloudy "
            "day. Name a place outdoors for rain or snow."
        )
    yield from _advice_on_size(prompt.px, (wide, high))
    if wide and scene_library().is_cut(place, (wide, high)):
        yield (
            f"A picture of {wide}x{high} px is too wide for all of a {place}, so its top is cut "
            "off. Ask for a narrower picture, as 1024x768, or give a wider picture of a place."
        )


def _advice_on_size(scene: tuple[int, int], size: tuple[int, int]) -> Iterator[str]:
    """Yield a warning of a picture of a place that is enlarged until it is soft, by their sizes."""
    times = max(new / old for new, old in zip(size, scene, strict=True))
    if times > MOST_ENLARGED and max(size) <= MAX_SIDE_PX:
        most = [int(MOST_ENLARGED * side) for side in scene]
        yield (
            f"The picture of the place is {scene[0]}x{scene[1]} px, so it is soft at "
            f"{size[0]}x{size[1]} px. Ask for at most {most[0]}x{most[1]} px, or give a larger "
            "picture of a place as the scene."
        )


def _advice_on_drawings(staged: Staged, prompt: StagedPrompt) -> Iterator[str]:
    """Yield warnings of subjects of the library, which are drawings, some of them without legs."""
    place, shown = prompt.named, prompt.shown
    library = [identity.named for identity in staged.identities if identity.named is not None]
    names = dict.fromkeys(repr(named.word) for named in library)
    heads = dict.fromkeys(repr(named.word) for named in library if named.name in HEADS)
    wholes = f" The library has only the head or bust of {', '.join(heads)}." if heads else ""
    if not names:
        return
    if place and not heads and not prompt.has_photos:
        return
    is_drawn = place != shown
    too = f", and so the place ({shown})" if is_drawn else ""
    how = f", or `scene={place!r}` for the place alone" if is_drawn else ""
    views = max(len(identity.pixels) for identity in staged.identities)
    part = f" as another subject (--also): the {views} given show one" if views > 1 else ""
    drawn = f"Drawn: {', '.join(names)}{too}.{wholes}"
    yield f"{drawn} For photographs give a picture of it{part}{how}."


def _advice_on_poses(reading: Reading, staged: Staged) -> Iterator[str]:
    """Yield warnings of poses, views and places that a photographed place does not follow."""
    request = staged.request
    if kept := reading.pose_phrases["kept"]:
        yield (
            f"{kept[0]!r} has no effect in a photographed place: the subject keeps the pose of its "
            "picture. Turn it by `view`, or give another picture."
        )
    yield from _advice_on_borders(reading, staged)
    is_own = not isinstance(request.scene, str)
    if reading.placed and (is_own or any(subject.box for subject in request.subjects)):
        yield (
            f"Words that place a subject, here {reading.placed[0]!r}, have no effect with a box or "
            "in a picture of your own. Give the box that you want."
        )


def _advice_on_borders(reading: Reading, staged: Staged) -> Iterator[str]:
    """Yield a warning where a border that cuts a subject wins over words for where it is."""
    sides, request = {*reading.placed} & {*ACROSS}, staged.request
    for subject, borders in zip(request.subjects, staged.borders, strict=True):
        cut = {*borders.split()} & {"left", "right"} if sides else set()
        if request.flip:
            cut = {"right" if border == "left" else "left" for border in cut}
        if cut and subject.box is None and sides != cut:
            yield (
                f"Words that place a subject, here {min(sides)!r}, have no effect: its photograph "
                f"cuts it off, so it stands at that border ({' '.join(sorted(cut))}). "
                "Give a photograph that shows all of it, or a box."
            )


def _missing_subjects(reading: Reading, staged: Staged) -> Iterator[str]:
    """Yield warnings of subjects that a prompt names without a picture."""
    library, subjects = subject_library(), staged.request.subjects
    words = [getattr(identity.named, "word", "") for identity in staged.identities]
    names = [subject.name or word for subject, word in zip(subjects, words, strict=True)]
    missing = reading.unmatched_subjects([words_in(name) if name else [] for name in names])
    unknown = [mention.words for mention in missing if not mention.subject]
    near = {words: ", ".join(library.near(words)) for words in unknown}
    if near:
        strange = (
            f"{word!r} (spelled like {alike})" if alike else repr(word)
            for word, alike in near.items()
        )
        yield (
            f"There is no picture of {', '.join(strange)}, and the library has no such name. Words "
            "alone mostly draw a blur. Choose a name of the library, or give a picture."
        )
    listed = ", ".join(repr(mention.words) for mention in missing if mention.subject)
    if listed and len(names) >= MAX_SUBJECTS:
        yield f"A picture holds {MAX_SUBJECTS} subjects, and {listed} is left out."
    elif listed:
        yield (
            f"There is no picture of {listed}. Words alone mostly draw a blur. "
            "`session.generate` takes the picture from the library, or give one."
        )
    if not missing and 0 < len(names) < reading.num_subjects:
        yield (
            f"The prompt asks for {reading.num_subjects} subjects, and {len(names)} is drawn. Give "
            "a picture of each."
        )
    for mention in reading.lone_plurals if HOLDERS.isdisjoint(reading.loose) else ():
        if mention not in missing:
            yield (
                f"{mention.words!r} is drawn once. Say how many there are, up to {MAX_SUBJECTS}, "
                f"as in 'two {mention.words}'."
            )


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
