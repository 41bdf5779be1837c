"""ComfyUI's node interface as far as our nodes use it, as ComfyUI 0.33.0 has it.

It knows the names of arguments and nothing else, so that one that ComfyUI does not have is an error
here too. `make test-comfyui` compares what becomes of it with what the real one makes of our nodes.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from tests.policy.project import ROOT

NODES = ROOT / "integrations" / "comfyui"
COMMON = {"display_name", "optional", "tooltip", "advanced"}
WIDGET = COMMON | {"default", "force_input", "socketless"}
INPUTS = {
    "IMAGE": COMMON,
    "MASK": COMMON,
    "BOOLEAN": WIDGET | {"label_on", "label_off"},
    "COMBO": WIDGET | {"options"},
    "FLOAT": WIDGET | {"min", "max", "step", "round", "display_mode"},
    "INT": WIDGET | {"min", "max", "step", "control_after_generate", "display_mode"},
    "STRING": WIDGET | {"multiline", "placeholder", "dynamic_prompts"},
}
SCHEMA = {"node_id", "display_name", "category", "description", "inputs", "outputs"}
SCHEMA |= {"is_output_node"}


class Cancelled(BaseException):
    """What ComfyUI raises in a cancelled node; no `Exception` there either."""


def _value(allowed):
    def make(name, **words):
        assert words.keys() <= allowed, f"{name}: ComfyUI knows no {words.keys() - allowed}"
        return SimpleNamespace(id=name, **words)

    return make


def _type(name):
    def of(make):
        def typed(*args, **words):
            made = make(*args, **words)
            made.io_type = name
            return made

        return typed

    output = of(_value({"display_name", "tooltip", "is_output_list"}))
    return SimpleNamespace(Input=of(_value(INPUTS.get(name, COMMON))), Output=output)


def _schema(**words):
    assert words.keys() <= SCHEMA, f"ComfyUI knows no {words.keys() - SCHEMA}"
    return SimpleNamespace(**words)


class NodeOutput:
    def __init__(self, *args, ui=None):
        self.args, self.ui = args, ui


class ProgressBar:
    def __init__(self, total):
        self.total, self.current, self.previews = total, 0, []

    def update_absolute(self, value, *, preview=None):
        self.current = value
        if preview is not None:
            kind, picture, _ = preview
            assert kind in {"JPEG", "PNG"}
            self.previews.append(picture)

    def update(self, value):
        self.update_absolute(self.current + value)


def load_nodes(folder, monkeypatch):
    """Return our nodes as ComfyUI loads them, its folders below `folder`, and its switches."""
    switches = SimpleNamespace(is_cancelled=lambda: False, bars=[])

    def progress_bar(total):
        switches.bars.append(ProgressBar(total))
        return switches.bars[-1]

    def stop_if_cancelled():
        if switches.is_cancelled():
            raise Cancelled

    def save_path(prefix, output):
        path = (folder / output / prefix).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path.parent), path.name, 1, "", prefix

    types = {entry.title(): _type(entry) for entry in INPUTS}
    io = SimpleNamespace(
        **types, Custom=_type, Schema=_schema, NodeOutput=NodeOutput, ComfyNode=object, Input=object
    )
    ui = SimpleNamespace(PreviewImage=lambda image, **_: image, PreviewText=lambda value: value)
    modules = {
        "comfy": {},
        "comfy.utils": {"ProgressBar": progress_bar},
        "comfy.model_management": {
            "throw_exception_if_processing_interrupted": stop_if_cancelled,
            "get_torch_device": lambda: SimpleNamespace(type="cpu"),
        },
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ui": ui, "ComfyExtension": object},
        "folder_paths": {
            "get_input_directory": lambda: str(folder / "input"),
            "get_output_directory": lambda: str(folder / "output"),
            "get_annotated_filepath": lambda name: str(folder / "input" / name),
            "get_save_image_path": save_path,
        },
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    place = str(NODES / "__init__.py")
    spec = spec_from_file_location("dropped", place, submodule_search_locations=[str(NODES)])
    package = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, package)
    spec.loader.exec_module(package)
    del sys.modules[f"{spec.name}.nodes"]  # so that the next call loads it anew
    return package, switches


def as_image(picture):
    """Return a picture as nodes hand it on, (1, H, W, C) in [0, 1]."""
    return torch.from_numpy(np.array(picture, dtype=np.float32) / 255)[None]


def shape_of(schema):
    return {
        "required": {entry.id: entry.io_type for entry in schema.inputs if not is_optional(entry)},
        "optional": {entry.id: entry.io_type for entry in schema.inputs if is_optional(entry)},
        "outputs": [entry.io_type for entry in schema.outputs],
    }


def is_optional(one):
    return bool(getattr(one, "optional", False))
