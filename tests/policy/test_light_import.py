import json
import os
import shutil

import pytest

from tests.policy.project import ROOT, SOURCE, python_files
from tests.processes import printed_by

HEAVY = [
    *("accelerate", "diffusers", "numpy", "scipy", "torch", "torch._dynamo", "transformers"),
    *("fastapi", "starlette"),  # of an extra
]

LOADED = """
import json, sys
{statement}
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""

# Libraries are loaded before the first look: what they do at import is not ours to judge.
EFFECTS = """
import importlib, io, json, logging, os, random, sys, threading, warnings
sys.stderr = io.StringIO()  # before libraries send their warnings to it
import accelerate, diffusers, numpy, rich.console, torch, transformers, typer
from transformers import CLIPTextModel
def look():
    return {
        "files": sorted(os.listdir()),
        "warnings": sys.stderr.getvalue(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": threading.active_count(),
        "torch random state": torch.random.get_rng_state().sum().item(),
        "numpy random state": str(numpy.random.get_state()),
        "random state": hash(random.getstate()),
        "default type": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "fast matrices": torch.backends.cuda.matmul.allow_tf32,
        "torch threads": torch.get_num_threads(),
        "log handlers": len(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "warning filters": len(warnings.filters),
    }
before = look()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
after = look()
print(json.dumps({key: [before[key], after[key]] for key in after if before[key] != after[key]}))
"""


def run_python(code, *arguments, folder):
    source = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return json.loads(printed_by(code, *arguments, cwd=folder, env=os.environ | source))


def loaded_by(statement, folder):
    return run_python(LOADED.format(statement=statement, heavy=HEAVY), folder=folder)


@pytest.mark.parametrize(
    "statement",
    [
        "import swiftpie",
        "import swiftpie.cli.main",
        "import swiftpie.config, swiftpie.registry, swiftpie.errors",
        "from swiftpie.engine.transforms import TRANSFORMS; TRANSFORMS.all()",
    ],
)
def test_light_modules_load_no_tensor_library(statement, tmp_path):
    assert loaded_by(statement, tmp_path) == []


DRAWING = """
import swiftpie
session = swiftpie.load("mini")
identity = session.encode_identity({photo!r})
session.personalize(identity, "a dog on a beach", seed=1)
session.edit({photo!r}, "a dog in the snow", source_prompt="a dog on grass", seed=1)
"""


def test_mini_draws_and_edits_without_the_libraries_of_large_models(tmp_path):
    """Their imports take longer than the picture; so do those of compilers within PyTorch."""
    statement = DRAWING.format(photo=str(SOURCE / "assets" / "photos" / "dog.jpg"))
    assert loaded_by(statement, tmp_path) == ["numpy", "torch"]


def test_openvino_loads_them_for_networks_of_theirs_alone(tmp_path):
    statement = 'import swiftpie; swiftpie.load("mini", engine="openvino")'
    assert loaded_by(statement, tmp_path) == ["numpy", "torch"]


OF_OTHERS = """
import json, sys
sys.path.insert(0, {root!r})
from tests.golden.networks import random_networks, reading_networks
from tests.parity.tiny import picture
shown, changed = picture(0), picture(1)
for session in (reading_networks(), random_networks("sd15"), random_networks("sdxl")):
    subject = session.encode_identity(shown)
    session.personalize(subject, "a dog on a beach", seed=1)
    session.edit(changed, "a dog in the snow", source_prompt="a dog on grass", seed=1)
    if session.components.family.takes_adapters:  # others insert by words
        session.insert(changed, subject, box=(0.2, 0.2, 0.8, 0.8), seed=1)
        session.personalize(subject, "a dog at dusk", scene="castle", seed=1)
print(json.dumps(sorted(name for name in sys.modules if name.startswith("swiftpie.mini"))))
"""


def test_other_models_draw_edit_and_insert_without_the_embedded_one(tmp_path):
    """No module of it is loaded but those that declare its names."""
    loaded = run_python(OF_OTHERS.format(root=str(ROOT)), folder=tmp_path)
    assert {*loaded} <= {"swiftpie.mini"}


def module_names():
    parts = (path.relative_to(SOURCE.parent).with_suffix("").parts for path in python_files(SOURCE))
    names = {".".join(part).removesuffix(".__init__") for part in parts}
    return sorted(name for name in names if not name.endswith("__main__"))


@pytest.mark.thorough
def test_no_module_does_work_at_import(tmp_path):
    names = module_names()
    assert "swiftpie.config" in names
    assert run_python(EFFECTS, json.dumps(names), folder=tmp_path) == {}


COMMAND = """
import contextlib, io
from swiftpie.cli.main import app
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    app({arguments!r})
"""


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["--version"], ["presets", "--json"], ["engine", "--json"]),
        ["fetch", "sdxl-turbo", "--dry-run"],
        ["batch", "jobs.jsonl", "-o", "out", "--check"],
        ["personalize", "dog.jpg", "a dog", "--recipe", "sdxl-turbo", "--offline", "-o", "x.png"],
        ["edit", "dog.jpg", "a cat", "--recipe", "sd-turbo", "--offline", "-o", "x.png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_small_answers_load_no_tensor_library(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copy(SOURCE / "assets" / "photos" / "dog.jpg", tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"subject": "dog.jpg", "prompt": "a dog at sea"}')
    assert {*loaded_by(COMMAND.format(arguments=arguments), tmp_path)} <= {"numpy"}
