"""The benchmarks run, and what they work out is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import data, measure, run
from bench.run import main, with_figures
from bench.suites import engine, kernels, quality, serve


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
    assert [row["bar"].partition(":")[0] for row in others] == list(kernels.RESCORED)
    assert "no faiss to compare with" in capsys.readouterr().out


def test_faiss_is_given_its_best_threads() -> None:
    """A round's ratio is that to the faster of the rival's runs, and the spread is over rounds."""
    spent = np.array([[1.0, 3.0, 2.0], [2.0, 4.0, 9.0], [1.0, 4.0, 5.0]])
    row = kernels._faiss_row(2, 1, spent)
    assert (row["bits1 ms"], row["faiss ms"]) == (1, 4)
    assert (row["least"], row["x faiss"], row["most"]) == (2, 2, 4)


def test_faiss_comparison_runs(tmp_path: Path) -> None:
    """Where faiss is installed, one query is compared on one thread and on all, then many."""
    pytest.importorskip("faiss")
    workers = kernels.Workers(2)
    rows = kernels._faiss(kernels._filled("bits1", 600), workers, settings(tmp_path))
    workers.close()
    expected = [(1, 1), (2, 1), (2, kernels.QUERIES)]
    assert [(row["threads"], row["queries"]) for row in rows] == expected
    assert all(row["least"] <= row["x faiss"] <= row["most"] for row in rows)


def test_quality_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quality gives a row for each representation and each case of the study."""
    monkeypatch.setattr(quality, "SYNTHETIC_QUERIES", 5)
    found = {table.name: table for table in quality.tables(settings(tmp_path))}
    assert list(found) == ["quality", "ladder", "ladder-study", "quality-bars"]
    assert [row["representation"] for row in found["quality"].rows][1:-1] == list(
        quality.REPRESENTATIONS
    )
    float32 = found["quality"].rows[-2]
    assert float32["overlap@10"] == measure.Interval(1.0, 1.0, 1.0)
    assert float32["scan reads 1/"] == 1
    cases = len(quality.COARSE) * len(quality.LIMITS) * len(quality.KEEP_PER_TEN)
    assert len(found["ladder-study"].rows) == cases
    for row in found["ladder-study"].rows:
        assert row["rescored"] <= row["rescored, all"] == min(row["keep"], 600)


def test_engine_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine suite gives every table, and finds the kernels that a search calls."""
    monkeypatch.setattr(engine, "PROCESSES", 1)
    monkeypatch.setattr(engine, "BATCH_QUERIES", (1, 4))
    found = {table.name: table for table in engine.tables(settings(tmp_path))}
    names = ["upsert", "open", "import", "overhead", "search", "filter", "engine-bars"]
    assert list(found) == names
    assert [row["rows"] for row in found["search"].rows] == [600, 600]
    for row in found["overhead"].rows:
        assert "scan" in row["of which"]
        assert row["kernels us"] > 0
    assert [row["rows allowed"] for row in found["filter"].rows] == [600, 6, 60, 300]


def test_serve_runs(tmp_path: Path) -> None:
    """The serve suite compares an embedded reader with a server process."""
    pytest.importorskip("vecstore_server")
    found = {table.name: table for table in serve.tables(settings(tmp_path))}
    assert list(found) == ["serve-search", "serve-upsert", "serve-bars"]
    assert all(row["gRPC p50 ms"] > 0 for row in found["serve-search"].rows)


def test_run_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run prints the machine and every table, writes both as JSON, and takes known suites."""
    monkeypatch.setattr(
        quality, "tables", lambda _: iter([measure.Table("t", "Title", [{"a": "x", "b": 2_000}])])
    )
    main(["quality", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "cores" in printed
    assert "Title\n  a      b\n  x  2,000\n" in printed
    written = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert written["t"]["rows"] == [{"a": "x", "b": 2_000}]
    with pytest.raises(SystemExit):
        main(["fast"])
    assert {"cpu", "cores", "memory_gib", "python", "numpy", "commit"} <= set(written["machine"])


def test_run_gathers_bars_and_fills_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last table has the bars of all suites, and the page their tables in the marked places."""
    page = tmp_path / "README.md"
    page.write_text(run.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(run, "README", page)
    for module, met in ((quality, True), (serve, None)):
        name = module.__name__.rpartition(".")[2]
        bars = [measure.bar(f"{name} bar", None, ">= 2", met=met)]
        found = [measure.Table(f"{name}-bars", f"{name} now", bars)]
        monkeypatch.setattr(module, "tables", lambda _, found=found: iter(found))
    before = page.read_text(encoding="utf-8")
    for _ in range(2):
        main(["quality", "serve", "--data", str(tmp_path / "none"), "--readme"])
        last = capsys.readouterr().out.partition("All bars\n")[2].splitlines()
        assert [line.split()[0] for line in last if line] == ["suite", "quality", "serve"]
        assert last[1].endswith("yes")
        assert last[2].endswith("not measured")
    after = page.read_text(encoding="utf-8")
    assert (after.count("quality now"), after.count("serve now")) == (1, 1)
    for suite in run.SUITES:
        assert f"<!-- figures: python -m bench.run {suite} -->\n" in after
    for suite in ("quality", "serve"):
        before, after = (with_figures(text, suite, "") for text in (before, after))
    assert after == before


def test_judged_figures() -> None:
    """Overlap, recall and nDCG are those of a case worked out by hand."""
    found = [np.array([4, 7, 9])]
    assert quality.overlap(found, np.array([[7, 4, 1, 2]])).tolist() == [0.5]
    assert quality.recall(found, [{9: 1.0, 5: 1.0}]).tolist() == [0.5]
    # Grade 2 at rank 2, of grades 2 and 1 at best at ranks 1 and 2.
    expected = (2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert quality.ndcg(found, [{7: 2.0, 5: 1.0}]).tolist() == pytest.approx([expected])


def test_synthetic_rows_repeat_and_have_structure() -> None:
    """Synthetic rows are the same each time, of unit length, and lie near rows of their base."""
    source = data.synthetic(None)
    rows = source.rows(3, 200)
    assert (rows == data.synthetic(None).rows(3, 200)).all()
    assert not (rows == source.rows(4, 200)).all()
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.median((rows @ source.base.T).max(axis=1)) > 0.5


def test_real_sets_load(data: Path) -> None:
    """Real sets give unit vectors, and judgments that name rows; a set that is absent is None."""
    from bench.data import load

    found = load(data, "scifact")
    assert found is not None
    assert len(found.queries) == len(found.relevant) == 300
    assert sum(map(len, found.relevant)) == 339
    assert max(row for rows in found.relevant for row in rows) < len(found.vectors)
    assert load(data, "absent") is None


def test_recorded_kernels_give_the_same_calls(tmp_path: Path) -> None:
    """What was recorded of a search can be called again, and nothing stays patched."""
    rows = data.synthetic(None).rows(0, 100)
    with vs.open(tmp_path) as database:
        collection = database.create_collection("c", vs.Schema(vectors=[vs.Vector("v", data.DIM)]))
        collection.upsert(range(100), rows)
        collection.flush()
        flat = engine._kernels.flat
        with engine.recorded_kernels() as calls:
            hits = collection.search(rows[5])
        assert engine._kernels.flat is flat
    assert [name for name, _ in calls] == ["flat", "scan"]
    ((_, scores),) = calls[1][1]()  # type: ignore[misc]
    assert (scores == hits.scores).all()
