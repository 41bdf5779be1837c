"""A loaded model as graphs that need no PyTorch: prompts, subjects and drawing, one graph each.

The graphs are traced from the very functions that draw otherwise. What varies from picture to
picture, region and scales among it, enters as tensors; sizes and steps are fixed.
"""

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

import swiftpie
from swiftpie.backbones.components import Components
from swiftpie.engine.onnx.graphs import (
    CUTOUT,
    DRAW,
    FINISHED,
    FINISHED_MASK,
    IDENTITY,
    JOIN,
    LIT,
    OUTLINE,
    PIXELS,
    PLACE,
    RELIGHT,
    SCENE,
    SHADOW,
    SUBJECT_MASK,
    TEXT,
    Graphs,
    GraphSheet,
    Port,
    Sheet,
)
from swiftpie.engine.onnx.tracing import TensorRange, trace, write_weights
from swiftpie.engine.openvino.runtime import load
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import Layout, fit_to_boxes, fitted, upright, whole_frame
from swiftpie.geometry.weather import PixelRows, draw_weather
from swiftpie.imageio.cutout import CUTOUT_PX
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures
from swiftpie.masks import resize_mask, subject_extent
from swiftpie.models.cutout import packaged
from swiftpie.models.cutout_net import CutoutNet
from swiftpie.models.scene import Relighter, SceneCondition
from swiftpie.models.scene import packaged as packaged_scene
from swiftpie.models.text import TextTower, TwoTextTowers
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.drawing.denoise import Prepared, decode, denoise
from swiftpie.pipelines.drawing.prepare import (
    light_on,
    num_draws,
    source_of_detail,
    subject_condition,
)
from swiftpie.pipelines.drawing.request import Output, PersonalizeRequest, Subject
from swiftpie.pipelines.drawing.settings import MaskSource, ResolvedScales, Scales
from swiftpie.pipelines.identity import encode_identity, identity_of_frames
from swiftpie.pipelines.photographs.relight import IN_THE_AIR
from swiftpie.pipelines.photographs.relight import SIDE_PX as SCENE_PX
from swiftpie.pipelines.photographs.scene import draw_noise_of, outline_of, put_before
from swiftpie.scenes import WEATHERS, WORDS_ALONE
from swiftpie.types import Identity, TextCondition

PROMPT = "a subject on a beach"
SEED = 7
LEAST_DB = 45  # alike to the eye, and a third of a level of 255 apart
KEYS, VALUES = "keys/", "values/"  # before the layers' names
TOKENS = ("input_ids", "attention_mask")
TOKENS_OF_TWO = ("input_ids", "second_input_ids", "attention_mask")
STATES = ("text_states", "text_mask", "text_pooled")
FEATURES = ("tokens", "pooled")
FRAMES = ("pixels", "mask")
SCALES = (
    *("identity_scale", "detail_scale", "background_scale"),
    *("text_scale", "text_background_scale", "energy_cap"),
)
NO_CAP = float(torch.finfo(torch.float32).max)  # JSON knows no infinity
FOUND = ("is_inline", "detail_is_inline")  # 1: attention finds the region; else it is given
REGIONS = ("region", "detail_region")
BOXES = ("box", "has_box")


class GraphSource(NamedTuple):
    """A graph before it is traced."""

    module: nn.Module
    samples: Mapping[str, Tensor]
    outputs: tuple[str, ...]


def export_onnx(
    components: Components, folder: Path, *, size_px: tuple[int, int] | None = None
) -> Sheet:
    """Write graphs, weights, tokenizers and the sheet of a model into `folder`, which is empty.

    Raises:
        CapabilityError: Something in it has no form that ONNX knows.
        MissingExtra: A package that writes graphs is not installed.
    """
    parts = parts_of(components, size_px=size_px)
    places = write_weights(networks_of(components), folder)
    names = []
    for number, tokenizer in enumerate(_tokenizers(components)):
        names.append("tokenizer.json" if number == 0 else f"tokenizer_{number + 1}.json")
        tokenizer.backend_tokenizer.save(str(folder / names[-1]))
    return _write(components, parts, places, folder, tuple(names), size_px)


def export_openvino(
    components: Components, folder: Path, *, size_px: tuple[int, int] | None = None
) -> Sheet:
    """Write the same for OpenVINO; each graph has weights of its own beside it.

    Raises:
        CapabilityError: As of `export_onnx`.
        MissingExtra: OpenVINO, or a package that writes graphs, is not installed.
    """
    openvino = load("openvino")
    with tempfile.TemporaryDirectory() as place:
        made = export_onnx(components, Path(place), size_px=size_px)
        for name, graph in made.graphs.items():
            read = openvino.Core().read_model(Path(place) / graph.file)
            openvino.save_model(read, folder / f"{name}.xml", compress_to_fp16=False)
        for name in made.tokenizers:
            shutil.copy(Path(place) / name, folder)
    graphs = {name: replace(graph, file=f"{name}.xml") for name, graph in made.graphs.items()}
    sheet = replace(made, graphs=graphs)
    sheet.write(folder)
    return sheet


@torch.no_grad()
def check(components: Components, folder: Path, *, runtime: str) -> float:
    """Return how alike the picture of exported graphs and the usual one are, in dB.

    Raises:
        CapabilityError: They are not.
    """
    graphs = Graphs(folder, runtime=runtime)
    request = replace(
        _request(components), size_px=graphs.sheet.image_size_px, output=Output.PIXELS
    )
    usual = draw(components, request).tensor
    assert usual is not None
    identity = request.subjects[0].identity
    frames = {"pixels": identity.pixels.numpy(), "mask": identity.mask.numpy()}
    count, _, channels, rows, columns = graphs.sheet.graphs[DRAW].inputs["noise"].shape
    inputs = {
        **graphs.defaults(),
        **frames,
        **graphs[IDENTITY](frames),
        **graphs.read(PROMPT),
        "noise": draw_step_noise([SEED], (channels, rows, columns), count=count).numpy(),
    }
    made = torch.from_numpy(graphs[DRAW](inputs)[PIXELS])
    alike = 10 * math.log10(4 / max(float((made - usual).square().mean()), 1e-12))
    if alike < LEAST_DB:
        raise CapabilityError(
            f"What {runtime} draws by the exported graphs differs from the usual picture "
            f"({alike:.1f} dB; {LEAST_DB} are needed). This is a fault of SwiftPie or of "
            f"{runtime}; use another runtime, and please report it."
        )
    return alike


def export_page_parts(folder: Path) -> None:
    """Write the graphs of cut-outs and scenes, and their weights, into `folder`, which is empty.

    Raises:
        MissingExtra: A package that writes graphs is not installed.
    """
    cutouts, relighter = packaged(), packaged_scene()
    places = write_weights({"network": cutouts, "relighter": relighter}, folder)
    parts = {CUTOUT: cutout_part(cutouts), **scene_parts(relighter)}
    for name, part in parts.items():
        trace(*part, places=places, path=folder / f"{name}.onnx")


def _write(
    components: Components,
    parts: Mapping[str, GraphSource],
    places: Mapping[str, TensorRange],
    folder: Path,
    tokenizers: tuple[str, ...],
    size_px: tuple[int, int] | None,
) -> Sheet:
    graphs = {}
    for name, part in parts.items():
        with torch.no_grad():
            made = part.module(*part.samples.values())
        trace(*part, places=places, path=folder / f"{name}.onnx")
        graphs[name] = GraphSheet(
            f"{name}.onnx",
            {name: _port(tensor) for name, tensor in part.samples.items()},
            {output: _port(tensor) for output, tensor in zip(part.outputs, made, strict=True)},
        )
    preset, cell = components.preset, components.preset.latent_cell_px
    rows, columns = components.cells_of(size_px)
    vocabulary = components.text.vocabulary
    request = _request(components)
    sheet = Sheet(
        preset=preset.name,
        fingerprint=components.fingerprint,
        image_size_px=(rows * cell, columns * cell),
        frame_px=preset.image_size_px,
        tokenizers=tokenizers,
        defaults={
            **{name: _finite(getattr(Scales.of(preset), name)) for name in SCALES},
            "is_inline": 0.0,
            "detail_is_inline": float(source_of_detail(request, preset) is MaskSource.INLINE),
            **({"has_box": 0.0} if components.layout_predictor is not None else {}),
        },
        schedule=tuple(vars(step) for step in components.schedule.steps),
        taught=None if vocabulary is None else vocabulary.to_json(),
        graphs=graphs,
        made_with={
            name: version(name) for name in ("torch", "diffusers", "transformers", "onnxruntime")
        }
        | {"swiftpie": swiftpie.__version__},
    )
    sheet.write(folder)
    return sheet


def _request(components: Components) -> PersonalizeRequest:
    """Return a drawing of a subject in the package, which is the sample of all tracing."""
    picture = load_image(sample_pictures(1)[0])
    identity = encode_identity(components, [picture])
    return PersonalizeRequest(
        subjects=(Subject(identity),), prompt=PROMPT, seeds=(SEED,), scene=WORDS_ALONE
    )


def networks_of(components: Components) -> dict[str, nn.Module]:
    """Return the networks that graphs are made of, by the names that their weights begin with."""
    found: dict[str, object] = {
        "autoencoder": components.autoencoder,
        "denoiser": components.denoiser,
        "image_encoder": components.encoder_of_identity(),
        "layout_predictor": components.layout_predictor,
        "text_encoder": _towers(components)[0],
        "text_encoder_2": next(iter(_towers(components)[1:]), None),
    }
    return {name: network for name, network in found.items() if isinstance(network, nn.Module)}


def parts_of(
    components: Components, *, size_px: tuple[int, int] | None = None
) -> dict[str, GraphSource]:
    """Return what is to be traced.

    Raises:
        CapabilityError: The prompts are read by a network of another kind, or the preset finds
            regions by a first pass.
    """
    _towers(components)  # refuses others, before anything is encoded
    request = _request(components)
    if source_of_detail(request, components.preset) is MaskSource.TWO_PASS:
        raise CapabilityError(
            f"Preset {components.preset.name!r} finds the regions of details by a first pass, and "
            "a graph is one pass. Export a preset without a 'two-pass' mask."
        )
    text = components.text
    assert isinstance(text, TextTower | TwoTextTowers)
    (identity,) = (subject.identity for subject in request.subjects)
    names = TOKENS if isinstance(text, TextTower) else TOKENS_OF_TWO
    layers = sorted(identity.keys)
    states = dict(zip(STATES, (states.float() for states in text.encode([PROMPT])), strict=True))
    features = {
        "tokens": identity.tokens,
        "pooled": identity.pooled,
        **{KEYS + name: identity.keys[name] for name in layers},
        **{VALUES + name: identity.values[name] for name in layers},
    }
    frames = dict(zip(FRAMES, (identity.pixels, identity.mask), strict=True))
    shape = (components.preset.latent_channels, *components.cells_of(size_px))
    everywhere = torch.ones(1, 1, *shape[1:])
    given = dict(zip(REGIONS, (everywhere, everywhere), strict=True))
    given |= {name: torch.zeros(1) for name in FOUND}
    if components.layout_predictor is not None:
        given |= dict(
            zip(BOXES, (torch.tensor([[0.2, 0.3, 0.8, 0.9]]), torch.zeros(1)), strict=True)
        )
    given |= {name: torch.ones(1) for name in SCALES}
    noise = draw_step_noise([SEED], shape, count=num_draws(components))
    placed = () if components.layout_predictor is None else (PLACE, OUTLINE, SHADOW)
    return {
        TEXT: GraphSource(
            _TextGraph(components), dict(zip(names, text.tokenize([PROMPT]), strict=True)), STATES
        ),
        IDENTITY: GraphSource(_Identity(components, layers), frames, tuple(features)),
        DRAW: GraphSource(
            _Draw(components, layers),
            {"noise": noise, **states, **features, **frames, **given},
            (PIXELS, SUBJECT_MASK, *placed),
        ),
    }


def cutout_part(network: CutoutNet) -> GraphSource:
    """Return the network that finds subjects in one view of a photo."""
    sample = torch.zeros(1, 3, CUTOUT_PX, CUTOUT_PX)
    return GraphSource(_Cutout(network), {"view": sample}, ("logits",))


def scene_parts(relighter: Relighter) -> dict[str, GraphSource]:
    """Return what shows a scene in other light, and what puts a subject before it."""
    side = SCENE_PX
    picture, mask = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    noise = draw_noise_of(SEED)
    number = torch.zeros(1, dtype=torch.int64)
    condition = dict.fromkeys(SceneCondition._fields, number)
    join = {PIXELS: picture, SUBJECT_MASK: mask, OUTLINE: mask, SHADOW: mask}
    return {
        RELIGHT: GraphSource(
            _Relight(relighter), {"noise": noise, SCENE: picture, **condition}, (LIT,)
        ),
        JOIN: GraphSource(
            _Join(),
            {SCENE: picture, **join, "noise": noise, "weather": number, "time": number},
            (FINISHED, FINISHED_MASK),
        ),
    }


class _Relight(nn.Module):
    def __init__(self, relighter: Relighter) -> None:
        super().__init__()
        self.relighter = relighter
        self.eval()  # tracing gives every part of it back in the mode of the whole

    def forward(self, noise: Tensor, scene: Tensor, *numbers: Tensor) -> tuple[Tensor, ...]:
        return (self.relighter(noise, scene, *numbers),)


class _Join(nn.Module):
    def forward(self, scene: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        drawing, drawn_mask, outline, shadow, noise, weather, time = given
        picture, mask = put_before(scene, drawing, drawn_mask, [(outline, shadow)])
        size = (picture.shape[2], picture.shape[3])
        view = PixelRows(size, (0, size[0]))
        for number, name in enumerate(WEATHERS):
            if name in IN_THE_AIR:
                shown = draw_weather(picture, noise, name=name, time=time[0], view=view)
                picture = torch.where((weather == number).view(1, 1, 1, 1), shown, picture)
        return picture, mask


class _Cutout(nn.Module):
    def __init__(self, network: CutoutNet) -> None:
        super().__init__()
        self.network = network
        self.eval()  # tracing gives every part of it back in the mode of the whole

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (self.network(view),)


class _Networks(nn.Module):
    """Has the networks below their names, so that a trace finds their weights."""

    def __init__(self, components: Components, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.components = components
        self.layers = layers
        for name, network in networks_of(components).items():
            setattr(self, name, network)
        self.eval()  # tracing gives every part of it back in the mode of the whole


class _TextGraph(_Networks):
    def forward(self, *tokens: Tensor) -> tuple[Tensor, ...]:
        read = cast("Any", self.components.text).read
        states, mask, pooled = read(*tokens)
        return states, mask.float(), pooled


class _Identity(_Networks):
    def forward(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        made = identity_of_frames(self.components, pixels, mask)
        keys, values = ([of[name] for name in self.layers] for of in (made.keys, made.values))
        return made.tokens, made.pooled, *keys, *values


class _Draw(_Networks):
    def forward(self, noise: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        components, rest = self.components, iter(given)
        states, mask, pooled = (next(rest) for _ in STATES)
        text = TextCondition(states, mask, pooled)
        tokens, summary = (next(rest) for _ in FEATURES)
        keys = {name: next(rest) for name in self.layers}
        values = {name: next(rest) for name in self.layers}
        identity = Identity(
            preset=components.preset.name,
            fingerprint=components.fingerprint,
            tokens=tokens,
            pooled=summary,
            keys=keys,
            values=values,
            pixels=next(rest),
            mask=next(rest),
        )
        region, detail_region = (next(rest) for _ in REGIONS)
        is_inline, detail_is_inline = (next(rest) for _ in FOUND)
        layout = self._place(identity, noise[0], text, rest)
        lighting = light_on(components, identity, noise[0], text)
        scales = SimpleNamespace(**{name: next(rest) for name in SCALES}, balance=0.0)
        condition = subject_condition(
            components,
            [identity],
            [layout],
            lights=[lighting],
            regions=[region],
            detail_regions=[detail_region],
            class_tokens=torch.zeros(1, states.shape[1]),
            scales=cast("ResolvedScales", scales),  # tensors in place of numbers
            shares=[1.0],
        )
        attention = condition.attention._replace(
            is_inline=is_inline, detail_is_inline=detail_is_inline
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
        shape = (pixels.shape[2], pixels.shape[3])
        drawn_mask = resize_mask(denoised.subject_mask, shape)
        if components.layout_predictor is None:
            return pixels, drawn_mask
        columns = [column.view(len(column), -1) for column in layout[1:4]]
        place = torch.cat([layout.centre, *columns, layout.pose], dim=1)
        return pixels, drawn_mask, place, *outline_of(identity.mask, layout, lighting, drawn_mask)

    def _place(self, identity: Identity, noise: Tensor, text: TextCondition, rest: Any) -> Layout:  # noqa: ANN401 - an iterator
        predictor = self.components.layout_predictor
        if predictor is None:
            return whole_frame(noise)
        box, has_box = next(rest), next(rest)
        size = (noise.shape[2], noise.shape[3])
        extent = subject_extent(identity.mask[:1])
        found = upright(fitted(predictor(noise, text.pooled, extent).layout, size))
        if not predictor.config.knows_pose:  # nothing is turned, so no graph need know how
            found = found._replace(pose=torch.zeros(1, 4))
        centre, scale = fit_to_boxes(box, size, extent)
        boxed = Layout(
            centre=centre,
            scale=scale,
            rotation=torch.zeros(1),
            flip=torch.zeros(1),
            pose=torch.zeros(1, 4),
        )
        is_boxed = has_box > 0
        return Layout(
            *(
                torch.where(is_boxed.view(-1, *[1] * (value.ndim - 1)), other, value)
                for value, other in zip(found, boxed, strict=True)
            )
        )


def _towers(components: Components) -> list[nn.Module]:
    match components.text:
        case TextTower() as tower:
            return [tower.encoder]
        case TwoTextTowers() as towers:
            return [towers.first.encoder, towers.second]
    raise CapabilityError(
        f"The prompts of preset {components.preset.name!r} are read by "
        f"{type(components.text).__name__}, which cannot be exported. CLIP's towers can: export "
        "mini, or a preset of Stable Diffusion."
    )


def _tokenizers(components: Components) -> list[Any]:
    match components.text:
        case TextTower() as tower:
            return [tower.tokenizer]
        case TwoTextTowers() as towers:
            return [towers.first.tokenizer, towers.second_tokenizer]
    return []


def _port(tensor: Tensor) -> Port:
    return Port(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _finite(scale: float) -> float:
    return scale if math.isfinite(scale) else NO_CAP
