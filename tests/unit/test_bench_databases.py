"""The suites about databases run with vecstore alone, and what they work out is right."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

import bench.peers
from bench import databases, measure
from bench.cases import Case, nearest
from bench.peers import OURS, Entry
from bench.peers.base import MARKS, Environment, Known
from bench.peers.drive import PeerFailedError
from bench.suites import filters, ingest, recovery, updates
from vecstore.types import Float32

ROWS = 1_200


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only vecstore, and only its default: other libraries are not what is tested."""
    monkeypatch.setattr(bench.peers, "ADAPTERS", ("vecstore_local",))
    found = [entry for entry in bench.peers.entries("database") if entry.known.name == OURS]
    monkeypatch.setattr(databases, "entries", lambda _ability, _names=None: found)
    monkeypatch.setattr(databases, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(databases, "QUICK_QUERIES", 20)
    monkeypatch.setattr(databases, "ROUNDS", 1)
    monkeypatch.setattr(filters, "ROUNDS", 1)


def run(suite: Any, folder: Path) -> dict[str, measure.Table]:
    """The tables of the smallest run, without real embeddings; printed, for that is part of it."""
    settings = measure.Settings(data=None, rows=ROWS, calls=2, folder=folder, quick=True)
    found = {table.name: table for table in suite.tables(settings)}
    assert all(str(table) for table in found.values())
    return found


def test_ingest_runs(tmp_path: Path) -> None:
    """Ingest gives a row of writes and of the searches after them, and judges rows a second."""
    found = run(ingest, tmp_path)
    assert list(found) == ["ingest", "ingest-bars"]
    (row,) = found["ingest"].rows
    assert (row["peer"], row["error"]) == (OURS, "")
    assert row["synced"] is True
    assert row["rows/s"] > row["rows/s, indexed"] > 0
    assert row["batch p50 ms"] <= row["batch p95 ms"] <= row["batch p99 ms"]
    assert row["recall"].mean >= databases.TARGET
    assert row["disk B/vector"] > 384 * 2
    (bar,) = found["ingest-bars"].rows
    assert bar["met"] == ("yes" if row["rows/s"] >= ingest.WANTED else "NO")


def test_filters_run(tmp_path: Path) -> None:
    """Filters gives a row of each share, by place too, and each is searched among its own rows."""
    case = databases.supply(settings := quick(tmp_path), ROWS).case(tmp_path / "even", ROWS)
    placed = filters._placed(case, tmp_path / "place")
    run = filters.Run(placed, tmp_path / "peers", settings)
    *_, last = run.every(databases.asked(settings, "filter"))
    assert last == run.rows
    assert [row["allowed"] for row in run.rows] == ["all", "90 %", "50 %", "10 %", "1 %", "0.1 %"]
    assert [row["rows allowed"] for row in run.rows] == [1200, 1080, 600, 120, 12, 2]
    for row in run.rows:
        assert (row["short"], row["forbidden hits"], row["error"]) == (0, 0, "")
        assert row["recall"].mean >= databases.TARGET
    assert {bar["met"] for bar in filters._bars(run.rows, "place")} == {"yes"}


def test_quick_filters_run(tmp_path: Path) -> None:
    """A quick run filters by even marks only."""
    found = run(filters, tmp_path)
    assert list(found) == ["filters-even", "filters-bars"]
    assert len(found["filters-even"].rows) == len(filters.BELOW)


def test_marks_by_place_split_the_space() -> None:
    """Marks by place are as many of each, and grow along the axis in which rows differ most."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2 * MARKS, 8)).astype(np.float32)
    vectors[:, 3] *= 10
    marks = filters.ranks(vectors)
    assert (np.bincount(marks) == 2).all()
    assert abs(np.corrcoef(marks, vectors[:, 3])[0, 1]) > 0.9


def test_updates_run(tmp_path: Path) -> None:
    """Updates gives a row of each state, with the truth of what is there then."""
    found = run(updates, tmp_path)
    assert list(found) == ["updates", "updates-bars"]
    rows = found["updates"].rows
    assert [row["state"] for row in rows] == ["built", "round 1", "round 2", "finished", "fresh"]
    assert all(row["error"] == "" for row in rows)
    assert min(row["recall"].mean for row in rows) >= databases.TARGET
    assert rows[-1]["x fresh"] == 1
    assert rows[-1]["records"] == rows[-2]["records"] < rows[0]["records"] == ROWS
    assert rows[1]["overwritten rows/s"] > 0 < rows[1]["deleted rows/s"]


def test_a_round_changes_what_it_says(tmp_path: Path) -> None:
    """A round overwrites whole runs, which live again, and deletes live rows; its truth holds."""
    settings = quick(tmp_path)
    case = databases.supply(settings, ROWS).case(tmp_path / "case", ROWS)
    new = np.ascontiguousarray(case.vectors[:200][::-1])
    databases.lay(case, "new", new)
    vectors, alive = np.array(case.vectors), np.zeros(ROWS, dtype=np.bool_)
    alive[:50] = True
    change = updates.Change("new", case, vectors, alive, np.random.default_rng(2))
    (first,) = change.runs
    assert (vectors[first : first + updates.RUN_ROWS] == new[: updates.RUN_ROWS]).all()
    lived = {*range(50), *range(first, first + updates.RUN_ROWS)}
    assert set(change.deleted) < lived
    assert set(np.flatnonzero(alive)) == lived - set(change.deleted)
    assert change.alive == len(lived) - len(change.deleted)
    assert (change.truth == nearest(vectors, case.queries, databases.LIMIT, alive)).all()


def test_recovery_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery kills and reopens, and finds all that was acknowledged."""
    monkeypatch.setattr(recovery, "QUICK_ROUNDS", 2)
    monkeypatch.setattr(recovery, "BATCHES_MAX", 3)
    found = run(recovery, tmp_path)
    assert list(found) == ["recovery", "recovery-rounds", "recovery-bars"]
    (row,) = found["recovery"].rows
    assert (row["peer"], row["synced"], row["kills"], row["error"]) == (OURS, True, 2, "")
    assert row["acknowledged"] >= 2 * recovery.BATCH_ROWS
    for name in ("gone", "gone at last", "gone of the base", "gone, closed well", "torn batches"):
        assert row[name] == 0
    assert [round_["killed"] for round_ in found["recovery-rounds"].rows] == [False, True, True]
    assert {bar["met"] for bar in found["recovery-bars"].rows} == {"yes"}


def test_recovery_sees_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a peer acknowledged and does not have afterwards are counted, and a torn batch."""
    run = crashing(tmp_path, monkeypatch, gone=slice(150, 230))
    assert [row["gone"] for row in run.found] == [50]
    assert [(row["in flight"], row["of these there"]) for row in run.found] == [(50, 20)]
    summary = run.summary()
    assert (summary["kills"], summary["gone"], summary["torn batches"]) == (1, 50, 1)


def test_recovery_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in flight that is there whole is not torn."""
    run = crashing(tmp_path, monkeypatch, gone=slice(0, 0))
    assert [(row["gone"], row["torn"]) for row in run.found] == [(0, False)]


def test_a_failure_is_told_from_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that fails to insert by itself has failed: that is no kill of ours."""
    run = recovery.Run(entry(), tiny(tmp_path), np.zeros((900, 384), np.float32), tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise PeerFailedError("insert: it broke")

    monkeypatch.setattr(run, "_insert", fails)
    with pytest.raises(PeerFailedError, match="it broke"):
        run._killed(None)  # type: ignore[arg-type]


def test_every_keeps_what_came_before_an_error(tmp_path: Path) -> None:
    """A peer that fails keeps the rows it had; the last says why, and all have the same columns."""

    def measure(_: Entry, place: Path) -> Iterator[dict[str, Any]]:
        assert place.is_dir()
        yield {"peer": OURS, "extra": 1, "error": ""}
        raise PeerFailedError("out of breath")

    (rows,) = databases.every([entry()], tmp_path, measure)
    assert [row["error"] for row in rows] == ["", "out of breath"]
    assert [row["extra"] for row in rows] == [1, None]
    assert list(rows[0]) == list(rows[1])
    assert list(rows[0])[-1] == "error"
    assert not any(tmp_path.iterdir())


def test_every_tells_after_each_peer(tmp_path: Path) -> None:
    """All rows so far come after each peer; a disk that is full is an error of the peer."""
    other = Entry(Known("other", "Other"), "other", Environment("other", ()))

    def measure(found: Entry, place: Path) -> Iterator[dict[str, Any]]:
        if found is other:
            raise OSError(28, "No space left on device")
        yield {"peer": found.known.name}

    first, second = databases.every([entry(), other], tmp_path, measure)
    assert [row["peer"] for row in first] == [OURS]
    assert [row["peer"] for row in second] == [OURS, "other"]
    assert "No space left" in second[1]["error"]


def test_filters_outlive_the_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vecstore's process dies beside a peer, it is opened again, and so is the peer."""
    settings = quick(tmp_path)
    monkeypatch.setattr(filters, "BELOW", (None, 100))
    case = databases.supply(settings, ROWS).case(tmp_path / "even", ROWS)
    twin = replace(entry(), known=replace(entry().known, name="twin"))
    run = filters.Run(case, tmp_path / "peers", settings)
    shares, deaths = run._shares, iter([True])

    def dying(worker: Any, setting: Any, built: Any, below: Any, anchor: Any) -> None:
        if anchor is not None and below == 100 and next(deaths, False):
            anchor[0]._process.kill()
        shares(worker, setting, built, below, anchor)

    monkeypatch.setattr(run, "_shares", dying)
    *_, rows = run.every([entry(), twin])
    assert next(deaths, None) is None
    assert [(row["peer"], row["error"]) for row in rows] == [(OURS, "")] * 2 + [("twin", "")] * 2


def test_quick_leaves_out_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run has the peers that need no environment, unless some are named."""
    other = Entry(Known("other", "Other"), "other", Environment("other", ("other==1",)))
    found = [entry(), other]
    monkeypatch.setattr(databases, "entries", lambda _ability, _names=None: found)
    settings = quick(tmp_path)
    assert databases.asked(settings, "database") == found[:1]
    named = measure.Settings(
        data=None, rows=ROWS, calls=2, folder=tmp_path, quick=True, peers=("other",)
    )
    assert databases.asked(named, "database") == found


def test_supply_is_the_same_in_any_parts(tmp_path: Path) -> None:
    """Rows do not depend on how they are asked for."""
    source = databases.supply(quick(tmp_path), 3_000)
    whole = source.part(0, 3_000)
    assert (source.part(700, 2_300) == whole[700:2_300]).all()
    assert (np.concatenate([source.part(0, 10), source.part(10, 1_000)]) == whole[:1_000]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_within_a_batch(tmp_path: Path) -> None:
    """A worker that outlasts its limit is killed, and the round knows which batch was in flight."""
    case = tiny(tmp_path)
    vectors: Float32 = databases.supply(quick(tmp_path), 5_000).part(0, 5_000)
    databases.lay(case, "all", vectors)
    place = tmp_path / "place"
    run = recovery.Run(entry(), case, vectors, place)
    with run._worker() as worker:
        worker.build(case)
        written = run._killed(worker)
        assert written.flying - written.stop in {0, recovery.BATCH_ROWS}
        assert written.stop - written.start >= recovery.BATCH_ROWS
        assert worker._process.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(worker._process.pid, 0)


def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: slice) -> recovery.Run:
    """A run after one kill: 200 rows acknowledged, 50 in flight, and `gone` of these not there."""
    case = tiny(tmp_path)
    vectors: Float32 = databases.supply(quick(tmp_path), ROWS).part(0, ROWS)
    place = tmp_path / "place"
    run = recovery.Run(entry(), case, vectors, place)
    databases.lay(case, "all", vectors)
    with run._worker() as worker:
        worker.build(case)
        run._insert(worker, case.rows, case.rows + 250)
        lost = range(case.rows, case.rows + 250)[gone]
        worker.ask("delete", rows=list(lost))
    written = recovery.Written(case.rows, case.rows + 200, case.rows + 250)
    with run._warm(1) as worker:
        run._reopened(worker, 1, written)
    return run


def quick(folder: Path) -> measure.Settings:
    return measure.Settings(data=None, rows=ROWS, calls=2, folder=folder, quick=True)


def tiny(folder: Path) -> Case:
    return databases.supply(quick(folder), 500).case(folder / "tiny", 500)


def entry() -> Entry:
    (found,) = databases.entries("database", None)
    return found
