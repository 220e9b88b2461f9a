"""What is done in the background without being asked, and how it ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest import maintenance
from vecstore.ingest.store import CollectionStore
from vecstore.storage.files import RealFiles
from vecstore.types import Float32

DIM = 8
SCHEMA = vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["bits2", "float16"])])
OPTIONS = vs.Options(threads=1, flush_bytes_max=4000)
LONG_S = 20.0


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of the background takes a hundredth of one."""
    monkeypatch.setattr(maintenance, "TICK_S", 0.01)
    monkeypatch.setattr(maintenance, "RETRY_S_MAX", 0.02)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database with background work; sound after the test, and when reopened."""
    with vs.open(tmp_path / "db", options=OPTIONS) as opened:
        yield opened
        assert opened.check() == []
    with vs.open(tmp_path / "db", options=OPTIONS) as reopened:
        assert reopened.check() == []


def rows(count: int) -> Float32:
    return np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32)


def fill(items: Collection, count: int, *, batch: int = 20) -> None:
    vectors = rows(count)
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        items.upsert(numbers, vectors[start : start + batch])


def until(true: Callable[[], bool]) -> None:
    """Wait for something that the background brings about."""
    end = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


class Gate(RealFiles):
    """Files that wait, or fail, before they write."""

    def __init__(self) -> None:
        self.reached, self.open = Event(), Event()
        self.error: Exception | None = None

    def create(self, path: Path, size: int) -> Any:
        """Wait at the gate."""
        self.reached.set()
        assert self.open.wait(LONG_S)
        if self.error is not None:
            raise self.error
        return super().create(path, size)


@pytest.fixture
def gate(db: Database) -> Iterator[Gate]:
    """A gate before the files of the database; it is open in the end."""
    found = Gate()
    db._environment.files = found
    yield found
    found.error = None
    found.open.set()


def test_full_buffers_are_flushed_and_segments_merge(db: Database) -> None:
    """Without a call of flush or compact, the buffer stays small and so does their number."""
    items = db.create_collection("items", SCHEMA)
    fill(items, 3000)
    until(lambda: items.stats().buffer_bytes <= OPTIONS.flush_bytes_max)
    until(lambda: items.stats().segments <= 8)
    until(lambda: db.jobs() == [])
    assert items.count() == 3000
    assert len(items.search(rows(1)[0], limit=3000, exact=True)) == 3000


def test_old_buffers_are_flushed(tmp_path: Path) -> None:
    """A buffer that is older than flush_age_s becomes a segment, also one found at the opening."""
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        db.create_collection("items", SCHEMA).upsert([1], rows(1))
    with vs.open(tmp_path, options=vs.Options(flush_age_s=1)) as db:
        items = db.collection("items")
        until(lambda: items.stats().segments == 1)
        items.upsert([2], rows(1))
        assert items.stats().segments == 1
        until(lambda: items.stats().segments == 2)
        assert items.stats().buffered == 0


def test_dead_rows_are_dropped(db: Database, tmp_path: Path) -> None:
    """A segment of which a fifth died is written again, and the old files go."""
    items = db.create_collection("items", SCHEMA)
    fill(items, 40)
    items.flush()
    items.delete(range(7))
    time.sleep(0.1)
    assert items.stats().deleted == 7
    items.delete([7])
    until(lambda: items.stats().deleted == 0)
    until(lambda: len(list((tmp_path / "db" / "segments").iterdir())) == 1)
    assert items.count() == 32


def test_expired_records_are_deleted(db: Database) -> None:
    """Rows of what has expired become dead, in segments and buffer, and are dropped then."""
    items = db.create_collection("items", SCHEMA)
    items.upsert(range(10), rows(10), ttl_s=1000)
    items.upsert(range(10, 15), rows(5))
    items.flush()
    items.upsert(range(15, 20), rows(5), ttl_s=1000)
    now = db._environment.clock()
    db._environment.clock = lambda: now + 2000
    until(lambda: items._store.snapshot().manifest.live == 5)
    until(lambda: items.stats().deleted == 0)
    assert [record.id for record in items.scroll()] == [*range(10, 15)]


def test_nothing_without_background(tmp_path: Path) -> None:
    """With background=False nothing is merged but by compact()."""
    with vs.open(tmp_path, options=vs.Options(background=False, flush_bytes_max=4000)) as db:
        items = db.create_collection("items", SCHEMA)
        fill(items, 800)
        time.sleep(0.1)
        assert items.stats().segments > 8
        assert db.jobs() == []


def test_failed_work_is_listed_and_tried_again(db: Database, gate: Gate) -> None:
    """A flush that finds no space is listed with the reason; when there is some, it is done."""
    items = db.create_collection("items", SCHEMA)
    gate.error = errors.DatabaseFullError("no space")
    gate.open.set()
    fill(items, 200, batch=200)
    until(lambda: [job.state for job in items.stats().jobs] == ["failed"])
    (job,) = db.jobs()
    assert (job.kind, job.collection, job.message) == ("flush", "items", "no space")
    assert items.count() == 200
    gate.error = None
    until(lambda: db.jobs() == [])
    assert items.stats().segments == 1


def test_paused_work_goes_on(db: Database) -> None:
    """While jobs are paused nothing is flushed or merged; afterwards it is."""
    items = db.create_collection("items", SCHEMA)
    db.pause_jobs()
    fill(items, 200, batch=200)
    time.sleep(0.1)
    assert items.stats().segments == 0
    assert [(job.kind, job.state) for job in db.jobs()] == [("flush", "paused")]
    db.resume_jobs()
    until(lambda: items.stats().segments == 1)


def test_writers_do_not_wait_for_paused_work(db: Database) -> None:
    """While jobs are paused, writers flush the buffer before it grows over its limit."""
    items = db.create_collection("items", SCHEMA)
    db.pause_jobs()
    fill(items, 1000)
    assert items.stats().buffer_bytes <= 4 * OPTIONS.flush_bytes_max
    assert items.stats().segments > 0


def begin_compaction(db: Database, gate: Gate) -> Collection:
    """A collection whose compaction waits at the gate."""
    items = db.create_collection("items", SCHEMA)
    gate.open.set()
    fill(items, 40)
    items.flush()
    until(lambda: db.jobs() == [])
    gate.open.clear()
    gate.reached.clear()
    items.delete(range(20))
    assert gate.reached.wait(LONG_S)
    assert [(job.kind, job.state) for job in db.jobs()] == [("compact", "running")]
    return items


def test_compact_ends_the_compaction_under_way(db: Database, gate: Gate) -> None:
    """compact() sets the background's compaction aside, even a paused one, and does its work."""
    items = begin_compaction(db, gate)
    db.pause_jobs()
    gate.open.set()
    items.compact()
    assert (items.stats().segments, items.stats().deleted) == (1, 0)
    db.resume_jobs()
    until(lambda: db.jobs() == [])


def test_alter_goes_on_after_compact(db: Database, gate: Gate) -> None:
    """compact() does not wait for an alteration, even a paused one, which goes on afterwards."""
    items = db.create_collection("items", SCHEMA)
    gate.open.set()
    for _ in range(2):
        fill(items, 20)
        items.flush()
    until(lambda: db.jobs() == [])
    gate.open.clear()
    gate.reached.clear()
    items.alter("v", ["bits1", "float16"], wait=False)
    assert gate.reached.wait(LONG_S)
    db.pause_jobs()
    gate.open.set()
    items.compact()
    assert items.stats().segments == 1
    assert items.schema.vector("v").representations == ("bits2", "float16")
    db.resume_jobs()
    until(lambda: items.schema.vector("v").representations == ("bits1", "float16"))
    until(lambda: db.jobs() == [])


def test_repair_does_not_wait_for_paused_work(db: Database, gate: Gate) -> None:
    """repair() sets a compaction under way aside, even a paused one, which begins again then."""
    items = begin_compaction(db, gate)
    db.pause_jobs()
    gate.open.set()
    assert db.repair() == vs.RepairReport()
    assert items.stats().deleted == 20
    db.resume_jobs()
    until(lambda: items.stats().deleted == 0)


def test_close_ends_the_compaction_under_way(tmp_path: Path) -> None:
    """close() waits for a chunk and not for the compaction, which leaves no file behind."""
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        gate = Gate()
        db._environment.files = gate
        items = begin_compaction(db, gate)
        gate.open.set()
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as db:
        assert db.check() == []
        assert db.collection("items").count() == 20
        assert items.name == "items"


def test_drop_ends_the_work_of_a_collection(db: Database, gate: Gate, tmp_path: Path) -> None:
    """A collection is dropped beside its compaction; nothing of either is left, nothing failed."""
    begin_compaction(db, gate)
    gate.open.set()
    db.drop_collection("items")
    assert db.jobs() == []
    until(lambda: list((tmp_path / "db" / "segments").iterdir()) == [])
    db.create_collection("items", SCHEMA)
    time.sleep(0.05)
    assert db.jobs() == []


def test_what_is_not_due_any_more_is_not_done(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush that was queued for a full buffer does nothing where it was flushed meanwhile."""
    items = db.create_collection("items", SCHEMA)
    flushes: list[int] = []
    flush = CollectionStore.background_flush

    def count(store: CollectionStore, pace: Any) -> None:
        flushes.append(1)
        flush(store, pace)

    monkeypatch.setattr(CollectionStore, "background_flush", count)
    db.pause_jobs()
    fill(items, 200, batch=200)
    assert [job.kind for job in db.jobs()] == ["flush"]
    items.flush()
    items.upsert([1], rows(1))
    db.resume_jobs()
    until(lambda: db.jobs() == [])
    assert len(flushes) == 1
    assert items.stats().buffered == 1


def test_readers_have_no_jobs(tmp_path: Path) -> None:
    """A reader lists no jobs, and can neither pause nor resume those of the writer."""
    vs.open(tmp_path / "db").close()
    with vs.open(tmp_path / "db", read_only=True) as reader:
        assert reader.jobs() == []
        for call in (reader.pause_jobs, reader.resume_jobs):
            with pytest.raises(errors.ReadOnlyError):
                call()


def test_forgotten_database(tmp_path: Path) -> None:
    """A program that ends without close(), amid background work, ends well and loses nothing."""
    code = """
import sys, numpy as np, vecstore as vs
from vecstore.ingest import maintenance
maintenance.TICK_S = 0.001
db = vs.open(sys.argv[1], options=vs.Options(flush_bytes_max=4000))
items = db.create_collection(
    "items", vs.Schema(vectors=[vs.Vector("v", 8, "dot", ["bits2", "float16"])])
)
for start in range(0, 2000, 20):
    items.upsert(range(start, start + 20), np.ones((20, 8)))
"""
    path = tmp_path / "db"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with vs.open(path, options=OPTIONS) as db:
        assert db.collection("items").count() == 2000
        assert db.check() == []


def test_forgotten_database_can_be_collected(tmp_path: Path) -> None:
    """The background keeps no database alive that nobody closed and nobody has."""
    db = vs.open(tmp_path / "db", options=OPTIONS)
    items = db.create_collection("items", SCHEMA)
    items.upsert([1], rows(1))
    threads = weakref.ref(db._maintenance)
    del db, items
    # A tick under way holds it a moment longer.
    until(lambda: gc.collect() >= 0 and threads() is None)
