"""The picture of recall against bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecstore.demo.labels import Box, place_labels
from vecstore.errors import MissingExtraError
from vecstore.types import Float64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"
# Name, colour, marker and its size, for each family.
FULL, PCA, PREFIX, CASCADE = (
    ("every dimension", "#2563eb", "o", 8),
    ("principal dimensions (pca)", "#047857", "s", 7),
    ("first dimensions (prefix)", "#b45309", "^", 8),
    ("default plan", "#dc2626", "*", 18),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A way to search: what it reads and what it finds."""

    label: str
    bytes_per_vector: float
    overlap: float
    recall: float


def plot(points: Sequence[Point], title: str, path: Path) -> Path:
    """Draw overlap and recall against bytes per vector, side by side, to a PNG file.

    Returns:
        `path`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError(
            "drawing needs matplotlib, which is not installed; "
            "install it with: pip install 'vecstore[demo]'"
        ) from None
    figure = Figure(figsize=(14, 6.6), dpi=150, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12, wspace=0.03)
    canvas: Any = FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.5, color=INK, fontsize=15, fontweight="bold")
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Axes, str, Callable[[Point], float]], ...] = (
        (left, "Overlap with the exact top 10", lambda point: point.overlap),
        (right, "Recall@10 of the true function", lambda point: point.recall),
    )
    labels = [(axes, _panel(axes, name, points, height)) for axes, name, height in panels]
    left.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=10.5, borderpad=1)
    canvas.draw()  # the places of labels depend on the sizes that this decides
    for axes, texts in labels:
        _spread(axes, texts)
    canvas.print_png(path)
    return path


def _panel(
    axes: Axes, title: str, points: Sequence[Point], height: Callable[[Point], float]
) -> list[Annotation]:
    """Draw one panel; its labels lie on their points yet."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    labels = []
    for family in (FULL, PCA, PREFIX, CASCADE):
        name, colour, marker, size = family
        members = [point for point in points if _family(point) is family]
        places = [(point.bytes_per_vector, height(point)) for point in members]
        axes.plot(
            *np.array(places).reshape(-1, 2).T,
            color=colour,
            marker=marker,
            markersize=size,
            markeredgecolor="white",
            linestyle="-" if family is FULL else "none",
            linewidth=1.5,
            label=name,
            zorder=4 if family is CASCADE else 3,
        )
        for point, place in zip(members, places, strict=True):
            label = axes.annotate(
                point.label,
                place,
                xytext=(0, 0),
                textcoords="offset pixels",
                color=colour,
                fontsize=10.5,
                fontweight="bold" if family is CASCADE else "normal",
            )
            label.set_in_layout(False)
            labels.append(label)
    axes.set_title(title, loc="left", color=INK, fontsize=12.5, pad=10)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bytes read per vector", color=INK, fontsize=11, labelpad=8)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, labelsize=10.5)
    axes.margins(x=0.12, y=0.12)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return labels


def _family(point: Point) -> tuple[str, str, str, int]:
    if point.label == CASCADE[0]:
        return CASCADE
    transform = point.label.partition("/")[0]
    return PCA if transform.startswith("pca") else PREFIX if "/" in point.label else FULL


def _spread(axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move each label beside its point, where it covers nothing."""
    points = axes.transData.transform([label.xy for label in labels])
    boxes = [label.get_window_extent() for label in labels]
    sizes = [(box.width, box.height) for box in boxes]
    legend = axes.get_legend()
    taken: list[Box] = []
    if legend is not None:
        frame = legend.get_window_extent()
        taken.append((frame.x0, frame.y0, frame.x1, frame.y1))
    for line in axes.lines:
        if line.get_linestyle() == "-":
            taken += [(x - 2, y - 2, x + 2, y + 2) for x, y in _along(axes, line.get_xydata())]
    offsets = place_labels(points, sizes, taken, frame=np.array(axes.bbox.extents))
    for label, offset in zip(labels, offsets, strict=True):
        label.set_position(offset)


def _along(axes: Axes, corners: Any) -> Float64:
    """Points on a line, in pixels, close enough together that no label fits between."""
    pixels = axes.transData.transform(corners)
    steps = np.arange(0, len(pixels) - 1 + 1e-9, 0.02)
    whole = np.arange(len(pixels))
    return np.stack([np.interp(steps, whole, pixels[:, axis]) for axis in (0, 1)], axis=1)
