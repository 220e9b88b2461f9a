"""The suite of kernels runs, beside FAISS where it is installed, and says what was not measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import measure
from bench.suites import kernels


def settings(folder: Path) -> measure.Settings:
    """The smallest run, without real embeddings."""
    return measure.Settings(data=None, rows=600, calls=2, folder=folder)


def test_kernels_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels measures every representation, and without faiss says that a bar is not measured."""
    monkeypatch.setattr(kernels, "READ_BYTES", 1 << 16)
    monkeypatch.setattr(kernels, "SAMPLE_ROWS", 256)
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = {table.name: table for table in kernels.tables(settings(tmp_path))}
    assert list(found) == ["scan", "score", "encode", "kernels-bars"]
    for name in ("scan", "score"):
        assert [row["representation"] for row in found[name].rows] == list(kernels.SPECS)
    first, *others = found["kernels-bars"].rows
    assert (first["figure"], first["met"]) == (None, "not measured")
    barred = [*kernels.RESCORED]
    assert [row["bar"].partition(":")[0] for row in others] == barred
    assert "no faiss to compare with" in capsys.readouterr().out


def test_the_fastest_of_faiss_counts() -> None:
    """A round's ratio is to its fastest rival, and the spread and the rates are over rounds."""
    spent = np.array([[1.0, 2.0, 3.0, 2.0], [2.0, 2.0, 4.0, 9.0], [1.0, 4.0, 4.0, 5.0]])
    row = kernels._versus_row(["SQ4", "SQ8"], spent, 3_000_000)
    assert (row["ms"], row["faiss"], row["faiss ms"]) == (1, "SQ4", 4)
    assert (row["least"], row["x faiss"], row["most"]) == (2, 2, 4)
    assert (row["GB/s"], row["read GB/s"]) == (3, kernels.READ_BYTES / 2e6)


def test_faiss_comparison_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where faiss is installed, one query and many are compared on one thread and on all."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(kernels, "READ_BYTES", 1 << 16)
    monkeypatch.setattr(kernels, "SAMPLE_ROWS", 256)
    workers = kernels.Workers(2)
    many = kernels.QUERIES
    for spec, names in kernels.RIVALS.items():
        filled = kernels._filled(spec, 600)
        rows = kernels._versus(spec, filled, workers, settings(tmp_path))
        expected = [(1, 1), (1, 2), (many, 1), (many, 2)]
        assert [(row["queries"], row["threads"]) for row in rows] == expected
        assert all(row["least"] <= row["x faiss"] <= row["most"] for row in rows)
        assert all(row["faiss"] in names for row in rows)
        wanted = [kernels._faiss_bar("600", row)["wanted"] for row in rows]
        single = ">= 2.0" if spec == "bits1" else ">= 1.0"
        assert wanted == [single, single, ">= 1.0", ">= 1.0"]
    assert kernels._versus("bits2", filled, workers, settings(tmp_path)) == []
    workers.close()
