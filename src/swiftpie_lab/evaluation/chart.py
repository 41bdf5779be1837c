"""Speed and quality of several evaluations in one chart, with their intervals."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swiftpie.errors import InputError, MissingExtra
from swiftpie_lab.evaluation.compare import FinishedRun
from swiftpie_lab.evaluation.report import FORMATS, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIME = "time"
PANEL_INCHES, HEIGHT_INCHES, DPI = 4.2, 4.4, 120
MARKERS = "osD^vP*X"


def draw_chart(runs: Sequence[FinishedRun], *, time: str, figures: Sequence[str]) -> bytes:
    """Return a PNG with a panel a figure: `time` across, and a point with intervals a run.

    Runs of one name but other steps are joined by a line, and labelled by their steps.

    Raises:
        InputError: A run lacks one of the figures.
        MissingExtra: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise MissingExtra(
            "Charts need matplotlib. `pip install matplotlib` installs it, as does the extra "
            "'chart' of swiftpie-lab."
        ) from error
    width = PANEL_INCHES * len(figures)
    canvas = Canvas(figsize=(width, HEIGHT_INCHES), dpi=DPI, layout="constrained")
    panels = canvas.subplots(1, len(figures), squeeze=False)[0]
    for panel, name in zip(panels, figures, strict=True):
        _draw_panel(panel, runs, time=time, name=name)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", metadata={"Software": "SwiftPie"})
    return buffer.getvalue()


def _draw_panel(panel: "Axes", runs: Sequence[FinishedRun], *, time: str, name: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    series: dict[str, list[FinishedRun]] = {}
    for run in runs:
        series.setdefault(run.run.preset, []).append(run)
    across, up = figure_of(runs[0], time), figure_of(runs[0], name)
    for number, (label, some) in enumerate(series.items()):
        ordered = sorted(some, key=lambda run: run.run.num_steps)
        xs, ys = ([figure_of(run, one) for run in ordered] for one in (time, name))
        (line,) = panel.plot(
            [_shown(x).value for x in xs],
            [_shown(y).value for y in ys],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=1,
            label=_plain(label),
        )
        for run, x, y in zip(ordered, map(_shown, xs), map(_shown, ys), strict=True):
            panel.hlines(y.value, x.low, x.high, color=line.get_color(), linewidth=0.8)
            panel.vlines(x.value, y.low, y.high, color=line.get_color(), linewidth=0.8)
            place = (x.value, y.value)
            steps = str(run.run.num_steps)
            panel.annotate(steps, place, (4, 4), textcoords="offset points", fontsize=7)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(_plain(across.label))
    panel.set_title(_plain(up.label), fontsize=10)
    panel.grid(visible=True, which="both", linewidth=0.3)


def figure_of(run: FinishedRun, name: str) -> Figure:
    """Return a figure of a run.

    Raises:
        InputError: It has none of this name.
    """
    for one in run.figures:
        if one.name == name:
            return one
    known = ", ".join(sorted(one.name for one in run.figures))
    raise InputError(
        f"'{run.results.root}' has no figure {name!r}. It has {known}. Choose among those; times "
        "are measured by `swiftpie evaluate turns` and by evaluations of edits."
    )


def _shown(figure: Figure) -> Figure:
    """Return a figure as tables show it, shares times 100."""
    factor, _ = FORMATS.get(figure.unit, (1, 2))
    scaled = {name: factor * getattr(figure, name) for name in ("value", "low", "high")}
    return Figure(**{**vars(figure), **scaled})


def _plain(text: str) -> str:
    """Return a text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$").lstrip("_")
