"""Pictures: what fewer tokens cost, and where on a page a query matches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecstore.errors import DimensionError, MissingExtraError
from vecstore.multivector.report import ReportRow, TokenReport
from vecstore.types import Array, Float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GRID = "#1f2430", "#e5e7eb"
_COLOURS = ("#2563eb", "#047857", "#b45309", "#dc2626", "#7c3aed", "#0e7490", "#be185d", "#4d7c0f")


def draw_report(report: TokenReport, path: Path) -> Path:
    """Draw overlap, and nDCG@10 where it is known, against the share of tokens read, to a PNG file.

    A line for each policy, over its budgets.

    Returns:
        `path`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    judged = all(row.ndcg is not None for row in report.rows)
    figure = _figure((13 if judged else 6.5, 5))
    figure.suptitle(
        f"{report.tokens:,} tokens of {report.records:,} records, {report.queries:,} queries",
        color=_INK,
    )
    panels = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
    _panel(panels[0], "Overlap with the first 10 of all tokens", report, "overlap")
    if judged:
        _panel(panels[1], "nDCG@10", report, "ndcg")
    panels[0].legend(loc="lower right", frameon=False, labelcolor=_INK)
    return _saved(figure, path)


def draw_heat(image: Array, grid: tuple[int, int], scores: Float32, path: Path) -> Path:
    """Draw over a page what each of its patches scores, to a PNG file: red is most.

    Args:
        image: the page, [height, width] or [height, width, 3 or 4], uint8 or from 0 to 1.
        grid: patches from top to bottom, and from left to right.
        scores: [patches], row after row; see `matched_scores` and `token_scores` of
            vecstore.multivector.heat. Vectors of a page that are of no patch must be left out.

    Returns:
        `path`.

    Raises:
        DimensionError: there are more or fewer scores than patches.
        MissingExtraError: matplotlib is not installed.
    """
    if scores.shape != (grid[0] * grid[1],):
        raise DimensionError(
            f"scores have shape {scores.shape}, expected ({grid[0] * grid[1]},): one for each "
            f"patch of a grid of {grid[0]} x {grid[1]}"
        )
    height, width = image.shape[:2]
    figure = _figure((8 * width / height + 1, 8))
    axes = figure.subplots()
    page = (0, width, height, 0)
    axes.imshow(image, extent=page, cmap="gray")
    shown = axes.imshow(
        scores.reshape(grid), extent=page, cmap="turbo", alpha=0.45, interpolation="bilinear"
    )
    figure.colorbar(shown, ax=axes, label="score", fraction=0.05)
    axes.set_axis_off()
    return _saved(figure, path)


def _figure(size: tuple[float, float]) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError(
            "drawing needs matplotlib, which is not installed; "
            "install it with: pip install 'vecstore[demo]'"
        ) from None
    figure = Figure(figsize=size, dpi=150, facecolor="white")
    figure.set_layout_engine("constrained")
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(path)
    return path


def _panel(axes: Axes, title: str, report: TokenReport, value: str) -> None:
    lines: dict[str, list[ReportRow]] = {}
    for row in report.rows:
        name = " + ".join(filter(None, (row.pruning, row.pooling))) or "all tokens"
        lines.setdefault(name, []).append(row)
    for number, (name, rows) in enumerate(lines.items()):
        points = sorted((row.kept, getattr(row, value)) for row in rows)
        axes.plot(
            *np.array(points).T,
            color=_COLOURS[number % len(_COLOURS)],
            marker="o",
            label=name,
        )
    axes.set_title(title, loc="left", color=_INK)
    axes.set_xlabel("share of tokens read", color=_INK)
    axes.set_xlim(0, 1.03)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
