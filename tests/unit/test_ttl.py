"""Records that expire: absent at once, deleted later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database

DAY = 86_400


class Clock:
    """A clock that is set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """A database on that clock, which is sound at the end."""
    with vs.open(tmp_path / "db", options=vs.Options(background=False)) as db:
        db._environment.clock = clock
        yield db
        assert db.check() == []


def make(db: Database, ttl_s: float | None = None) -> Collection:
    """A collection of one vector field, whose records live so long."""
    schema = vs.Schema(
        vectors=[vs.Vector("v", 2, "dot")], columns=[vs.Column("n", "int")], ttl_s=ttl_s
    )
    return db.create_collection("items", schema)


def put(items: Collection, *ids: int, **keywords: Any) -> None:
    """Write records."""
    items.upsert(list(ids), np.ones((len(ids), 2)), [{"n": id_} for id_ in ids], **keywords)


def visible(items: Collection) -> list[Any]:
    """The ids that every kind of read agrees on."""
    found = [record.id for record in items.scroll()]
    assert sorted(items.search([1, 1], limit=100).ids) == sorted(found)
    assert sorted(items.search([1, 1], limit=100, where="n >= 0").ids) == sorted(found)
    assert sorted(items.search([1, 1], limit=100, exact=True).ids) == sorted(found)
    assert items.count() == items.count("n >= 0") == items.stats().records == len(found)
    assert [bool(record) for record in items.get(range(10))] == [id_ in found for id_ in range(10)]
    return found


@pytest.mark.parametrize("flushed", [False, True])
def test_expired_records_are_absent(database: Database, clock: Clock, flushed: bool) -> None:
    """Each record is there up to its own moment and absent from then on, flushed or not."""
    items = make(database)
    put(items, 1, 2, 3, ttl_s=[10, None, 20.5])
    put(items, 4, ttl_s=5)
    if flushed:
        items.flush()
    assert visible(items) == [1, 2, 3, 4]
    for passed, expected in ((4.9, [1, 2, 3, 4]), (5.1, [1, 2, 3]), (15, [2, 3]), (21, [2])):
        clock.now = Clock.now + passed
        assert visible(items) == expected
    assert items.delete([1, 2]) == 1, "what expired is not deleted once more"
    assert visible(items) == []


def test_schema_sets_the_default(database: Database, clock: Clock) -> None:
    """Records live as long as the schema says unless upsert says otherwise; a write renews them."""
    items = make(database, ttl_s=10)
    put(items, 1, 2)
    put(items, 3, 4, ttl_s=[None, 100])
    clock.now += 8
    put(items, 2)
    clock.now += 8
    assert visible(items) == [4, 2]
    put(items, 1)
    assert visible(items) == [4, 2, 1]
    clock.now += DAY
    assert visible(items) == []


def test_expire_deletes(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired rows and ids go in transactions of bounded size; what has not expired stays."""
    monkeypatch.setattr("vecstore.ingest.store.EXPIRE_ROWS_MAX", 3)
    items = make(database)
    put(items, *range(5), ttl_s=10)
    items.flush()
    put(items, *range(5, 10), ttl_s=[10, 10, 99, None, 10])
    store, now = items._store, int(clock.now * 1_000_000)
    assert store.expire(now + 9_000_000) == 0
    clock.now += 10
    assert visible(items) == [7, 8]
    commit = database._environment.kv.last_txn()
    assert store.expire(int(clock.now * 1_000_000)) == 8
    assert database._environment.kv.last_txn() - commit == 3, "3, 3 and 2"
    assert visible(items) == [7, 8]
    assert store.snapshot().manifest.live == 2
    items.compact()
    assert visible(items) == [7, 8]
    assert items.stats().deleted == 0


def test_expired_rows_survive_flush_and_reopening(tmp_path: Path) -> None:
    """What expired and was not deleted yet stays absent through flush, compaction and reopening."""
    clock = Clock()
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        db._environment.clock = clock
        items = make(db)
        put(items, 1, 2, ttl_s=[5, None])
        clock.now += 6
        items.flush()
        put(items, 3, ttl_s=5)
        assert visible(items) == [2, 3]
        assert db.check() == []
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        items = db.collection("items")
        assert visible(items) == [2]
        items.compact()
        assert visible(items) == [2]
        assert db.check() == []


def test_nothing_is_stored_without_ttl(database: Database) -> None:
    """A collection whose records live for ever stores nothing about it."""
    items = make(database)
    put(items, 1)
    [live] = items._store.snapshot().blocks
    assert live.source.expires is None
    items.flush()
    [live] = items._store.snapshot().segments
    assert live.source.expires is None
    assert items._store.snapshot().manifest.segments[0].expires == 0


def test_last_of_an_id_wins(database: Database, clock: Clock) -> None:
    """Where an id comes twice in a batch, its last record's time counts."""
    items = make(database)
    put(items, 1, 2, 1, ttl_s=[100, 100, 5])
    clock.now += 6
    assert visible(items) == [2]


@pytest.mark.parametrize(
    "ttl_s", [0, -1, float("nan"), float("inf"), True, "5", 1e12, [1], [1, 2, 3], [1, "x"], {1: 2}]
)
def test_wrong_ttl(database: Database, ttl_s: Any) -> None:
    """A time to live that cannot be is a RequestError, and nothing is written."""
    items = make(database)
    with pytest.raises(errors.RequestError, match="ttl_s"):
        put(items, 1, 2, ttl_s=ttl_s)
    assert items.count() == 0


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), True, "5"])
def test_wrong_ttl_of_a_schema(ttl_s: Any) -> None:
    """A schema's time to live that cannot be is a SchemaError."""
    with pytest.raises(errors.SchemaError, match="ttl_s"):
        vs.Schema(vectors=[vs.Vector("v", 2)], ttl_s=ttl_s)
