"""What a write waits for: space on the disk, and room in the write buffer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors, options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest import pressure
from vecstore.ingest.pressure import FlushMeter
from vecstore.storage.files import RealFiles

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot")])
BATCH = 300  # bytes, about


def make(db: Database) -> Collection:
    """An empty collection."""
    return db.create_collection("items", SCHEMA)


def put(items: Collection, first: int = 0, count: int = 4) -> None:
    """Write a small batch."""
    items.upsert(range(first, first + count), np.ones((count, 4)))


def fill(items: Collection) -> float:
    """How full the write buffer is, 1 being where it is flushed."""
    limit = items._store.environment.options.buffer_bytes_max()
    return items._store.snapshot().buffer_bytes / limit


def stop_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no background flush begin, as if all were stuck."""
    monkeypatch.setattr("vecstore.ingest.jobs.Jobs._serve", lambda *_: None)


def test_little_free_space_refuses_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the reserve writes are refused and deletes and flushes are not; with space all work."""
    with vs.open(tmp_path, options=vs.Options(reserve_bytes=1_000)) as db:
        items = make(db)
        put(items)
        free = 999
        monkeypatch.setattr(RealFiles, "free_bytes", lambda *_: free)
        items._store.environment.space_until = 0
        with pytest.raises(errors.DatabaseFullError, match="999 bytes"):
            put(items, 10)
        assert items.delete([0]) == 1
        items.flush()
        items.compact()
        free = 1_000
        items._store.environment.space_until = 0
        put(items, 10)
        assert items.count() == 7
        assert db.check() == []


def test_free_space_is_asked_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes in quick succession ask the file system once."""
    calls: list[Path] = []

    def free_bytes(_: RealFiles, path: Path) -> int:
        calls.append(path)
        return 1 << 40

    monkeypatch.setattr(pressure, "SPACE_AGE_S", 60.0)
    monkeypatch.setattr(RealFiles, "free_bytes", free_bytes)
    with vs.open(tmp_path) as db:
        items = make(db)
        for _ in range(5):
            put(items)
    assert calls == [tmp_path]


def test_writers_slow_down_smoothly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its limit the buffer makes writers wait, longer and longer, and not before."""
    waits: list[float] = []
    stop_jobs(monkeypatch)
    monkeypatch.setattr("vecstore.ingest.pressure.time.sleep", waits.append)
    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=20 * BATCH)) as db:
        items = make(db)
        while not waits:
            put(items)
        assert 1 < fill(items) < 1.2
        while fill(items) < options.BUFFER_GROWTH_MAX:
            put(items)
    assert len(waits) > 20
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] / 50
    steps = np.diff(waits[: len(waits) // 2])
    assert steps.max() < waits[-1] / 4, "no cliff"


def test_full_buffer_is_flushed_by_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where background flushes do nothing, a writer flushes before the buffer outgrows it."""
    stop_jobs(monkeypatch)
    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=3 * BATCH)) as db:
        items = make(db)
        for number in range(60):
            put(items, 4 * number)
            assert fill(items) <= options.BUFFER_GROWTH_MAX + 1
        assert items.stats().segments >= 4
        assert items.count() == 240
        assert db.check() == []


def test_failed_flush_is_told_to_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where flushes fail, the writer that finds the buffer full is told why, and wrote nothing."""
    stop_jobs(monkeypatch)

    def refuse(*_: Any, **__: Any) -> None:
        raise errors.DatabaseFullError("no space on purpose")

    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=2 * BATCH)) as db:
        items = make(db)
        with monkeypatch.context() as patch:
            patch.setattr("vecstore.ingest.flush.write_segment", refuse)
            while fill(items) <= options.BUFFER_GROWTH_MAX:
                put(items)
            for _ in range(2):
                with pytest.raises(errors.DatabaseFullError, match="no space on purpose"):
                    put(items, 100)
        assert items.count() == 4
        put(items, 100)
        assert items.count() == 8
        assert db.check() == []


def test_writers_go_on_while_a_flush_is_under_way(tmp_path: Path) -> None:
    """While one thread flushes, others write; a full buffer makes them wait for that flush."""
    go_on, begun = Event(), Event()

    def slow(written: int) -> None:
        begun.set()
        assert go_on.wait(10)

    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=3 * BATCH, background=False)) as db:
        items = make(db)
        put(items)
        with ThreadPoolExecutor(2) as pool:
            flush = pool.submit(items._store.background_flush, slow)
            assert begun.wait(10)
            while fill(items) <= 1:
                put(items, 10)
            waiting = pool.submit(put, items, 20)
            time.sleep(0.05)
            assert not waiting.done()
            go_on.set()
            waiting.result()
            flush.result()
        assert items.count() == 12
        assert db.check() == []


def test_meter_knows_large_flushes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last large flush sets the rate, and one under way lowers it while it takes longer."""
    now = 0.0
    monkeypatch.setattr("vecstore.ingest.pressure.time.monotonic", lambda: now)
    meter = FlushMeter()
    assert meter.rate() == pressure.FLUSH_RATE
    meter.begin(1_000)
    now = 10.0
    meter.end(large=False)
    assert meter.rate() == pressure.FLUSH_RATE
    meter.begin(100_000)
    assert meter.rate() == pressure.FLUSH_RATE
    now = 20.0
    assert meter.rate() == 10_000
    meter.end(large=True)
    assert meter.rate() == 10_000
    meter.begin(100_000)
    now = 40.0
    assert meter.rate() == 5_000
