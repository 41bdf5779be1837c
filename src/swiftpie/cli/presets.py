"""`swiftpie presets`: which models can be loaded and what each can do."""

from typing import Annotated

import typer

from swiftpie.backbones.preset import PRESETS, Preset
from swiftpie.cli.console import examples, print_json, write_table
from swiftpie.cli.options import AsJson

app = typer.Typer()
presets_app = typer.Typer(name="presets")
app.add_typer(presets_app)


@presets_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "swiftpie presets", "swiftpie presets show mini", "swiftpie presets show mini --json"
    ),
)
def presets(*, context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that can be loaded."""
    if context.invoked_subcommand is not None:
        return
    found = [_facts(preset) for preset in PRESETS.all().values()]
    if as_json:
        print_json(found)
        return
    write_table(
        [
            (str(one["name"]), str(one["licence"]), f"{one['image_size_px']} px", *_words(one))
            for one in found
        ],
        headings=("preset", "licence", "size", "can", "summary"),
    )


@presets_app.command(
    epilog=examples("swiftpie presets show mini", "swiftpie presets show mini --json")
)
def show(
    *,
    name: Annotated[str, typer.Argument(help="The preset.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Tell all about one preset."""
    facts = _facts(PRESETS.get(name))
    if as_json:
        print_json(facts)
    else:
        write_table([(key.replace("_", " "), _spell(value)) for key, value in facts.items()])


def _facts(preset: Preset) -> dict[str, object]:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "licence": preset.licence,
        "image_size_px": preset.image_size_px,
        "steps": len(preset.timesteps),
        "capabilities": sorted(capability.value for capability in preset.capabilities),
        "defaults": dict(preset.defaults),
        "source": preset.source,
    }


def _words(facts: dict[str, object]) -> tuple[str, str]:
    return _spell(facts["capabilities"]), str(facts["summary"])


def _spell(value: object) -> str:
    match value:
        case list():
            return ", ".join(str(item) for item in value)
        case dict():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case _:
            return str(value)
