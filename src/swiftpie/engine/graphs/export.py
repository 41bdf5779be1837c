"""A loaded model as graphs that need no PyTorch: prompts, subjects and drawing, one graph each.

The graphs are traced from the very functions that draw otherwise. What varies from picture to
picture, region and scales among it, enters as tensors; sizes and steps are fixed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import swiftpie
from swiftpie.backbones.components import Components
from swiftpie.engine.graphs.runtime import load
from swiftpie.engine.graphs.to_onnx import Named, NamedFunction, opened, write_onnx, write_weights
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import whole_frame
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures
from swiftpie.masks import resize_mask
from swiftpie.models.text import TextTower, TwoTextTowers
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.denoise import Prepared, decode, denoise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.identity import encode_identity, identity_of_frames
from swiftpie.pipelines.request import WORDS_ALONE, Output, PersonalizeRequest, Subject, cells_of
from swiftpie.pipelines.settings import MaskSource, ResolvedScales, Scales
from swiftpie.pipelines.techniques.personalize import source_of_detail, subject_condition
from swiftpie.types import GenerationResult, Identity, TextCondition

FORMAT = "swiftpie-graphs/1"
SHEET = "swiftpie.json"
TEXT, IDENTITY, DRAW = "text", "identity", "draw"  # the graphs, by their names
PIXELS, SUBJECT_MASK = "image", "subject_mask"  # outputs of `draw`
PROMPT = "a subject on a beach"
SEED = 7
LEAST_DB = 45  # alike to the eye, and a third of a level of 255 apart
KEYS, VALUES = "keys/", "values/"  # before the layers' names
TOKENS = ("input_ids", "attention_mask")
TOKENS_OF_TWO = ("input_ids", "second_input_ids", "attention_mask")
STATES = ("text_states", "text_mask", "text_pooled")
SCALES = (
    *("identity_scale", "detail_scale", "background_scale"),
    *("text_scale", "text_background_scale"),
)
FOUND = ("is_inline", "detail_is_inline")  # 1: attention finds the region; else it is given
REGIONS = ("region", "detail_region")


class Port(NamedTuple):
    """A tensor that enters or leaves a graph."""

    dtype: str  # as numpy calls it
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphSheet:
    """One graph; inputs of the same names as outputs of another take what that returns."""

    file: str
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """An exported model."""

    preset: str
    fingerprint: str  # The weights' fingerprint, which identities have too.
    image_size_px: tuple[int, int]  # height and width of what is drawn
    frame_px: int  # side of the frames that subjects are read from
    tokenizers: tuple[str, ...]  # files, one a tower
    defaults: Mapping[str, float]  # Inputs of `draw` that are numbers.
    schedule: tuple[Mapping[str, float], ...]  # timestep, alpha and sigma of each step, as drawn
    taught: Mapping[str, Any] | None  # words, as `Vocabulary.stored` reads them
    graphs: Mapping[str, GraphSheet]
    made_with: Mapping[str, str]  # versions
    format: str = field(default=FORMAT)

    def write(self, folder: Path) -> None:
        """Write it into the folder of the graphs."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / SHEET).write_text(text + "\n", encoding="utf-8")


def export_onnx(
    components: Components, folder: Path, *, size_px: tuple[int, int] | None = None
) -> Sheet:
    """Write graphs, weights, tokenizers and the sheet of a model into `folder`, which is empty.

    Raises:
        CapabilityError: Something in it has no form that ONNX knows.
        MissingExtra: A package that writes graphs is not installed.
    """
    functions = functions_of(components, size_px=size_px)
    places = write_weights(_networks_of(components), folder)
    graphs = {}
    for name, function in functions.items():
        made = write_onnx(function, places=places, path=folder / f"{name}.onnx")
        graphs[name] = GraphSheet(f"{name}.onnx", _ports(function.samples), _ports(made))
    tokenizers = []
    for number, tokenizer in enumerate(_towers(components).values(), start=1):
        tokenizers.append("tokenizer.json" if number == 1 else f"tokenizer_{number}.json")
        tokenizer.backend_tokenizer.save(str(folder / tokenizers[-1]))
    preset, cell = components.preset, components.preset.latent_cell_px
    rows, columns = cells_of(components.preset, size_px)
    packages = ("torch", "diffusers", "transformers", "onnxruntime")
    sheet = Sheet(
        preset=preset.name,
        fingerprint=components.fingerprint,
        image_size_px=(rows * cell, columns * cell),
        frame_px=preset.image_size_px,
        tokenizers=tuple(tokenizers),
        defaults=_defaults_of(components),
        schedule=tuple(vars(step) for step in components.schedule.steps),
        taught=components.family.taught(components),
        graphs=graphs,
        made_with={"swiftpie": swiftpie.__version__, **{name: version(name) for name in packages}},
    )
    sheet.write(folder)
    return sheet


@torch.no_grad()
def check(components: Components, folder: Path, sheet: Sheet) -> float:
    """Return how alike the picture of the graphs is, in dB, or raise CapabilityError."""
    request = replace(_request(components), size_px=sheet.image_size_px, output=Output.PIXELS)
    drawn = draw(components, request)
    assert isinstance(drawn, GenerationResult), "it is a new picture"
    usual = drawn.tensor
    assert usual is not None
    ports, identity = sheet.graphs[DRAW].inputs, request.subjects[0].identity
    count, _, *shape = ports["noise"].shape
    inputs: dict[str, NDArray[Any]] = {
        **{name: np.full(ports[name].shape, n, "float32") for name, n in sheet.defaults.items()},
        **{name: np.ones(ports[name].shape, "float32") for name in REGIONS},
        **{name: value.numpy() for name, value in _inputs_of(components).items()},
        "pixels": identity.pixels.numpy(),
        "mask": identity.mask.numpy(),
        "noise": draw_step_noise([SEED], shape, count=count).numpy(),
    }
    read: Any = load("tokenizers").Tokenizer.from_file
    for name, file in zip(TOKENS_OF_TWO, sheet.tokenizers, strict=False):
        encoded = read(str(folder / file)).encode(PROMPT)
        inputs |= {name: np.array([encoded.ids]), TOKENS[1]: np.array([encoded.attention_mask])}
    for name in (TEXT, IDENTITY, DRAW):
        inputs |= _compute(folder / sheet.graphs[name].file, inputs)
    alike = 10 * math.log10(4 / max(float(np.square(inputs[PIXELS] - usual.numpy()).mean()), 1e-12))
    if alike < LEAST_DB:
        raise CapabilityError(
            f"What ONNX Runtime draws by the exported graphs differs from the usual picture "
            f"({alike:.1f} dB; {LEAST_DB} are needed). This is a fault of SwiftPie or of ONNX "
            "Runtime; please report it."
        )
    return alike


def _compute(path: Path, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of a graph by name; `inputs` may hold more than it takes."""
    session = opened(path)
    names = [entry.name for entry in session.get_inputs()]
    outputs = [output.name for output in session.get_outputs()]
    made = session.run(outputs, {name: inputs[name] for name in names})
    return dict(zip(outputs, made, strict=True))


def functions_of(
    components: Components, *, size_px: tuple[int, int] | None = None
) -> dict[str, NamedFunction]:
    """Return what is to be traced; CapabilityError if a network of another kind reads prompts."""
    names = TOKENS if len(_towers(components)) == 1 else TOKENS_OF_TWO  # refuses other readers
    request, networks = _request(components), _networks_of(components)
    text, identity = cast("Any", components.text), request.subjects[0].identity
    frames = {"pixels": identity.pixels, "mask": identity.mask}
    shape = (components.preset.latent_channels, *cells_of(components.preset, size_px))
    one = torch.ones(1)
    samples = {
        "noise": draw_step_noise([SEED], shape, count=components.schedule.num_draws),
        **dict(zip(STATES, (states.float() for states in text.encode([PROMPT])), strict=True)),
        **_features(identity),
        **frames,
        **dict.fromkeys(REGIONS, torch.ones(1, 1, *shape[1:])),
        **dict.fromkeys(FOUND, 0 * one),
        **dict.fromkeys(SCALES, one),
    }
    samples |= _inputs_of(components)
    tokens = dict(zip(names, text.tokenize([PROMPT]), strict=True))
    return {
        TEXT: NamedFunction(networks, partial(_read, components), tokens),
        IDENTITY: NamedFunction(networks, partial(_describe, components), frames),
        DRAW: NamedFunction(networks, partial(_draw, components), samples),
    }


def _read(components: Components, tokens: Named) -> Named:
    states, mask, pooled = cast("Any", components.text).read(*tokens.values())
    return dict(zip(STATES, (states, mask.float(), pooled), strict=True))


def _describe(components: Components, frames: Named) -> Named:
    return _features(identity_of_frames(components, frames["pixels"], frames["mask"]))


def _features(identity: Identity) -> dict[str, Tensor]:
    layers = sorted(identity.keys)
    return {
        "tokens": identity.tokens,
        "pooled": identity.pooled,
        **{KEYS + name: identity.keys[name] for name in layers},
        **{VALUES + name: identity.values[name] for name in layers},
    }


def _draw(components: Components, given: Named) -> Named:
    keys, values = (
        {name.removeprefix(kind): part for name, part in given.items() if name.startswith(kind)}
        for kind in (KEYS, VALUES)
    )
    text = TextCondition(*(given[name] for name in STATES))
    identity = Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=given["tokens"],
        pooled=given["pooled"],
        keys=keys,
        values=values,
        pixels=given["pixels"],
        mask=given["mask"],
    )
    noise = given["noise"]
    family, lighting = components.family, None
    layout = whole_frame(noise[0])
    if family.graph_place is not None:
        layout, lighting = family.graph_place(components, identity, text, given)
    scales = SimpleNamespace(**{name: given[name] for name in SCALES}, balance=0.0, energy_cap=None)
    condition = subject_condition(
        components,
        [identity],
        [layout],
        lights=[lighting],
        regions=[given["region"]],
        detail_regions=[given["detail_region"]],
        class_tokens=torch.zeros(1, text.hidden_states.shape[1]),
        scales=cast("ResolvedScales", scales),  # tensors in place of numbers
        shares=[1.0],
    )
    attention = condition.attention._replace(
        is_inline=given["is_inline"], detail_is_inline=given["detail_is_inline"]
    )
    prepared = Prepared(
        components,
        components.schedule.initial_latents(noise[0]),
        text,
        null_text=None,
        condition=condition._replace(attention=attention),
        fresh=noise[1:],
    )
    denoised = denoise(prepared)
    pixels = decode(components, denoised.latents)
    drawn_mask = resize_mask(denoised.subject_mask, (pixels.shape[2], pixels.shape[3]))
    made = {PIXELS: pixels, SUBJECT_MASK: drawn_mask}
    if family.graph_outputs is not None:
        made |= family.graph_outputs(identity, layout, lighting, drawn_mask)
    return made


def _inputs_of(components: Components) -> Named:
    """Return what drawings of the family take besides."""
    inputs = components.family.graph_inputs
    return {} if inputs is None else inputs()


def _request(components: Components) -> PersonalizeRequest:
    """Return a drawing of a subject in the package, which is the sample of all tracing."""
    identity = encode_identity(components, [load_image(sample_pictures(1)[0])])
    return PersonalizeRequest(
        subjects=(Subject(identity),), prompt=PROMPT, seeds=(SEED,), scene=WORDS_ALONE
    )


def _defaults_of(components: Components) -> dict[str, float]:
    scales = Scales.of(components.preset)
    numbers = {name: float(getattr(scales, name)) for name in SCALES}
    source = source_of_detail(_request(components), components.preset)
    return {
        **numbers,
        **dict(zip(FOUND, (0.0, float(source is MaskSource.INLINE)), strict=True)),
        **{name: float(x) for name, x in _inputs_of(components).items() if x.numel() == 1},
    }


def _networks_of(components: Components) -> dict[str, nn.Module]:
    """Return the networks that graphs are made of, by the names that their weights begin with."""
    found: dict[str, object] = {
        "autoencoder": components.autoencoder,
        "denoiser": components.denoiser,
        "image_encoder": components.encoder_of_identity(),
        **(vars(components.own) if components.own is not None else {}),
        **dict(zip(("text_encoder", "text_encoder_2"), _towers(components), strict=False)),
    }
    return {name: network for name, network in found.items() if isinstance(network, nn.Module)}


def _towers(components: Components) -> dict[nn.Module, Any]:
    """Return the networks that read prompts, and tokenizers; CapabilityError for other kinds."""
    match components.text:
        case TextTower() as tower:
            return {tower.encoder: tower.tokenizer}
        case TwoTextTowers() as towers:
            found: dict[nn.Module, Any] = {towers.first.encoder: towers.first.tokenizer}
            return {**found, towers.second: towers.second_tokenizer}
    raise CapabilityError(
        f"The prompts of preset {components.preset.name!r} are read by "
        f"{type(components.text).__name__}, which cannot be exported. CLIP's towers can: export "
        "mini, or a preset of Stable Diffusion."
    )


def _ports(tensors: Named) -> dict[str, Port]:
    return {
        name: Port(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
