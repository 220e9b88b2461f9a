"""The benchmarks run, and what they work out is right."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import data, measure, results, run
from bench import peers as bench_peers
from bench.results import with_figures
from bench.run import main
from bench.suites import engine, quality, serve, storage


def settings(folder: Path) -> measure.Settings:
    """The smallest run, without real embeddings."""
    return measure.Settings(data=None, rows=600, calls=2, folder=folder)


def test_engine_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine suite gives every table, and finds the kernels that a search calls."""
    monkeypatch.setattr(engine, "PROCESSES", 1)
    monkeypatch.setattr(engine, "BATCH_QUERIES", (1, 4))
    found = {table.name: table for table in engine.tables(settings(tmp_path))}
    names = ["upsert", "open", "import", "overhead", "search", "filter", "engine-bars"]
    assert list(found) == names
    assert [row["rows"] for row in found["search"].rows] == [600, 600]
    for row in found["overhead"].rows:
        assert "cascade" in row["of which"]
        assert row["kernels us"] > 0
    assert [row["rows allowed"] for row in found["filter"].rows] == [600, 6, 60, 300]


def test_serve_runs(tmp_path: Path) -> None:
    """The serve suite compares an embedded reader with a server process."""
    pytest.importorskip("vecstore_server")
    found = {table.name: table for table in serve.tables(settings(tmp_path))}
    assert list(found) == ["serve-search", "serve-callers", "serve-upsert", "serve-bars"]
    assert all(row["gRPC p95 ms"] > 0 for row in found["serve-search"].rows)
    assert all(row["server RSS B/vector"] > 0 for row in found["serve-callers"].rows)


def test_reclaim_wants_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reader beside does not come up, or does not end well, nothing is measured."""
    monkeypatch.setattr(storage, "UPDATED", data.BATCH)
    monkeypatch.setattr(storage, "UPDATE_ROUNDS", 1)
    assert storage._reclaim(tmp_path / "well", settings(tmp_path))["x fresh"] > 0
    for code, said in (("raise SystemExit(3)", "''"), ("print('ready'); exit(3)", "ended with 3")):
        monkeypatch.setattr(storage, "READER", code)
        with pytest.raises(RuntimeError, match=f"the reader beside .*{said}"):
            storage._reclaim(tmp_path / said, settings(tmp_path))


def test_run_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run prints the machine and every table, writes both as JSON, and takes known suites."""
    monkeypatch.setattr(
        quality, "tables", lambda _: iter([measure.Table("t", "Title", [{"a": "x", "b": 2_000}])])
    )
    status = main(["quality", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert status == 0
    printed = capsys.readouterr().out
    assert "cores" in printed
    assert "Title\n  a      b\n  x  2,000\n" in printed
    written = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert written["t"]["rows"] == [{"a": "x", "b": 2_000}]
    assert (written["run"]["suite"], written["run"]["error"]) == ("quality", "")
    with pytest.raises(SystemExit):
        main(["fast"])
    assert {"cpu", "cores", "memory_gib", "python", "numpy", "commit"} <= set(written["machine"])


def test_run_goes_on_after_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that fails leaves its tables and the error, the next one runs, the status tells."""

    def failing(_: measure.Settings) -> Iterator[measure.Table]:
        yield measure.Table("first", "First", [{"a": 1}])
        raise ValueError("no luck\nat all")

    monkeypatch.setattr(quality, "tables", failing)
    monkeypatch.setattr(serve, "tables", lambda _: iter([measure.Table("s", "Served", [])]))
    assert main(["quality", "serve", "--out", str(tmp_path)]) == 1
    found = results.read_all(tmp_path)
    assert found["quality"].error == "ValueError: no luck"
    assert [table.name for table in found["quality"].tables] == ["first"]
    assert [table.name for table in found["serve"].tables] == ["s"]
    assert "quality ended early: ValueError: no luck" in capsys.readouterr().out


def test_interrupted_run_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the run, and the tables that were there by then are in the results."""

    def stopped(_: measure.Settings) -> Iterator[measure.Table]:
        yield measure.Table("first", "First", [{"a": 1}])
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "tables", stopped)
    monkeypatch.setattr(serve, "tables", lambda _: pytest.fail("the run went on"))
    assert main(["quality", "serve", "--out", str(tmp_path)]) == run.INTERRUPTED
    (found,) = results.read_all(tmp_path).values()
    assert found.error == "KeyboardInterrupt"
    assert found.tables[0].rows == [{"a": 1}]


def test_interrupted_run_keeps_the_rows_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that comes again with more rows stands for the first; Ctrl-C keeps these."""

    def stopped(_: measure.Settings) -> Iterator[measure.Table]:
        yield measure.Table("first", "First", [{"a": 1}])
        yield measure.Table("second", "Second", [{"b": 1}])
        yield measure.Table("first", "First", [{"a": 1}, {"a": 2}])
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "tables", stopped)
    assert main(["quality", "--out", str(tmp_path)]) == run.INTERRUPTED
    (found,) = results.read_all(tmp_path).values()
    assert [(table.name, len(table.rows)) for table in found.tables] == [
        ("second", 1),
        ("first", 2),
    ]
    assert capsys.readouterr().out.count("First\n") == 1


def test_settings_follow_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run is smaller and has results of its own; peers are those that are known."""
    asked: list[measure.Settings] = []

    def seen(settings: measure.Settings) -> Iterator[measure.Table]:
        asked.append(settings)
        return iter([])

    monkeypatch.setattr(serve, "tables", seen)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_peers, "ADAPTERS", ("vecstore_local",))
    assert main(["serve", "--quick", "--peers", "vecstore-b,vecstore"]) == 0
    assert main(["serve", "--rows", "70"]) == 0
    quick, full = asked
    assert (quick.quick, quick.rows, quick.peers) == (
        True,
        run.QUICK_ROWS,
        ("vecstore-b", "vecstore"),
    )
    assert (full.quick, full.rows, full.calls, full.peers) == (False, 70, results.CALLS, None)
    first, second = sorted(path.name for path in tmp_path.iterdir())
    assert first.endswith("-partial")
    assert second == first.replace("partial", "quick")
    with pytest.raises(SystemExit):
        main(["serve", "--peers", "vecstroe"])


def test_only_a_full_run_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of fewer rows, peers or sets, of two commits, or that fails, is kept beside that one."""
    page = tmp_path / "README.md"
    page.write_text(results.FIGURES_PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(results, "FIGURES_PAGE", page)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "loaded", lambda *_: data.SETS)
    commits = iter([])
    monkeypatch.setattr(run, "machine", lambda: {"commit": "one"})
    monkeypatch.setattr(run, "commit", lambda: next(commits, "one"))
    today = tmp_path / "results" / time.strftime("%Y-%m-%d")
    partial = today.with_name(f"{today.name}-partial")
    word = "full"

    def found(_: measure.Settings) -> Iterator[measure.Table]:
        yield measure.Table("t", word, [{"a": 1}])
        if word == "failed":
            raise ValueError(word)

    monkeypatch.setattr(serve, "tables", found)
    assert main(["serve", "--readme"]) == 0
    assert not partial.exists()
    assert "full\n  a\n  1\n" in page.read_text(encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    for word, options in (
        ("few", ["--rows", "7"]),
        ("own", ["--peers", "vecstore"]),
        ("failed", []),
        ("changed", []),
        ("poor", []),
    ):
        if word == "changed":
            commits = iter(["two"])
        if word == "poor":
            monkeypatch.setattr(run, "loaded", lambda *_: data.SETS[:2])
        assert main(["serve", "--readme", *options]) == (word == "failed")
        assert results.read(today / "serve.json").tables[0].title == "full"
        assert results.read(partial / "serve.json").tables[0].title == word
        assert results.newest("serve") == today / "serve.json"
    assert page.read_text(encoding="utf-8") == before


def test_a_run_can_be_terminated() -> None:
    """SIGTERM is told as Ctrl-C is, SIGINT also where it was ignored, and both are as before."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for each in (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(KeyboardInterrupt), run.stoppable():
                signal.raise_signal(each)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_without_figures_of_peers_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every peer that was asked has an error, the status is 1; sets that lack are said."""
    rows = [{"peer": "vecstore", "recall": 1.0}, measure.error_row("hnswlib", "not installed")]
    found = measure.Table("quality", "Title", rows)
    monkeypatch.setattr(quality, "tables", lambda _: iter([found]))
    monkeypatch.setattr(run, "loaded", lambda *_: ["scifact"])
    assert main(["quality", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "quality: no peer but vecstore has figures" in said
    assert "no embeddings (python -m bench.embed makes them): code-mini, " in said
    assert results.read(tmp_path / "out" / "quality.json").run["sets"] == "scifact"


def test_runs_as_a_file() -> None:
    """`python bench/run.py` finds the project from anywhere."""
    command = [sys.executable, str(measure.ROOT / "bench" / "run.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert ", ".join(run.SUITES[:3]) in done.stdout


def test_run_gathers_bars_and_fills_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last table has the bars of all suites, and the page their tables in the marked places."""
    page = tmp_path / "README.md"
    page.write_text(results.FIGURES_PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(results, "FIGURES_PAGE", page)
    monkeypatch.setattr(run, "loaded", lambda *_: list(data.SETS))
    for module, met in ((quality, True), (serve, None)):
        name = module.__name__.rpartition(".")[2]
        bars = [measure.bar(f"{name} bar", None, ">= 2", met=met)]
        found = [measure.Table(f"{name}-bars", f"{name} now", bars)]
        monkeypatch.setattr(module, "tables", lambda _, found=found: iter(found))
    before = page.read_text(encoding="utf-8")
    for _ in range(2):
        main(["quality", "serve", "--out", str(tmp_path / "out"), "--readme"])
        last = capsys.readouterr().out.partition("All bars\n")[2].splitlines()
        assert [line.split()[0] for line in last[:3]] == ["suite", "quality", "serve"]
        assert last[1].endswith("yes")
        assert last[2].endswith("not measured")
    after = page.read_text(encoding="utf-8")
    assert (after.count("quality now"), after.count("serve now")) == (1, 1)
    for suite in run.SUITES:
        assert f"<!-- figures: python -m bench.run {suite} -->\n" in after
    for suite in ("quality", "serve"):
        before, after = (with_figures(text, suite, "") for text in (before, after))
    assert after == before


def test_shares_of_the_truth() -> None:
    """Shares count true rows once, leave out places without a row, and are whole without truth."""
    found = np.array([[1, 1, 2], [4, -1, -1], [-1, -1, -1], [3, 2, 1]])
    truth = np.array([[1, 3, 9], [4, 5, -1], [-1, -1, -1], [1, 2, 3]])
    assert measure.shares(found, truth, 2).tolist() == [0.5, 0.5, 1, 0.5]
    assert measure.shares(found, truth, 3).tolist() == pytest.approx([1 / 3, 0.5, 1, 1])
    assert measure.first_hits(found, truth).tolist() == [True, True, True, False]


def test_worst_tenth() -> None:
    """The worst tenth is the mean of the lowest tenth, of one value where there are few."""
    found = measure.worst_tenth(np.arange(40.0)[::-1])
    assert found.mean == 1.5
    assert 0 < found.low < 1.5 < found.high < 10
    assert measure.worst_tenth(np.array([0.7, 0.2])) == measure.Interval(0.2, 0.2, 0.7)


def test_search_row_has_every_column() -> None:
    """A row about searches has the known columns in order, and None for what was not measured."""
    row = measure.search_row(
        "peer",
        {"nprobe": 4, "k": 2},
        shares=np.array([1.0, 0.5]),
        first=np.array([True, False]),
        built={"disk": 800, "rss": 1_600, "insert_s": 2.0, "finish_s": 1.0},
        rows=8,
        times={"single": {"qps": 9.0, "p50": 1.0, "p95": 2.0, "p99": 3.0, "calls": 7}},
    )
    assert tuple(row) == measure.SEARCH_COLUMNS == tuple(measure.error_row("peer", "none"))
    assert row["setting"] == "nprobe 4, k 2"
    assert (row["flips"].mean, row["worst tenth"].mean, row["calls"]) == (0.5, 0.5, 7)
    assert (row["disk B/vector"], row["RSS B/vector"], row["build s"]) == (100, 200, 3)
    assert row["RSS of"] == measure.BUILT
    assert (row["p99 ms"], row["q/s 1 thread"], row["q/s 2 threads"]) == (3, 9, None)
    assert row["recall"].mean == 0.75
    unknown = {"shares": np.ones(1), "first": np.ones(1, dtype=np.bool_), "rows": 1, "times": {}}
    assert measure.search_row("p", {}, built={}, **unknown)["build s"] is None
    assert measure.search_row("p", {}, built={"build_s": 4.0}, **unknown)["build s"] == 4


def test_tables_show_what_only_some_rows_have() -> None:
    """A table has the columns of all rows, a dash where a row has none, figures to the right."""
    rows = [{"peer": "a", "error": "not there"}, {"peer": "b", "q/s": 2.5}]
    table = measure.Table("t", "Title", rows)
    assert table.columns == ["peer", "error", "q/s"]
    assert (
        str(table)
        == "Title\n  peer  error      q/s\n  a     not there    -\n  b     -          2.5\n"
    )


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
        collection.search(rows[5])  # which makes ready what searches share
        flat = engine._kernels.flat
        with engine.recorded_kernels() as calls:
            hits = collection.search(rows[5])
        assert engine._kernels.flat is flat
    assert [name for name, _ in calls] == ["flat", "cascade"]
    _, _, scores, *_ = calls[1][1]()  # type: ignore[misc]
    assert (scores == hits.scores).all()
