"""The picture of recall against bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vecstore.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#22252b", "#6b7280", "#e5e7eb"
# Colour and marker of each family.
FULL, PCA, PREFIX, CASCADE = (
    ("every dimension", "#2563eb", "o"),
    ("principal dimensions (pca)", "#059669", "s"),
    ("first dimensions (prefix)", "#d97706", "^"),
    ("default plan", "#dc2626", "*"),
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
    figure = Figure(figsize=(13, 6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _panel(left, points, lambda point: point.overlap)
    _panel(right, points, lambda point: point.recall)
    left.set_title("Overlap with the exact top 10", loc="left", color=INK, fontsize=12)
    right.set_title("Recall@10 of the true function", loc="left", color=INK, fontsize=12)
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=14, fontweight="bold")
    left.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=9)
    figure.savefig(path)
    return path


def _panel(axes: Axes, points: Sequence[Point], height: Callable[[Point], float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    for family in (FULL, PCA, PREFIX, CASCADE):
        members = [point for point in points if _family(point) is family]
        label, colour, marker = family
        axes.plot(
            [point.bytes_per_vector for point in members],
            [height(point) for point in members],
            color=colour,
            marker=marker,
            markersize=15 if family is CASCADE else 7,
            linestyle="-" if family is FULL else "none",
            linewidth=1.2,
            label=label,
            zorder=4 if family is CASCADE else 3,
        )
        for point in members:
            axes.annotate(
                point.label,
                (point.bytes_per_vector, height(point)),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=8.5,
            )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bytes read per vector", color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.margins(x=0.09, y=0.09)


def _family(point: Point) -> tuple[str, str, str]:
    if point.label == CASCADE[0]:
        return CASCADE
    transform = point.label.partition("/")[0]
    return PCA if transform.startswith("pca") else PREFIX if "/" in point.label else FULL
