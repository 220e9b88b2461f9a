"""Compaction of a collection: what it keeps, what it drops, and what happens beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.unit.compaction import FOREGROUND, SCHEMA, fill, rows
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest.compact import compact, compact_all, plan_for
from vecstore.storage import keys


def state(items: Collection) -> list[tuple[Any, ...]]:
    """Every record, in order, and the answers to some exact searches."""
    found: list[tuple[Any, ...]] = [
        (record.id, record.payload, record.vectors["v"].tobytes())
        for record in items.scroll(with_vectors=True)
    ]
    for query in rows(5, seed=1):
        for where in (None, "n >= 20"):
            hits = items.search(query, limit=30, exact=True, where=where)
            found.append((hits.ids.tolist(), hits.scores.tolist()))
    return found


def tombstones(db: Database) -> list[bytes]:
    with db._environment.kv.read() as txn:
        return txn.keys(keys.TOMBSTONES)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_once(write: Callable[[], object]) -> Callable[[int], None]:
    """A pace that writes, the first time that it is called."""
    todo = [write]

    def pace(_: int) -> None:
        if todo:
            todo.pop()()

    return pace


def test_compaction_changes_no_answer(foreground: Database, tmp_path: Path) -> None:
    """All segments become one; records and exact results stay; what died leaves the disk."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 60, segments=5)
    items.upsert(["secret-id"], rows(1), [{"n": 7, "text": "secret-text"}])
    items.flush()
    items.delete(["secret-id", *range(0, 60, 3)])
    items.upsert([1], rows(1, seed=2), [{"n": 99}])
    before = state(items)
    items.compact()
    assert state(items) == before
    assert items.count() == 40
    stats = items.stats()
    assert (stats.segments, stats.deleted, stats.buffered) == (1, 0, 0)
    assert tombstones(foreground) == []
    (folder,) = (tmp_path / "db" / "segments").iterdir()
    assert not any(b"secret" in path.read_bytes() for path in folder.iterdir())


def test_compaction_of_nothing(foreground: Database) -> None:
    """An empty collection, and one that is compact, are left as they are."""
    items = foreground.create_collection("items", SCHEMA)
    items.compact()
    assert items.stats().segments == 0
    fill(items, 10, segments=1)
    before = items._store.snapshot().manifest
    items.compact()
    assert items._store.snapshot().manifest == before


def test_compaction_of_what_died_wholly(foreground: Database, tmp_path: Path) -> None:
    """Where every row died, the segments go and nothing takes their place."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 40, segments=3)
    items.delete(range(40))
    items.compact()
    assert items.stats().segments == 0
    assert list((tmp_path / "db" / "segments").iterdir()) == []
    assert tombstones(foreground) == []
    fill(items, 40, segments=1)
    assert items.count() == 40


@pytest.mark.parametrize("flushed", [False, True])
def test_writes_beside_a_compaction_hold(foreground: Database, *, flushed: bool) -> None:
    """What is deleted, written again or added between plan and swap is so afterwards too."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 60, segments=5)

    def write() -> None:
        assert items.delete([3, 33]) == 2
        items.upsert([4, 100], rows(2, seed=3), [{"n": 4}, {"n": 100}])
        assert items.delete(where="n >= 58") == 3
        if flushed:
            items.flush()

    compact_all(items._store, write_once(write), everything=True)
    assert items.stats().segments == 1 + flushed
    assert items.get([3, 33, 58, 59, 100]) == [None] * 5
    assert items.count() == 56
    (record,) = items.get([4], with_vectors=True)
    assert record is not None
    np.testing.assert_array_equal(record.vectors["v"], rows(1, seed=3)[0].astype(np.float16))
    assert foreground.check() == []
    before = state(items)
    assert tombstones(foreground) != []
    items.compact()
    assert state(items) == before
    assert tombstones(foreground) == []
    assert items.stats().deleted == 0


def test_tombstones_beside_a_compacted_run_stay(foreground: Database) -> None:
    """Compacting some segments forgets no deletion in the others, which share its chunks."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 60, segments=3)
    items.delete([0, 25, 45])
    store = items._store
    middle = store.snapshot().manifest.segments[1]
    with store.rewrite_lock:
        compact(store, (middle,))
    assert items.get([0, 25, 45]) == [None] * 3
    assert items.stats().deleted == 2
    items.compact()
    assert tombstones(foreground) == []


def test_adjacent_segments_only(foreground: Database) -> None:
    """A segment that is left alone stays between its neighbours, which do not merge across it."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 50, segments=5)
    middle = items._store.snapshot().manifest.segments[2].id
    foreground._environment.quarantined[middle] = "left alone"
    items.compact()
    foreground._environment.quarantined.clear()
    after = items._store.snapshot().manifest.segments
    assert [segment.rows for segment in after] == [20, 10, 20]
    assert after[1].id == middle


def test_space_of_what_was_deleted_comes_back(tmp_path: Path) -> None:
    """After deleting half and compacting, the database is at most 1.1 times a fresh one."""
    count, dim = 20_000, 384
    options = vs.Options(background=False, flush_bytes_max=2 << 20)
    schema = vs.Schema(vectors=[vs.Vector("v", dim)])
    vectors = rows(count, dim)
    sizes = []
    for name, kept in (("used", np.arange(count)), ("fresh", np.arange(0, count, 2))):
        with vs.open(tmp_path / name, options=options) as db:
            items = db.create_collection("items", schema)
            for start in range(0, len(kept), 1000):
                part = kept[start : start + 1000]
                items.upsert(part, vectors[part])
            items.delete(range(1, count, 2))
            items.compact()
            assert items.count() == count // 2
            assert items.stats().segments == 1
            assert db.check() == []
        sizes.append(bytes_of(tmp_path / name))
    assert sizes[0] <= 1.1 * sizes[1]


def test_largest_segment(foreground: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """compact() makes no segment larger than SEGMENT_BYTES_MAX."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 800, segments=8)
    one = items.stats().disk_bytes // 8
    monkeypatch.setattr("vecstore.options.SEGMENT_BYTES_MAX", 5 * one // 2)
    before = state(items)
    items.compact()
    assert items.stats().segments == 4
    assert state(items) == before


def test_hits_of_before_can_be_read(foreground: Database, tmp_path: Path) -> None:
    """Hits that were found before a compaction give their payloads after it; then files go."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 40, segments=4)
    hits = items.search(rows(1)[0], limit=40, with_vectors=True)
    items.compact()
    assert len(list((tmp_path / "db" / "segments").iterdir())) == 5
    assert sorted(hit.payload["n"] for hit in hits) == list(range(40))
    del hits
    items.compact()
    assert len(list((tmp_path / "db" / "segments").iterdir())) == 1


def test_expired_records_leave_the_disk(foreground: Database) -> None:
    """compact() drops what has expired, in segments and in the buffer, and its ids."""
    items = foreground.create_collection("items", SCHEMA)
    items.upsert(range(10), rows(10), ttl_s=1000)
    items.upsert(range(10, 20), rows(10))
    items.flush()
    items.upsert(range(20, 30), rows(10), ttl_s=[1000, None] * 5)
    now = foreground._environment.clock()
    foreground._environment.clock = lambda: now + 2000
    items.compact()
    assert items.count() == 15
    stats = items.stats()
    assert (stats.records, stats.segments, stats.deleted, stats.buffered) == (15, 1, 0, 0)
    with foreground._environment.kv.read() as txn:
        assert len(txn.keys(keys.IDS)) == 15


def test_readers_do_not_compact(tmp_path: Path) -> None:
    """compact() of a reader is refused."""
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        db.create_collection("items", SCHEMA)
    with (
        vs.open(tmp_path / "db", read_only=True) as reader,
        pytest.raises(errors.ReadOnlyError),
    ):
        reader.collection("items").compact()


def test_plan_reads_no_segment_without_deletions(foreground: Database, tmp_path: Path) -> None:
    """Planning opens no file of segments in which nothing can have died."""
    items = foreground.create_collection("items", SCHEMA)
    fill(items, 30, segments=3)
    for path in (tmp_path / "db" / "segments").glob("*/rows"):
        path.rename(path.with_name("moved"))
    snapshot = items._store.snapshot()
    assert plan_for(items._store, snapshot).runs == []
    for path in (tmp_path / "db" / "segments").glob("*/moved"):
        path.rename(path.with_name("rows"))
