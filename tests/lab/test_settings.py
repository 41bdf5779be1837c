import json
import re
import tomllib
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from swiftpie.config import decode
from swiftpie.errors import ConfigError
from swiftpie_lab.cli.train import override

TABLES = tomllib.loads(Path(__file__).with_name("settings.toml").read_text(encoding="utf-8"))


class Kind(StrEnum):
    FAST = "fast-one"
    SLOW = "slow-one"


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int | None = None


@dataclass(frozen=True)
class Settings:
    steps: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    name: str = "run"
    folder: Path = Path("runs")
    kind: Kind = Kind.FAST
    precision: Literal["fp32", "bf16"] = "fp32"
    is_verbose: bool = False
    sizes: tuple[int, ...] = (64,)


BASE = Settings(steps=10)


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("steps=1_000", "steps", 1000),
        ("optimizer.learning_rate=2", "optimizer.learning_rate", 2.0),
        ("optimizer.betas=0.1, 0.2", "optimizer.betas", (0.1, 0.2)),
        ("optimizer.warmup=5", "optimizer.warmup", 5),
        ("optimizer.warmup=none", "optimizer.warmup", None),
        ("name=a=b", "name", "a=b"),
        ("name=", "name", ""),
        ("folder=x/y", "folder", Path("x/y")),
        ("kind=slow-one", "kind", Kind.SLOW),
        ("kind=SLOW", "kind", Kind.SLOW),
        ("precision=bf16", "precision", "bf16"),
        ("is_verbose=True", "is_verbose", True),
        ("sizes=1,2,3", "sizes", (1, 2, 3)),
        ("sizes=", "sizes", ()),
    ],
)
def test_override_reads_a_value_as_the_annotation_says(assignment, path, value):
    found = override(BASE, [assignment])
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_override_changes_nothing_else_and_leaves_the_original_alone():
    before = asdict(BASE)
    changed = override(BASE, ["optimizer.warmup=5"])
    assert changed.optimizer.betas == BASE.optimizer.betas
    assert override(changed, ["optimizer.warmup=none"]) == BASE
    assert asdict(BASE) == before


@pytest.mark.parametrize(
    ("assignment", "parts"), TABLES["a_bad_override_names_path_value_and_wanted_type"]
)
def test_a_bad_override_names_path_value_and_wanted_type(assignment, parts):
    with pytest.raises(ConfigError) as caught:
        override(BASE, [assignment])
    assert [part for part in parts if part not in str(caught.value)] == []


def test_absent_json_fields_take_their_defaults():
    assert decode({"steps": 10}, Settings, "Settings") == BASE
    whole = {**asdict(BASE), "folder": "runs", "sizes": [64]}
    whole["optimizer"]["betas"] = [0.9, 0.99]
    assert decode(json.loads(json.dumps(whole)), Settings, "Settings") == BASE


@pytest.mark.parametrize(("text", "message"), TABLES["bad_json_is_refused_with_the_reason"])
def test_bad_json_is_refused_with_the_reason(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        decode(json.loads(text), Settings, "Settings")
