"""The suites of scale and of callers run, and what is called cold was read from the disk."""

from __future__ import annotations

import os
import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import peers
from bench.cold import disk_row, drop, read_bytes
from bench.measure import Interval, Settings
from bench.peers.base import Known
from bench.suites import scale, serve

ROWS = 2_000
FILE_BYTES = 4 << 20


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The smallest run, of vecstore alone."""
    monkeypatch.setattr(peers, "ADAPTERS", ("vecstore_local",))
    monkeypatch.setattr(scale, "SIZES", (ROWS // 2, ROWS, 10 * ROWS))
    for name, value in {"QUERIES": 20, "ROUNDS": 1, "PROCESSES": 1}.items():
        monkeypatch.setattr(scale, name, value)
    return Settings(data=None, rows=ROWS, calls=2, folder=tmp_path)


def test_scale_runs(small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size has a row for each ladder, warm and from the disk, and one for a peer that fails
    with its error.
    """
    broken = Known(scale.RIVAL, "Vecstore", options={"ladder": "absent"})
    found = peers.entries("dense", scale.LADDERS)
    monkeypatch.setattr(scale, "entries", lambda *_: [*found, replace(found[0], known=broken)])
    tables = {table.name: table.rows for table in scale.tables(small)}
    assert list(tables) == ["scale", "scale-disk", "scale-bars"]
    wanted = [(rows, name) for rows in (ROWS // 2, ROWS) for name in (*scale.LADDERS, scale.RIVAL)]
    assert [(row["rows"], row["peer"]) for row in tables["scale"]] == wanted
    for row in tables["scale"]:
        assert list(row) == list(tables["scale"][0])
        if row["peer"] == scale.RIVAL:
            assert "absent" in row["error"]
            assert row["recall"] is None
            continue
        assert row["error"] == ""
        assert row["recall"].mean >= 0.95
        assert 0 < row["p50 ms"].mean <= row["p95 ms"].mean <= row["p99 ms"].mean
        assert row["q/s 1 thread"].low <= row["q/s 1 thread"].mean <= row["q/s 1 thread"].high
        assert row["disk B/vector"] > 800
        assert row["build rows/s"] <= row["insert rows/s"]
        assert row["open ms"] > 0
    ours = [place for place in wanted if place[1] != scale.RIVAL]
    assert [(row["rows"], row["peer"]) for row in tables["scale-disk"]] == ours
    for row in tables["scale-disk"]:
        # At least the coarse codes of each row, at most every float16 as well.
        assert 48 <= row["codes MB/query"] * 1e6 / row["rows"] <= 900
    assert [row["met"] for row in tables["scale-bars"]] == ["yes", "yes"]
    assert not [path for path in small.folder.iterdir() if path.is_dir()]


def test_what_fails_in_scale_has_its_row(small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that dies while others wait, and a process that reads from the disk, leave errors."""
    monkeypatch.setattr(scale, "SIZES", (ROWS,))
    doomed, turns = scale.LADDERS[1], scale.take_turns

    def dying(sides: Any, rounds: int) -> Any:
        for worker, _ in sides:
            if worker.name == doomed:
                worker._process.kill()
        return turns(sides, rounds)

    def lost(*_: object) -> None:
        raise BrokenProcessPool("it ended")

    monkeypatch.setattr(scale, "take_turns", dying)
    monkeypatch.setattr(scale, "fresh", lost)
    tables = {table.name: table for table in scale.tables(small)}
    ours, other = tables["scale"].rows
    assert (ours["peer"], ours["error"]) == (scale.LADDERS[0], "")
    assert (ours["q/s 1 thread"] is not None, other["peer"]) == (True, doomed)
    assert "time: ended with -9" in other["error"]
    (disk,) = tables["scale-disk"].rows
    assert disk["error"] == "BrokenProcessPool: it ended"
    assert [row["met"] for row in tables["scale-bars"].rows] == ["not measured"] * 2


def test_scale_tells_after_each_size(small: Settings) -> None:
    """The table comes again with each size, and says which sizes it does not go to."""
    found = [table for table in scale.tables(small) if table.name == "scale"]
    assert [len(table.rows) for table in found] == [2, 4]
    assert f"stopped at --rows {ROWS:,}: not measured are {10 * ROWS:,}" in found[0].title


def test_sizes_that_do_not_fit_on_the_disk_are_said(
    small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk has too little space, each peer has a row that says how much is needed."""
    usage = shutil.disk_usage(small.folder)._replace(free=scale.BYTES_NEEDED * ROWS // 2 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    tables = {table.name: table.rows for table in scale.tables(small)}
    assert len(tables["scale"]) == 4
    assert all("disk" in row["error"] for row in tables["scale"])
    assert tables["scale-disk"] == []
    assert [row["met"] for row in tables["scale-bars"]] == ["not measured"] * 2
    assert scale.fitting([10, 20, 30], 20 * scale.BYTES_NEEDED) == [10, 20]


def test_peers_of_scale() -> None:
    """Both ladders are measured whatever is asked for, and the rival where nothing or it is."""
    names = [entry.known.name for entry in scale.chosen(("chromadb",))]
    assert names == list(scale.LADDERS)
    for asked in (None, ("faiss",)):
        assert [entry.known.name for entry in scale.chosen(asked)] == [*names, scale.RIVAL]


def test_cold_figures_need_a_disk() -> None:
    """Where nothing was read from a disk, the row has no cold figures; else those measured."""
    probed: dict[str, Any] = {name: np.array([1.0, 3.0]) for name in ("warm", "codes")}
    probed |= {"cold": np.array([4.0, 8.0]), "read": np.array([2e6, 4e6])}
    probed |= {"open": 1.0, "cold_open": 5.0, "first": 6.0, "anon": 1 << 20, "segments": 2}
    row = disk_row([probed, probed])
    assert (row["p50 ms, warm"], row["p50 ms, cold"], row["cold x warm"]) == (2, 6, 3)
    assert (row["open ms, cold"], row["disk MB/query, cold"]) == (5, 3)
    idle = disk_row([probed | {"read": np.zeros(2)}])
    assert list(idle) == list(row)
    gone = {name for name in row if row[name] is not None and idle[name] is None}
    assert gone == {name for name in row if "cold" in name}


def test_dropped_files_are_read_from_the_disk(tmp_path: Path) -> None:
    """A file that was dropped is read from the disk again, also one that is mapped."""
    if not hasattr(os, "posix_fadvise") or not Path("/proc/self/io").exists():
        pytest.skip("the system cannot drop files, or does not count reads")
    if _in_memory(tmp_path):
        pytest.skip("the temporary folder lies in memory")
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(np.random.default_rng(0).bytes(FILE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    before = read_bytes()
    expected = mapped.sum()
    assert read_bytes() - before < FILE_BYTES // 2, "a file just written was in memory"
    drop([path])
    before = read_bytes()
    assert mapped.sum() == expected
    assert read_bytes() - before >= FILE_BYTES


def _in_memory(folder: Path) -> bool:
    """Whether a folder lies in a file system without a disk."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    around = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(around, key=lambda each: len(each[0]))[1] in {"tmpfs", "ramfs"}


def test_serve_counts_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The serve suite searches from several threads on both sides, which find the same hits."""
    pytest.importorskip("vecstore_server")
    monkeypatch.setattr(serve, "CALLERS", (1, 3))
    monkeypatch.setattr(serve, "ROUNDS", 1)
    settings = Settings(data=None, rows=1_000, calls=2, folder=tmp_path)
    tables = {table.name: table.rows for table in serve.tables(settings)}
    assert list(tables) == ["serve-search", "serve-callers", "serve-upsert", "serve-bars"]
    rows = tables["serve-callers"]
    assert [row["callers"] for row in rows] == [1, 3]
    for row in rows:
        assert row["same hits"] is True
        assert isinstance(row["recall"], Interval)
        assert row["recall"].mean > 0.95
        for side in ("embedded", "gRPC"):
            assert row[f"{side} q/s"] > 0
            assert row[f"{side} p50 ms"] <= row[f"{side} p95 ms"] <= row[f"{side} p99 ms"]
