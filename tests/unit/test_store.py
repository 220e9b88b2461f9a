"""Flushes and swaps beside writes: what one collection must hold at every moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest import swap as swapping
from vecstore.ingest.choose import choose_codecs
from vecstore.ingest.compact import compact_all
from vecstore.ingest.numbers import take_number
from vecstore.ingest.store import CollectionStore, Swap
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import codecs_of
from vecstore.segment.snapshot import written_rows
from vecstore.segment.writer import Part, write_segment
from vecstore.storage import keys

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot", ["pca2/int8", "bits1", "float16"])])
QUIET = vs.Options(background=False)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database without background work; what is on disk must be sound at the end."""
    with vs.open(tmp_path / "db", options=QUIET) as db:
        yield db
        assert db.check() == []
    with vs.open(tmp_path / "db", options=QUIET) as db:
        assert db.check() == []


@pytest.fixture
def items(database: Database) -> Collection:
    """An empty collection."""
    return database.create_collection("items", SCHEMA)


def put(items: Collection, *ids: int) -> None:
    """Write records whose vectors follow from their ids."""
    items.upsert(list(ids), [[id_, 1, 2, 3] for id_ in ids])


def ids_of(items: Collection) -> list[Any]:
    """All ids, oldest write first."""
    return [record.id for record in items.scroll()]


def once(act: Callable[[], Any]) -> Callable[[int], None]:
    """A pace that acts when it is called for the first time."""
    calls = [act]

    def pace(written: int) -> None:
        if calls:
            calls.pop()()

    return pace


def merged(store: CollectionStore) -> Swap:
    """All segments written as one, to be swapped."""
    environment, snapshot = store.environment, store.snapshot()
    parts = [Part(live.source, written_rows(live)) for live in snapshot.segments]
    trained: list[CodecInfo] = []
    number = take_number(environment, keys.NEXT_SEGMENT)
    codecs = choose_codecs(store, parts, trained, SCHEMA)
    files, paths = environment.files, environment.paths
    return Swap(
        removed=frozenset(item.id for item in snapshot.manifest.segments),
        added=(write_segment(files, paths, number, parts, SCHEMA, codecs),),
        codecs=tuple(trained),
    )


def test_writes_during_a_flush(items: Collection) -> None:
    """Rows written, replaced and deleted while a flush writes files are right after its commit."""
    put(items, 1, 2, 3, 4)

    def meanwhile() -> None:
        put(items, 2, 5)
        assert items.delete([3, 99]) == 1
        assert ids_of(items) == [1, 4, 2, 5]
        put(items, 6)

    items._store.background_flush(once(meanwhile))
    assert ids_of(items) == [1, 4, 2, 5, 6]
    stats = items.stats()
    assert (stats.segments, stats.buffered, stats.records, stats.deleted) == (1, 3, 5, 2)
    assert items._store.snapshot().buffer_batches == 2
    items.flush()
    assert ids_of(items) == [1, 4, 2, 5, 6]
    assert (items.stats().buffered, items._store.snapshot().buffer_bytes) == (0, 0)


def test_everything_dies_during_a_flush(items: Collection) -> None:
    """A flush whose rows all died meanwhile still leaves a sound collection."""
    put(items, 1, 2)
    items._store.background_flush(once(lambda: items.delete([1, 2])))
    assert items.count() == 0
    put(items, 1)
    items.flush()
    assert ids_of(items) == [1]


def test_flush_of_dead_rows_makes_no_segment(items: Collection) -> None:
    """A buffer whose rows have all died is emptied without a segment, and stays empty."""
    put(items, 1, 2)
    items.delete([1, 2])
    items.flush()
    assert items.stats().segments == 0
    assert items._store.snapshot().buffer_batches == 0
    put(items, 3)
    items.flush()
    assert ids_of(items) == [3]


def test_flush_after_a_write_that_failed(
    items: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails while a flush writes files makes the state be read again, rightly."""
    put(items, 1, 2)

    def meanwhile() -> None:
        put(items, 2, 3)
        with monkeypatch.context() as patch:
            patch.setattr("vecstore.ingest.store.apply", _fail)
            with pytest.raises(errors.StorageError, match="on purpose"):
                put(items, 4)
        put(items, 5)

    items._store.background_flush(once(meanwhile))
    assert ids_of(items) == [1, 2, 3, 5]
    assert items._store.snapshot().buffer_batches == 2
    items.flush()
    assert items._store.snapshot().buffer_bytes == 0


def test_failed_flush_changes_nothing(items: Collection) -> None:
    """A flush that is stopped midway leaves the buffer as it was, and no file."""
    put(items, 1, 2)
    with pytest.raises(errors.StorageError, match="on purpose"):
        items._store.background_flush(once(_fail))
    assert items.stats().buffered == 2
    paths = items._store.environment.paths
    assert list(paths.segments.iterdir()) == list(paths.codecs.iterdir()) == []
    put(items, 3)
    items.flush()
    assert ids_of(items) == [1, 2, 3]


def test_tombstones_do_not_pile_up(items: Collection) -> None:
    """Rows that died in the buffer leave no tombstone once it is flushed."""
    for _ in range(3):
        put(items, 1, 2)
    items.delete([2])
    assert items._store.snapshot().tombstones
    items.flush()
    assert items._store.snapshot().tombstones == {}
    put(items, 1)
    assert items._store.snapshot().tombstones
    items.flush()
    assert items._store.snapshot().tombstones, "the first segment has a dead row"
    compact_all(items._store, everything=True)
    assert items._store.snapshot().tombstones == {}
    assert ids_of(items) == [1]


def test_swap_keeps_what_happened_meanwhile(items: Collection) -> None:
    """Rows that died after a segment was written in place of others are dead in it."""
    for first in (0, 10, 20):
        put(items, first, first + 1)
        items.flush()
    store = items._store
    with store.rewrite_lock:
        swap = merged(store)
        items.delete([10])
        put(items, 21, 30)
        store.swap(swap)
    assert ids_of(items) == [0, 1, 11, 20, 21, 30]
    assert items.stats().deleted == 2
    assert sorted(items.search([1, 0, 0, 0], limit=9).ids) == [0, 1, 11, 20, 21, 30]


def test_swap_without_new_segments(items: Collection) -> None:
    """A segment without live rows can go without another in its place."""
    put(items, 1)
    items.flush()
    put(items, 1)
    store = items._store
    [info] = store.snapshot().manifest.segments
    with store.rewrite_lock:
        store.swap(Swap(removed=frozenset([info.id]), added=()))
    assert ids_of(items) == [1]
    assert store.snapshot().tombstones == {}


def test_swap_writes_what_else_is_wanted(items: Collection) -> None:
    """What `also` writes is in the commit; where it fails, nothing of the swap happened."""
    put(items, 1)
    items.flush()
    store = items._store
    before = store.snapshot()
    with store.rewrite_lock:
        swap = merged(store)
        with pytest.raises(errors.StorageError, match="on purpose"):
            store.swap(replace(swap, also=_fail))
        assert store.snapshot().manifest == before.manifest
        assert items.get([1])[0] is not None
        store.swap(replace(swap, also=lambda txn: txn.put(keys.META, b"test", keys.pack_number(7))))
    with store.environment.kv.read() as txn:
        assert txn.get(keys.META, b"test") == keys.pack_number(7)
    assert ids_of(items) == [1]


def test_unused_codecs_go(items: Collection) -> None:
    """Trained codecs that no segment uses any more are removed, but for the newest of each."""
    store, rng = items._store, np.random.default_rng(0)
    for first, count in ((0, 10), (100, 40), (1_000, 200)):
        items.upsert(range(first, first + count), rng.standard_normal((count, 4)))
        items.flush()
    paths = store.environment.paths
    assert len(list(paths.codecs.iterdir())) == 3
    before = items.search([1, 0, 0, 0], exact=True).ids.tolist()
    compact_all(store, everything=True)
    store.environment.reclaimer.sweep()
    with store.environment.kv.read() as txn:
        [info] = codecs_of(txn, store.info)
    assert len(list(paths.codecs.iterdir())) == 1
    assert info.rows >= 200
    assert items.search([1, 0, 0, 0], exact=True).ids.tolist() == before


def test_hits_outlive_a_swap(items: Collection, database: Database) -> None:
    """Hits that were not read yet keep their segment, with codecs, until they are gone."""
    for number in range(3):
        put(items, number)
        items.flush()
    paths = items._store.environment.paths
    hits = items.search([1, 0, 0, 0], with_vectors=True)
    compact_all(items._store, everything=True)
    assert items._store.environment.reclaimer.sweep() == 0
    assert database.check() == []
    assert [hit.id for hit in hits] == [2, 1, 0]
    assert hits[0].vectors["v"].tolist() == [2, 1, 2, 3]
    del hits
    assert items._store.environment.reclaimer.sweep() == 4  # three segments and a codec
    assert len(list(paths.segments.iterdir())) == 1


def test_hits_outlive_their_collection(database: Database, items: Collection) -> None:
    """Hits that were not read yet can be read after their collection was dropped."""
    put(items, 1, 2)
    items.flush()
    hits = items.search([1, 0, 0, 0], with_vectors=True)
    database.drop_collection("items")
    assert hits.ids.tolist() == [2, 1]
    assert hits[1].vectors["v"].tolist() == [1, 1, 2, 3]
    environment = items._store.environment
    del hits
    environment.reclaimer.sweep()
    assert list(environment.paths.segments.iterdir()) == []
    assert list(environment.paths.codecs.iterdir()) == []


def test_dropped_collections_leave_no_file(database: Database, items: Collection) -> None:
    """The files of a dropped collection are gone at once where nobody reads them."""
    put(items, 1)
    items.flush()
    paths = items._store.environment.paths
    with pytest.raises(errors.NotFoundError):
        database.drop_collection("other")
    database.drop_collection("items")
    with pytest.raises(errors.NotFoundError, match="dropped"):
        put(items, 2)
    database._environment.reclaimer.sweep()
    assert list(paths.segments.iterdir()) == list(paths.codecs.iterdir()) == []


def test_quarantine_names_a_segment_once(items: Collection) -> None:
    """A segment is quarantined by an error that names its folder, once, until it is replaced."""
    for number in (1, 2):
        put(items, number)
        items.flush()
    store = items._store
    first, _ = store.snapshot().manifest.segments
    error = errors.CorruptionError("block 3 is damaged")
    assert not store.quarantine(error)
    error.folder = str(store.environment.paths.segment(first.id))
    assert store.quarantine(error)
    assert not store.quarantine(error)
    assert store.environment.quarantined == {first.id: "block 3 is damaged"}
    with store.rewrite_lock:
        store.swap(merged(store))
    assert store.environment.quarantined == {}


@pytest.mark.parametrize(("folder", "times"), [("", 1), ("elsewhere", 2)])
def test_what_cannot_be_spared_is_raised(items: Collection, folder: str, times: int) -> None:
    """Damage that is in no segment of the collection is raised, and not met for ever."""
    met = []

    def act(quarantined: Mapping[int, str]) -> None:
        met.append(quarantined)
        error = errors.CorruptionError("block 3 is damaged")
        error.folder = folder
        raise error

    with pytest.raises(errors.CorruptionError, match="block 3"):
        items._store.sparing(act)
    assert met == [{}] * times


def test_reads_find_rows_while_they_move(items: Collection) -> None:
    """`get` finds a record at every moment of a flush and of a swap."""
    put(items, 1, 2)
    seen = []

    def look(written: int) -> None:
        seen.append([record.payload if record else None for record in items.get([1, 2, 3])])

    items._store.background_flush(look)
    compact_all(items._store, look, everything=True)
    assert len(seen) > 2
    assert all(found == [{}, {}, None] for found in seen)


def test_only_swaps_make_room_for_others(items: Collection) -> None:
    """The spans of a swap hold no seq of a segment that stays."""
    for number in range(5):
        put(items, number)
        items.flush()
    snapshot = items._store.snapshot()
    segments = snapshot.manifest.segments
    removed = frozenset([segments[0].id, segments[1].id, segments[3].id])
    spans = list(swapping._spans(snapshot, Swap(removed=removed, added=()), {}))
    assert [(span.first, span.last) for span in spans] == [(0, 1), (3, 3)]


def _fail(*_: Any) -> None:
    raise errors.StorageError("on purpose")


@pytest.mark.parametrize("spec", ["pq2", "opq2", "rq2"])
def test_training_rests_and_gives_up(database: Database, spec: str) -> None:
    """A flush whose pace raises while a codec trains leaves all as it was, and the next trains."""
    schema = vs.Schema(vectors=[vs.Vector("v", 4, "dot", [spec])])
    items = database.create_collection("trained", schema)
    put(items, 1, 2, 3, 4)

    def stop() -> None:
        raise errors.ClosedError("stopped")

    calls: list[int] = []
    with pytest.raises(errors.ClosedError, match="stopped"):
        items._store.background_flush(once(stop))
    assert items.stats().segments == 0
    assert not list(database._environment.paths.codecs.iterdir())
    items._store.background_flush(calls.append)
    assert calls[:12] == [0] * 12
    assert ids_of(items) == [1, 2, 3, 4]
