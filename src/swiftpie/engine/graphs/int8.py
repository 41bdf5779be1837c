"""Networks in whole numbers of 8 bits, by NNCF, calibrated on pictures in the package."""

import contextlib
import io
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Capability
from swiftpie.engine.graphs.runtime import (
    DECODER,
    DENOISER,
    ENCODER,
    INVERSION,
    TEXT,
    Function,
    Nested,
    Untyped,
    load,
    number_of,
    outline,
    outline_and_tensors,
    plain,
    quietly,
    shapes,
    versions,
)
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures, to_pil, to_tensor
from swiftpie.models.denoiser import Denoiser, DenoiserCall, WrappedDenoiser
from swiftpie.models.vision import FaceIdentityEncoder
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.identity import encode_identity, face_identity
from swiftpie.pipelines.request import Output, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditSettings, MaskSource, Scales
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.types import GenerationResult, Identity

logger = logging.getLogger(__name__)

RECIPE = 8  # changes with what is quantised, so that older graphs are not used
FOLDED, MULTIPLIED = "Convolution", "MatMul"
UNFOLDED, ROUNDED = "ConvolutionBackpropData", "FakeQuantize"
LEVELS = 256  # levels of 8 bits; a range around 0 has one more on the negative side
EXACT = ["ScaledDotProductAttention"]  # 8 bits blur attention, whose keys have places
RANGES = "nncf.quantization.range_estimator"
WEIGHT, WIDENED = "Constant", "Convert"
NARROWED = {TEXT}  # weights alone: with 8-bit states, single pictures fell to 33 dB

MOST_CALLS, LEAST_CALLS = 24, 2  # one for each source of a mask at least
NUM_CELLS = 8 * 32 * 32  # latent cells in all; more of them hardly change the ranges
NUM_IDENTITIES = 6
KINDS = ("a photo of a subject", "a tiny wooden subject", "a subject in a top hat, in watercolour")
PLACES = ("on a beach at sunset", "in a forest on the left", "in outer space", "in the snow")
PROMPTS = [f"{kind} {place}" for place in PLACES for kind in KINDS]
SCALES = (0.6, 0.8, 1.0, 1.2, 1.5)  # strengths of either branch, used in turns
MOST_BYTES = 100 << 20  # biases of larger networks stay uncorrected, which would take minutes
GRAIN = 0.05  # noise on the grounds, so that they have fine detail

Call = tuple[Any, ...]  # nested tensors, as an exported graph takes them


class Quantizer:
    """Turns convolutions and linear layers of exported networks to whole numbers.

    Activations are not smoothed into weights, and no value is cut as an outlier: with either,
    single pictures of the embedded model fell from 40 dB to 21. CLIP's image tower, which would
    need the former, stays unchanged: it runs once a reference, and took longer than all the others.
    """

    def __init__(self, components: Components) -> None:
        self._nncf = load("nncf", extra="int8")
        self._nncf.set_log_level(logging.ERROR)  # else it prints what it does
        self.components = components  # exact networks, which calibration draws with
        self.settings = json.dumps([RECIPE, versions("nncf")])

    def wants(self, function: Function) -> bool:
        """Whether graphs of `function` are quantised."""
        return function.name in CALLS or function.name in NARROWED

    def calls(self, function: Function, form: Nested) -> Sequence[Call]:
        """Return calls to calibrate `function` with, for arguments whose outline is `form`.

        None where weights alone are quantised, or, with a warning, where none can be made.
        """
        if function.name in NARROWED:
            return ()
        reason: object = "the pictures in the package make no call like this"
        try:
            if calls := CALLS[function.name](self.components, form):
                return calls
        except SwiftPieError as error:
            reason = error
        logger.warning("A call of the %s is not quantised: %s", function.name, reason)
        return ()

    def quantize(self, function: Function, graph: Untyped, calls: Sequence[Call]) -> Untyped:
        """Return `graph`, which is written into, quantised by `calls`, or None where these lack."""
        is_small = function.num_bytes <= MOST_BYTES
        with quietly(), contextlib.redirect_stdout(io.StringIO()):  # NNCF draws progress bars
            if function.name in NARROWED:
                mode = self._nncf.CompressWeightsMode.INT8_ASYM
                return self._nncf.compress_weights(in_single(graph), mode=mode)
            return self._quantized(in_single(graph), calls, corrects=is_small) if calls else None

    def _quantized(self, graph: Untyped, calls: Sequence[Call], *, corrects: bool) -> Untyped:
        nncf = self._nncf
        made = nncf.quantize(
            graph,
            nncf.Dataset(calls, lambda call: _inputs(call, graph)),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calls),
            ignored_scope=nncf.IgnoredScope(names=_kept_exact(graph), types=EXACT, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=not corrects,
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
                activations_range_estimator_params=load(RANGES).RangeEstimatorParametersSet.MINMAX,
            ),
        )
        return mirrored(made)


def _inputs(call: Call, graph: Untyped) -> dict[str, NDArray[Any]]:
    _, tensors = outline_and_tensors(call)
    return {port.get_any_name(): plain(tensors[number_of(port)]).numpy() for port in graph.inputs}


def in_single(graph: Untyped) -> Untyped:
    """Return `graph` with all that it computed in bfloat16 in float32, as NNCF needs it.

    Weights stay as they are and are widened where they are used.
    """
    openvino = load("openvino")
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in (WEIGHT, WIDENED) or node.get_element_type() != openvino.Type.bf16:
            continue
        users = node.output(0).get_target_inputs()
        narrow = node.output(0) if kind == WEIGHT else node.input_value(0)
        for user in users:
            user.replace_source_output(openvino.opset13.convert(narrow, "f32").output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def mirrored(graph: Untyped) -> Untyped:
    """Return `graph` with ranges around 0 before transposed convolutions.

    OpenVINO computes these in whole numbers only if 0 is in the middle.
    """
    opset = load("openvino").opset13
    for node in graph.get_ordered_ops():
        if node.get_type_name() != UNFOLDED:
            continue
        rounding = node.input_value(0).get_node()
        if rounding.get_type_name() != ROUNDED:
            continue
        ends = [abs(rounding.input_value(place).get_node().get_data()).max() for place in (1, 2)]
        high = max(ends)
        low = -high * (LEVELS / (LEVELS - 2))
        bounds = [np.float32(bound) for bound in (low, high, low, high)]
        made = opset.fake_quantize(rounding.input_value(0), *bounds, LEVELS)
        node.input(0).replace_source_output(made.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _kept_exact(graph: Untyped) -> list[str]:
    # The first and last convolution lose most. Products of two computed matrices have places
    # among them, which 8 bits would blur.
    nodes = graph.get_ordered_ops()
    folded = [node for node in nodes if node.get_type_name() == FOLDED]
    products = [n for n in nodes if n.get_type_name() == MULTIPLIED and not _has_weights(n)]
    return [node.get_friendly_name() for node in (*folded[:1], *folded[-1:], *products)]


def _has_weights(node: Untyped) -> bool:
    sources = [node.input_value(place).get_node() for place in range(2)]
    sources += [
        each.input_value(0).get_node() for each in sources if each.get_type_name() == WIDENED
    ]
    return any(source.get_type_name() == WEIGHT for source in sources)


class _CallRecorder(WrappedDenoiser):
    """A denoiser that records its inputs; its last step returns zeros instead of computing."""

    def __init__(self, inner: Denoiser, last: float) -> None:
        super().__init__(inner)
        self.calls: list[DenoiserCall] = []
        self._last = last  # timestep, whose prediction is not used

    def _predict(self, call: DenoiserCall) -> tuple[Tensor, ...]:
        self.calls.append(call)
        if call.timestep.ndim == 0 and float(call.timestep) == self._last:
            nothing = torch.zeros_like(call.latents)
            return nothing, nothing[:, :1]
        return super()._predict(call)


@torch.no_grad()
def denoiser_calls(components: Components, form: Nested) -> list[DenoiserCall]:
    """Return calls whose shapes are those of the outline `form`, always the same ones.

    Empty where calls of this kind come about neither by `personalize` nor by edits.
    """
    wanted = DenoiserCall(*form)
    size = (wanted.latents.shape[0], *wanted.latents.shape[2:])
    attention = wanted.condition.attention
    num_subjects, num_views = attention.coverage.shape[1:3]
    num_shown = _num_calls(size) + num_subjects - 1
    is_shown = attention.shows_subjects or attention.keys or wanted.condition.aligned.shape[2]
    identities = _identities(components, num_shown if is_shown else 0, num_views)
    if not attention.keys:
        identities = [identity.without_detail() for identity in identities]
    recorder = _CallRecorder(components.denoiser, components.schedule.steps[-1].timestep)
    recording = replace(components, denoiser=recorder)
    for request in _requests(components, size, identities, num_subjects):
        draw(recording, request)
    if components.family.knows_all_times and not _matching(recorder, wanted):
        _record_edits(recording, wanted, identities)
    return _matching(recorder, wanted)


def _num_calls(size: Sequence[int]) -> int:
    return max(LEAST_CALLS, min(MOST_CALLS, NUM_CELLS // math.prod(size)))


def _identities(components: Components, count: int, num_views: int = 1) -> list[Identity]:
    """Return subjects in the package, or none where the networks know no subjects."""
    count = min(NUM_IDENTITIES, count) * components.knows_subjects  # CLIP takes seconds for each
    views = [[load_image(path)] * num_views for path in sample_pictures(count)]
    encoder = components.image_encoder
    if isinstance(encoder, FaceIdentityEncoder):
        face = F.normalize(torch.ones(num_views, encoder.face_width))
        return [face_identity(components, face, crop=crop * encoder.needs_crops) for crop in views]
    return [encode_identity(components, pictures) for pictures in views]


def _requests(
    components: Components, size: Sequence[int], identities: Sequence[Identity], num_subjects: int
) -> Iterator[PersonalizeRequest]:
    """Yield requests for latents of `size` (B, h, w), by words alone if no subjects are given."""
    if not (identities or Capability.TEXT in components.preset.capabilities):
        return
    batch, *cells = size
    cell_px = components.preset.latent_cell_px
    is_masked = identities and components.denoiser.installation.finds_regions
    for number in range(_num_calls(size)):
        first = number * batch  # its first seed decides about everything else
        places = range(number, number + num_subjects) if identities else ()
        yield PersonalizeRequest(
            subjects=tuple(Subject(identities[k % len(identities)]) for k in places),
            prompt=PROMPTS[first % len(PROMPTS)],
            seeds=tuple(range(first, first + batch)),
            size_px=(cell_px * cells[0], cell_px * cells[1]),
            scales=Scales(*(SCALES[k % len(SCALES)] for k in (first, first // 2))),
            mask=MaskSource.INLINE if is_masked and first % 2 else MaskSource.NONE,
            output=Output.LATENTS,
        )


def _matching(recorder: _CallRecorder, wanted: DenoiserCall) -> list[DenoiserCall]:
    return [call for call in recorder.calls if shapes(outline(call)) == shapes(wanted)]


def _record_edits(
    recording: Components, wanted: DenoiserCall, identities: Sequence[Identity]
) -> None:
    """Draw edits without an inversion network, with a new subject and without one."""
    is_shown = recording.family.edits_by_reference
    method = "reference" if is_shown else "chord"
    for number, scene in enumerate(_scenes(recording, wanted.latents.shape[2:])):
        height, width = scene.shape[2:]
        settings = EditSettings(method=method, size_px=height if height == width else None)
        for identity in (None, *(() if is_shown else identities[number : number + 1])):
            request = EditRequest(
                image=to_pil(scene)[0],
                prompt=PROMPTS[number % len(PROMPTS)],
                source_prompt=PROMPTS[(number + 1) % len(PROMPTS)],
                seed=number,
                source=identity,
                settings=settings,
            )
            draw(recording, request)


def encoder_calls(components: Components, form: Nested) -> list[Call]:
    """Return calls of an encoder with pixels of the shape in the outline `form`."""
    batch, _, *size = form[0].shape
    cells = [side_px // components.preset.latent_cell_px for side_px in size]
    return [(scene.expand(batch, -1, -1, -1),) for scene in _scenes(components, cells)]


@torch.no_grad()
def decoder_calls(components: Components, form: Nested) -> list[Call]:
    """Return calls of a decoder with latents of the shape in the outline `form`.

    Half of them are drawn: networks draw latents that no picture is encoded to.
    """
    batch, _, *cells = form[0].shape
    encoded = [components.autoencoder.encode(scene) for scene in _scenes(components, cells)]
    requests = _requests(components, (1, *cells), _identities(components, len(encoded)), 1)
    results = [draw(components, request) for request in requests]
    drawn = [result.tensor for result in results if isinstance(result, GenerationResult)]
    return [(each.expand(batch, -1, -1, -1),) for each in (*encoded, *drawn) if each is not None]


@torch.no_grad()
def inversion_calls(components: Components, form: Nested) -> list[Call]:
    """Return calls of an inversion network whose shapes are those of the outline `form`."""
    batch, _, *cells = form[0].shape
    calls = []
    for number, scene in enumerate(_scenes(components, cells)):
        latents = components.autoencoder.encode(scene).expand(batch, -1, -1, -1)
        prompts = [PROMPTS[(number + k) % len(PROMPTS)] for k in range(batch)]
        calls.append((latents, components.text.encode(prompts)))
    return [call for call in calls if shapes(outline(call)) == shapes(form)]


def _scenes(components: Components, cells: Sequence[int]) -> list[Tensor]:
    """Return pictures (1, 3, H, W) of subjects on grainy grounds, for latents of `cells` (h, w)."""
    height, width = (components.preset.latent_cell_px * side for side in cells)
    pictures = []
    for number, path in enumerate(sample_pictures(_num_calls(cells))):
        generator = torch.Generator().manual_seed(number)
        top, bottom = (2 * torch.rand(2, 3, 1, 1, generator=generator) - 1).unbind()
        shade = torch.lerp(top, bottom, torch.linspace(0, 1, height)[:, None])
        ground = shade + GRAIN * torch.randn(3, height, width, generator=generator)
        canvas = to_pil(ground.clamp(-1, 1)[None])[0].convert("RGBA")
        subject = load_image(path).convert("RGBA").resize(canvas.size)
        pictures.append(to_tensor(Image.alpha_composite(canvas, subject).convert("RGB")))
    return pictures


CALLS: Mapping[str, Callable[[Components, Nested], Sequence[Call]]] = {
    DENOISER: denoiser_calls,
    INVERSION: inversion_calls,
    ENCODER: encoder_calls,
    DECODER: decoder_calls,
}
"""Where calls of a network come from that computes in 8 bits."""
