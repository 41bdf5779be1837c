"""Writes a function as an ONNX graph that refers to weights in a file of safetensors.

The trace is that of TorchScript. `torch.export`, which OpenVINO reads, needs four times as long for
these functions, and another package to write ONNX.
"""

import io
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from swiftpie.backbones.load.safe import check_safetensors
from swiftpie.engine.graphs.runtime import Composing, Untyped, load
from swiftpie.errors import CapabilityError, InputError, short_reason

OPSET = 18  # the first with resizing that is smooth where it shrinks
FLOAT, DOUBLE = 1, 11  # ONNX's numbers of these types
DTYPES = {"F16": 10, "F32": FLOAT, "BF16": 16, "I64": 7}
WEIGHTS = "weights.safetensors"
EXTRA = "export"

Named = Mapping[str, Tensor]


class NamedFunction(NamedTuple):
    """A function of tensors by name, whose shapes are those of its samples for ever."""

    networks: Mapping[str, nn.Module]  # whose weights it reads, by the names that theirs begin with
    compute: Callable[[Named], Named]
    samples: Named


class TensorRange(NamedTuple):
    """Where the file of weights holds the numbers of a tensor."""

    offset: int
    num_bytes: int
    dtype: str  # name of the type in safetensors
    shape: tuple[int, ...]


def write_weights(networks: Mapping[str, nn.Module], folder: Path) -> dict[str, TensorRange]:
    """Write all weights into one file, each in half precision if that loses nothing."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            whole = value.detach().cpu().contiguous()
            half = whole.to(torch.float16)
            is_exact = whole.is_floating_point() and torch.equal(half.to(whole.dtype), whole)
            tensors[f"{name}.{key}"] = (half if is_exact else whole).clone()
    file = folder / WEIGHTS
    try:
        save_file(tensors, file)
    except SafetensorError as error:
        raise InputError(
            f"'{file}' cannot be written ({short_reason(error)}). Choose a folder with room."
        ) from error
    header = check_safetensors(file)
    start = file.stat().st_size - max(entry["data_offsets"][1] for entry in header.values())
    return {
        name: TensorRange(start + begin, end - begin, entry["dtype"], tuple(entry["shape"]))
        for name, entry in header.items()
        for begin, end in [entry["data_offsets"]]
    }


class _Traced(nn.Module):
    """Has the networks below their names, so that a trace finds their weights."""

    def __init__(self, function: NamedFunction) -> None:
        super().__init__()
        self.function = function
        for name, network in function.networks.items():
            setattr(self, name, network)
        self.eval()  # tracing gives every part of it back in the mode of the whole

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        names = self.function.samples
        return tuple(self.function.compute(dict(zip(names, tensors, strict=True))).values())


def write_onnx(
    function: NamedFunction, *, places: Mapping[str, TensorRange], path: Path
) -> dict[str, Tensor]:
    """Write the graph of a function and return what it computes of its samples.

    Weights are those of `places`, by their names; the graph's file refers to theirs.

    Raises:
        CapabilityError: ONNX has no operator for something that the function does.
        MissingExtra: A package that writes graphs is not installed.
    """
    onnx, buffer = load("onnx", extra=EXTRA), io.BytesIO()
    with torch.no_grad():
        made = dict(function.compute(function.samples))
    with warnings.catch_warnings(), _symbolics(), _Constants():
        warnings.simplefilter("ignore")  # tracing warns of fixed shapes, which are meant
        try:
            torch.onnx.export(
                _Traced(function),
                tuple(function.samples.values()),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes files, too
                dynamo=False,
                export_params=False,  # weights become inputs of their names
                do_constant_folding=False,
                opset_version=OPSET,
                input_names=list(function.samples),
                output_names=list(made),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise CapabilityError(
                f"{path.stem!r} cannot be exported: {str(error).splitlines()[0]} ONNX "
                "lacks one of its operators. Leave out what adds it, or use another preset."
            ) from error
    raw = onnx.load_from_string(buffer.getvalue())
    _narrow(raw)
    model = onnx.load_from_string(folded(raw.SerializeToString()))
    _attach(model, places, kept={"", *function.samples, *made})
    onnx.save(model, path)
    return made


def _narrow(model: Untyped) -> None:
    """Make numbers of Python, which the exporter takes for double precision, what PyTorch does."""
    helper = load("onnx.numpy_helper", extra=EXTRA)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == DOUBLE:
                value = helper.to_array(attribute.t).astype("float32")
                attribute.t.CopyFrom(helper.from_array(value))
            elif node.op_type == "Cast" and attribute.i == DOUBLE:
                attribute.i = FLOAT


def opened(graph: bytes | Path, *, copied_to: Path | None = None) -> Untyped:
    """Return a session of ONNX Runtime, which may write the graph as it computes it."""
    runtime = load("onnxruntime", extra=EXTRA)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    if copied_to is not None:
        options.optimized_model_filepath = str(copied_to)
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def folded(graph: bytes | Path) -> bytes:
    """Return a graph with all computed that follows from what is in it, and that inside of it.

    Weights that are inputs are left alone.
    """
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "folded.onnx"
        opened(graph, copied_to=made)
        return made.read_bytes()


def _attach(model: Untyped, places: Mapping[str, TensorRange], *, kept: set[str]) -> None:
    """Turn inputs that are weights into references, and give all but those `kept` short names.

    Paths of modules are half of a graph's bytes.
    """
    onnx, graph = load("onnx", extra=EXTRA), model.graph
    widened, inputs = [], []
    for entry in graph.input:
        if entry.name in kept:
            inputs.append(entry)
            continue
        place = places[entry.name]
        weight = onnx.TensorProto(
            name=entry.name,
            data_type=DTYPES[place.dtype],
            dims=place.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        facts = {"location": WEIGHTS, "offset": place.offset, "length": place.num_bytes}
        for key, value in facts.items():
            weight.external_data.add(key=key, value=str(value))
        if weight.data_type != entry.type.tensor_type.elem_type:
            weight.name = f"{entry.name} stored"
            cast = onnx.helper.make_node(
                "Cast", [weight.name], [entry.name], to=entry.type.tensor_type.elem_type
            )
            widened.append(cast)
        graph.initializer.append(weight)
    nodes = [*widened, *graph.node]
    short = {name: name for name in kept}
    for node in nodes:
        node.name = node.doc_string = ""
        for side in (node.input, node.output):
            side[:] = [short.setdefault(name, f"{len(short):x}") for name in side]
    for weight in graph.initializer:
        weight.name = short.setdefault(weight.name, f"{len(short):x}")
    for field, content in (("node", nodes), ("input", inputs), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(content)
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    model.ClearField("opset_import")
    model.opset_import.extend(standard)
    model.producer_version = graph.doc_string = ""


class _Constants(Composing):
    """Also keep sizes of tensors, and noise that a module draws by a seed of its own, as numbers.

    Some operators take no size that the graph asks for, and the graph draws no noise.
    """

    def __torch_function__(self, func: Callable[..., Any], *rest: Any) -> Any:  # noqa: ANN401 - as all functions of PyTorch
        """Call one of them."""
        made = super().__torch_function__(func, *rest)
        if func is torch.randn:
            return torch.from_numpy(made.numpy())
        if func is Tensor.size or func == Tensor.shape.__get__:  # type: ignore[attr-defined]  # a descriptor
            return torch.Size(map(int, made)) if isinstance(made, tuple) else int(made)
        return made


@contextmanager
def _symbolics() -> Iterator[None]:
    """Let the exporter know operators that it lacks, inside of the block."""
    made = {
        "_upsample_bicubic2d_aa": _smooth("cubic"),
        "_upsample_bilinear2d_aa": _smooth("linear"),
        "upsample_bilinear2d": _linear,
    }
    exporter: Any = torch.onnx
    for name, symbolic in made.items():
        exporter.register_custom_op_symbolic(f"aten::{name}", symbolic, OPSET)
    try:
        yield
    finally:
        for name in made:
            exporter.unregister_custom_op_symbolic(f"aten::{name}", OPSET)


def _resize(graph: Untyped, values: Untyped, size: Sequence[int], **how: object) -> Untyped:
    kept = graph.op("Shape", values, start_i=0, end_i=2)
    sizes = graph.op(
        "Concat", kept, graph.op("Constant", value_t=torch.tensor(list(size))), axis_i=0
    )
    nothing = graph.op("Constant", value_t=torch.empty(0))
    return graph.op("Resize", values, nothing, nothing, sizes, **how)


def _smooth(mode: str) -> Callable[..., Any]:
    """Return the operator that resizes (B, C, H, W) and reads all pixels where it shrinks."""

    @torch.onnx.symbolic_helper.parse_args("v", "is", "b", "v", "v")
    def resize(graph: Untyped, values: Untyped, size: Sequence[int], *_rest: object) -> Untyped:
        return _resize(
            *(graph, values, size),
            mode_s=mode,
            antialias_i=1,
            coordinate_transformation_mode_s="half_pixel",
            cubic_coeff_a_f=-0.5,
            exclude_outside_i=int(mode == "cubic"),
        )

    return resize


@torch.onnx.symbolic_helper.parse_args("v", "is", "b", "v", "v")
def _linear(graph: Untyped, values: Untyped, size: Sequence[int], *more: object) -> Untyped:
    """Resize (B, C, H, W) between neighbours, and note the size, which pooling needs."""
    corners = "align_corners" if more[0] else "half_pixel"
    made = _resize(graph, values, size, mode_s="linear", coordinate_transformation_mode_s=corners)
    made.setType(values.type().with_sizes([None, None, *size]))
    return made
