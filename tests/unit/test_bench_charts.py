"""Pictures are of columns that the suites really have."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

import bench.peers
from bench import databases, measure
from bench.charts import CHARTS, Chart, panels_of
from bench.results import Result

ROWS = 600
# Of each suite with pictures, what makes its run a tiny one.
TINY: dict[str, dict[str, Any]] = {
    "ann": {"QUICK_ROWS": ROWS, "QUICK_ROUNDS": 1, "QUICK_SECONDS": 0.01},
    "codecs": {
        "REPRESENTATIONS": ("bits1", "bits2", "float16"),
        "FACTORIES": (),
        "STUDY_QUERIES": 5,
        "KEEP_PER_TEN": (10, 640),
        "QUICK_ROUNDS": 1,
        "SECONDS": 0.01,
    },
    "filters": {"ROUNDS": 1},
    "limits": {"QUICK_DIMS": (32, 384), "QUICK_SIZES": (ROWS // 2, ROWS)},
    "multivector": {"SYNTHETIC_DOCUMENTS": 60, "QUICK_QUERIES": 10, "QUICK_ROUNDS": 1},
    "scale": {"SIZES": (ROWS // 2, ROWS)},
    "serve": {"CALLERS": (1, 2), "ROUNDS": 1},
    "updates": {"QUICK_ROUNDS": 1},
}


def columns(chart: Chart) -> set[str]:
    """The columns that a picture needs."""
    wanted = {chart.x, *(name for name, _ in chart.y), *chart.series}
    return wanted | ({chart.each} if chart.each else set())


def tiny(suite: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A run of a suite over few synthetic rows, without peers but those in NumPy."""
    monkeypatch.setattr(bench.peers, "ADAPTERS", ("vecstore_local", "exact_maxsim"))
    monkeypatch.setattr(databases, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(databases, "QUICK_QUERIES", 20)
    module = importlib.import_module(f"bench.suites.{suite}")
    for name, value in TINY[suite].items():
        monkeypatch.setattr(module, name, value)
    peers = None if suite == "multivector" else ("vecstore",)
    settings = measure.Settings(
        data=None, rows=ROWS, calls=5, folder=folder, keep=folder / "keep", peers=peers, quick=True
    )
    tables = {table.name: table for table in module.tables(settings)}
    return Result(suite=suite, machine={}, tables=[*tables.values()])


def test_every_suite_with_pictures_is_run() -> None:
    """The tests below leave out no picture."""
    assert {chart.suite for chart in CHARTS} == set(TINY)


@pytest.mark.parametrize("suite", TINY)
def test_pictures_are_of_columns_that_are_there(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of each picture have its columns, with figures, and every series has a name."""
    result = tiny(suite, tmp_path, monkeypatch)
    for chart in (chart for chart in CHARTS if chart.suite == suite):
        drawn = [each for each in result.tables if re.fullmatch(chart.tables, each.name)]
        assert drawn, chart.file
        for table in drawn:
            lacking = columns(chart) - set(table.columns)
            assert not lacking, (chart.file, table.name)
        panels = list(panels_of(chart, result))
        assert {panel.y[0] for panel in panels} == {name for name, _ in chart.y}, chart.file
        if len(chart.series) == 1 and len(drawn) == 1 and not chart.each:
            rows = [row for row in drawn[0].rows if row.get(chart.x) is not None]
            named = {str(row[chart.series[0]]) for row in rows if row.get(chart.y[0][0])}
            assert set(panels[0].points) == named, chart.file
