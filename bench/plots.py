"""Pictures of results: `python -m bench.plots FOLDER [--out DIR]` draws them again.

bench.charts says which columns of which tables are drawn. vecstore is red, thick and on top; every
series has a marker and a stroke of its own, so that none is told by colour alone.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.charts import CHARTS, Chart, Panel, Scale, panels_of
from bench.peers import OURS
from bench.results import Result, read_all
from vecstore.demo.labels import Box, place_labels
from vecstore.types import Float64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, RED = "#1f2430", "#6b7280", "#e5e7eb", "#dc2626"
COLOURS = ("#2563eb", "#047857", "#b45309", "#7c3aed", "#0e7490", "#be185d", "#4d7c0f", "#475569")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "8")
STROKES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
OUR_MARKERS = ("*", "s", "d", "^", "o", "P", "v", "X", "h")
PANEL, LEGEND, HEIGHT = 6.6, 3.0, 5.2  # inches
ACROSS = 2  # panels beside each other
LEGEND_ROWS = 24
TITLE_WIDTH, TITLE_WIDTH_PER_INCH = 75, 9
DPI = 110
LOG_SPAN_MIN = 4.0  # figures closer together are drawn on a linear scale
# A recall is drawn at -log10(1 - recall), so that the last per cent have room.
RECALL_MAX, RECALL_EDGE = 0.9999, 0.99993
RECALL_LOW = 0.9  # at most this at the lower end
RECALL_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, RECALL_MAX)


class NoMatplotlibError(Exception):
    """Drawing needs a library that is not there."""


def draw(result: Result, folder: Path) -> Iterator[Path]:
    """Draw every picture of a suite that its tables have figures for.

    Raises:
        NoMatplotlibError: matplotlib is not installed.
    """
    for chart in CHARTS:
        panels = list(panels_of(chart, result)) if chart.suite == result.suite else []
        if panels:
            yield _draw(chart, panels, folder / chart.file)


def _draw(chart: Chart, panels: Sequence[Panel], path: Path) -> Path:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NoMatplotlibError(f"{error}; pip install 'vecstore[demo]'") from None
    names = sorted({name for panel in panels for name in panel.points}, key=_rank)
    styles = _styles(names)
    across = min(len(panels), len(chart.y) if len(chart.y) > 1 else ACROSS)
    down = -(-len(panels) // across)
    legend = chart.how != "points" and len(names) > 1
    columns = -(-len(names) // (LEGEND_ROWS * down))
    size = (PANEL * across + LEGEND * columns * legend, HEIGHT * down)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    title = textwrap.fill(chart.title, round(TITLE_WIDTH_PER_INCH * size[0]))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    grid = figure.subplots(down, across, squeeze=False).flatten()
    for empty in grid[len(panels) :]:
        empty.set_visible(False)
    drawn = list(zip(grid, panels, strict=False))
    for place, (axes, panel) in enumerate(drawn):
        first = place == 0 or panel.title != panels[place - 1].title
        _axes(axes, chart, panel, panel.title if first else "")
        for name in sorted(panel.points, key=_rank, reverse=True):  # ours last, on top
            x, y = np.array(panel.points[name]).T
            clipped = (_clipped(x, chart.scale), _clipped(y, panel.y[1]))
            axes.plot(*clipped, label=name, **styles[name])
    if legend:
        _legend(figure, grid, names, columns)
    if chart.how == "points":
        figure.canvas.draw()  # the places of labels depend on the sizes that this decides
        for axes, panel in drawn:
            _label(axes, styles, list(panel.points))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(path)
    return path


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)


def _rank(name: str) -> tuple[bool, list[object]]:
    """Ours first; numbers in a name by their size."""
    parts = re.split(r"(\d+)", name)
    return not _is_ours(name), [int(part) if part.isdigit() else part for part in parts]


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    ours = [name for name in names if _is_ours(name)]
    others = [name for name in names if not _is_ours(name)]
    styles: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(ours):
        styles[name] = {
            "color": RED,
            "marker": OUR_MARKERS[place % len(OUR_MARKERS)],
            "markersize": 14 if place == 0 else 9,
            "linestyle": STROKES[place % len(STROKES)],
            "linewidth": 3.0,
            "zorder": 5,
        }
    for place, name in enumerate(others):
        styles[name] = {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 6,
            "linestyle": STROKES[place // len(COLOURS) % len(STROKES)],
            "linewidth": 1.3,
            "zorder": 3,
        }
    for style in styles.values():
        style["markeredgecolor"] = "white"
    return styles


def _axes(axes: Axes, chart: Chart, panel: Panel, title: str) -> None:
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), loc="left", color=INK, fontsize=9.5)
    places = np.array([place for places in panel.points.values() for place in places])
    _scale(axes, "x", chart.scale, places[:, 0], panel.ticks)
    _scale(axes, "y", panel.y[1], places[:, 1], ())
    axes.set_xlabel(chart.x, color=INK)
    axes.set_ylabel(panel.y[0], color=INK)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _scale(axes: Axes, axis: str, scale: Scale, values: Float64, ticks: Sequence[str]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    own: Any = getattr(axes, f"{axis}axis")
    set_scale = getattr(axes, f"set_{axis}scale")
    if scale == "category":
        own.set_ticks(range(len(ticks)), ticks)
        return
    if scale == "recall":
        set_scale("function", functions=(_stretch, lambda value: 1 - 10.0**-value))
        high = RECALL_EDGE if values.max() > 0.999 else 1 - (1 - values.max()) / 1.5
        getattr(axes, f"set_{axis}lim")(min(values.min() * 0.98, RECALL_LOW), high)
        own.set_major_locator(FixedLocator(RECALL_TICKS))
        own.set_major_formatter(FuncFormatter(_recall_text))
        return
    if scale == "zero":
        getattr(axes, f"set_{axis}lim")(0, 1.05 * values.max() or 1)
    elif scale != "linear" and values.min() > 0 and values.max() >= LOG_SPAN_MIN * values.min():
        base = 2 if scale == "bytes" else 10
        set_scale("log", base=base)
        decades = np.log10(values.max() / values.min())
        subs = (1.0, 2.0, 5.0) if base == 10 and decades < 4 else (1.0,)
        own.set_major_locator(LogLocator(base=base, subs=subs))
        own.set_minor_locator(NullLocator())
    own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _stretch(value: Any) -> Any:
    return -np.log10(1 - np.clip(value, 0, RECALL_EDGE))


def _recall_text(value: float, _: int | None) -> str:
    return f"{value:g}" if value < RECALL_MAX else f"{RECALL_MAX:g} +"


def _clipped(values: Any, scale: Scale) -> Any:
    return np.clip(values, 0, RECALL_MAX) if scale == "recall" else values


def _legend(figure: Figure, grid: Any, names: Sequence[str], columns: int) -> None:
    handles: dict[str, Any] = {}
    for axes in grid:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    legend = figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside right center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=4,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        if _is_ours(text.get_text()):
            text.set_fontweight("bold")


def _label(axes: Axes, styles: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    """Write the name of each point beside it, where it covers nothing."""
    lines = {str(line.get_label()): line for line in axes.lines}
    labels = [
        axes.annotate(
            name,
            tuple(lines[name].get_xydata()[0]),
            xytext=(0, 0),
            textcoords="offset pixels",
            color=styles[name]["color"],
            fontsize=8,
            fontweight="bold" if _is_ours(name) else "normal",
        )
        for name in sorted(names, key=_rank)
    ]
    sizes = [(box.width, box.height) for box in (label.get_window_extent() for label in labels)]
    points = axes.transData.transform([label.xy for label in labels])
    taken: list[Box] = []
    offsets = place_labels(points, sizes, taken, frame=np.array(axes.bbox.extents))
    for label, offset in zip(labels, offsets, strict=True):
        label.set_position(offset)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pictures of a folder of results again; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="folder of results")
    parser.add_argument("--out", type=Path, help="folder for the pictures; the same")
    asked = parser.parse_args(arguments)
    found = (draw(result, asked.out or asked.folder) for result in read_all(asked.folder).values())
    for path in itertools.chain.from_iterable(found):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
