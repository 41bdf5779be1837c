"""An option that a request declares is on every surface, with its help, type, range and default."""

from dataclasses import make_dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from swiftpie import EditRequest, EditSettings, PersonalizeRequest, Scales, Subject, options_of
from swiftpie.batch.rows import FIELDS
from swiftpie.cli import main
from swiftpie.cli.options import FieldOptions, with_fields
from swiftpie.config import Option, Surface, read_options
from swiftpie.errors import ConfigError
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.server.mcp import TOOLS
from swiftpie.server.schemas import AnimateIn, WithOptions, controls, with_options
from tests.comfyui.interface import load_nodes

HELP = "How dense the fog is."
FOG = ("fog", Annotated[float, Option(HELP, "SHARE", least=0, most=1)], 0.25)
CLASSES = [
    make_dataclass(base.__name__, [FOG], bases=(base,), frozen=True, kw_only=True)
    for base in (PersonalizeRequest, EditRequest, Subject, Scales, EditSettings)
]


@pytest.fixture(scope="module")
def inputs_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comfyui")
    (folder / "input").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        package, _ = load_nodes(folder, patch)
        yield package.comfy_entrypoint.__globals__["inputs_of"]


@pytest.mark.parametrize("source", CLASSES)
def test_every_surface_has_an_option_that_a_class_declares(source, inputs_of):
    received, app = {}, typer.Typer()

    @app.command()
    @with_fields
    def draw(*, request: Annotated[dict[str, Any], FieldOptions(source)]) -> None:
        received.update(request)

    (option,) = [param for param in get_command(app).params if param.name == "fog"]
    assert (option.opts, option.help, option.metavar) == (["--fog"], HELP, "SHARE")
    assert CliRunner().invoke(app, ["--fog", "0.5"]).exit_code == 0
    assert received == {"fog": 0.5}
    assert CliRunner().invoke(app, ["--fog", "2"]).exit_code == 2

    known = options_of(source, Surface.BATCH)
    assert read_options(known, {"fog": 0.5})["fog"] == 0.5
    assert read_options(known, {"fog": "0.5"}, is_text=True)["fog"] == 0.5
    with pytest.raises(ConfigError, match="fog"):
        read_options(known, {"fog": "thick"})

    @with_options(source, without=("prompt", "seed", "seeds", "size_px", "negative_prompt"))
    class Body(WithOptions):
        """A body."""

    schema = Body.model_json_schema()["properties"]["fog"]
    number = {"type": "number", "minimum": 0, "maximum": 1, "default": 0.25, "description": HELP}
    assert schema == {"title": "Fog", **number}
    assert controls(source)["fog"] == {"least": 0, "most": 1, "default": 0.25, "help": HELP}

    hints = {name: {"default": 0} for name in ("seed", "seeds") if name in options_of(source)}
    (found,) = [entry for entry in inputs_of(source, **hints) if entry.id == "fog"]
    assert (found.io_type, found.tooltip) == ("FLOAT", HELP)
    assert (found.min, found.max, found.default) == (0, 1, 0.25)


def test_every_option_of_an_animation_is_on_every_surface(inputs_of):
    known = options_of(AnimateRequest)
    animate = get_command(main.app).commands["animate"]
    typed = {param.name for param in animate.params}
    assert {name for name, field in known.items() if Surface.CLI in field.option.surfaces} <= (
        typed | {"prompt", "seeds"}
    )
    own = {
        name: field for name, field in known.items() if name not in options_of(PersonalizeRequest)
    }
    assert own.keys() <= AnimateIn.model_fields.keys()
    (tool,) = (tool for tool in TOOLS if tool.name == "animate")
    assert tool.arguments.model_fields["animate"].annotation is AnimateIn
    keys = {field.key for field in own.values()}
    assert keys <= {*FIELDS["animate"]}
    assert keys <= {each.id for each in inputs_of(AnimateRequest, seeds={"default": 0})}


def test_an_option_may_be_left_out_of_a_surface():
    surfaces = {surface: set(options_of(EditRequest, surface)) for surface in Surface}
    assert all({"source_prompt", "keyword"} <= names for names in surfaces.values())
    assert "negative_prompt" in surfaces[Surface.HTTP] - surfaces[Surface.COMFYUI]
