"""Which figures are drawn, and the points that they give: what bench.plots draws."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bench.measure import Interval
from bench.peers import OURS
from bench.results import Result

Scale: TypeAlias = Literal["linear", "zero", "log", "bytes", "recall", "category"]
Points: TypeAlias = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture: a panel for each table, value of a column, and column that is drawn upwards.

    Attributes:
        file: its name.
        suite: whose tables.
        tables: pattern of their names.
        title: what it shows.
        x: column.
        y: columns, of one panel each, with their scales.
        series: columns that together name a line or a point; without, they are of vecstore.
        each: column with panels of their own for each of its values; "" for none.
        scale: of x. "zero" is linear and begins there; "bytes" has powers of two.
        how: "frontier": of each series, the points that no other beats in both; "line": all, by x;
            "points": the highest of each series, with its name beside it.
    """

    file: str
    suite: str
    tables: str
    title: str
    x: str
    y: tuple[tuple[str, Scale], ...]
    series: tuple[str, ...] = ("peer",)
    each: str = ""
    scale: Scale = "linear"
    how: Literal["frontier", "line", "points"] = "line"


CHARTS = (
    Chart(
        file="ann-recall-qps.png",
        suite="ann",
        tables=r"ann-.*-curve",
        title="Queries a second against recall@10, batches, two threads; up and right is better",
        x="recall",
        y=(("q/s", "log"),),
        scale="recall",
        how="frontier",
    ),
    Chart(
        file="ann-recall-bytes.png",
        suite="ann",
        tables=r"ann-.*-curve",
        title="The best recall@10 against bytes a vector; up and left is better",
        x="disk B/vector",
        y=(("recall", "recall"),),
        scale="bytes",
        how="points",
    ),
    Chart(
        file="ann-bytes-qps.png",
        suite="ann",
        tables=r"ann-.*-95",
        title="Queries a second at recall 0.95 against bytes a vector; up and left is better",
        x="disk B/vector",
        y=(("q/s 1 thread", "log"),),
        scale="bytes",
        how="points",
    ),
    Chart(
        file="codecs-overlap-bytes.png",
        suite="codecs",
        tables=r"codecs",
        title="Overlap with the exact top 10 against bytes a vector, codes alone",
        x="bytes",
        y=(("overlap@10", "recall"),),
        series=("codec",),
        each="set",
        scale="bytes",
        how="points",
    ),
    Chart(
        file="limits.png",
        suite="limits",
        tables=r"limits-curve",
        title="Known items among the first 10, and recall of these, against corpus size",
        x="rows",
        y=(("recall@10 of known items", "linear"), ("recall", "recall")),
        series=("peer", "dimensions"),
        scale="log",
    ),
    Chart(
        file="multivector-recall-qps.png",
        suite="multivector",
        tables=r"multivector-(?!bars).*",
        title="Queries a second against overlap with exact MaxSim; up and right is better",
        x="recall",
        y=(("q/s 2 threads", "log"),),
        scale="recall",
        how="frontier",
    ),
    Chart(
        file="multivector-bytes.png",
        suite="multivector",
        tables=r"multivector-(?!bars).*",
        title="nDCG@10 against bytes a document; up and left is better",
        x="disk B/document",
        y=(("nDCG@10", "linear"),),
        scale="bytes",
        how="points",
    ),
    Chart(
        file="serve.png",
        suite="serve",
        tables=r"serve-callers",
        title="Queries a second against concurrent callers",
        x="callers",
        y=(("embedded q/s", "zero"), ("gRPC q/s", "zero")),
        series=(),
    ),
    Chart(
        file="scale.png",
        suite="scale",
        tables=r"scale",
        title="Cost against the number of rows",
        x="rows",
        y=(("p50 ms", "log"), ("build rows/s", "log"), ("disk B/vector", "zero")),
        scale="log",
    ),
    Chart(
        file="scale-disk.png",
        suite="scale",
        tables=r"scale-disk",
        title="Opened from the disk: cost against the number of rows",
        x="rows",
        y=(("p50 ms, warm", "log"), ("p50 ms, cold", "log"), ("open ms", "log")),
        scale="log",
    ),
    Chart(
        file="filters.png",
        suite="filters",
        tables=r"filters-(even|place)",
        title="Recall and time against the share of rows that a filter allows",
        x="allowed",
        y=(("recall", "recall"), ("p50 ms", "log")),
        scale="category",
    ),
    Chart(
        file="updates.png",
        suite="updates",
        tables=r"updates",
        title="Round after round of overwriting and deleting",
        x="state",
        y=(("recall", "recall"), ("p50 ms", "log"), ("disk B/vector", "log")),
        scale="category",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one panel shows.

    Attributes:
        title: of its table.
        y: the column drawn upwards, and its scale.
        points: of each series, in the order in which they are joined.
        ticks: names of the places 0, 1, ... where x is a category.
    """

    title: str
    y: tuple[str, Scale]
    points: Points
    ticks: Sequence[str]


def panels_of(chart: Chart, result: Result) -> Iterator[Panel]:
    """The panels that have points."""
    for table in result.tables:
        if not re.fullmatch(chart.tables, table.name):
            continue
        ticks: list[str] = []
        if chart.scale == "category":
            known = (row.get(chart.x) for row in table.rows)
            ticks = list(dict.fromkeys(value for value in known if isinstance(value, str)))
        for value in dict.fromkeys(row.get(chart.each) for row in table.rows):
            rows = [row for row in table.rows if row.get(chart.each) == value]
            title = f"{value}: {table.title}" if chart.each else table.title
            for y in chart.y:
                points = _points(chart, y[0], rows, ticks)
                if points:
                    yield Panel(title=title, y=y, points=points, ticks=ticks)


def _points(
    chart: Chart, upwards: str, rows: Sequence[Mapping[str, Any]], ticks: Sequence[str]
) -> Points:
    found: Points = {}
    for row in rows:
        if ticks:
            tick = row.get(chart.x)
            x = None if tick is None else float(ticks.index(tick))
        else:
            x = _figure(row, chart.x)
        y = _figure(row, upwards)
        if x is not None and y is not None:
            name = " ".join(str(row[column]) for column in chart.series if row.get(column))
            found.setdefault(name or OURS, []).append((x, y))
    if chart.how == "frontier":
        return {name: frontier(places) for name, places in found.items()}
    if chart.how == "points":
        return {name: [max(places, key=lambda at: at[1])] for name, places in found.items()}
    return {name: sorted(places) for name, places in found.items()}


def _figure(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None:
        return None
    return float(value.mean if isinstance(value, Interval) else value)


def frontier(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points to the right of which there is none as high, from left to right."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(places, reverse=True):
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return kept[::-1]
