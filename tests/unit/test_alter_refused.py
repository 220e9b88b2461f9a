"""Alterations that are refused, taken back, cut off or replaced."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.unit.altering import (
    ALONE,
    DIM,
    ROWS,
    VECTORS,
    answers,
    at,
    begin,
    folders,
    ladder,
    make,
    named,
    stop,
)
from vecstore.database import Database
from vecstore.errors import (
    CorruptionError,
    NotFoundError,
    ReadOnlyError,
    RequestError,
    SchemaError,
    VectorError,
)
from vecstore.segment.reader import Segment
from vecstore.storage import keys


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database without background work, sound at the end."""
    with vs.open(tmp_path, options=ALONE) as opened:
        yield opened
        assert opened.check() == []


def test_the_same_ladder_does_nothing(db: Database) -> None:
    """Altering a field to the ladder it has, in any order of words, commits nothing."""
    items = make(db, ["bits1", "float16"])
    before = db._environment.kv.last_txn()
    items.alter("v", ["float16", "bits1"])
    items.alter("w", [])
    assert db._environment.kv.last_txn() == before


def test_what_cannot_be_is_refused(db: Database) -> None:
    """What is refused changes nothing: unknown fields and specs, and what is finer than is left."""
    items = make(db, ["bits1", "bits8"])
    before = db._environment.kv.last_txn()
    with pytest.raises(NotFoundError, match="'x'"):
        items.alter("x", ["bits1"])
    with pytest.raises(SchemaError, match="'bits3'"):
        items.alter("v", ["bits3"])
    with pytest.raises(SchemaError, match="original vectors are gone"):
        items.alter("v", ["bits1", "float16"])
    assert db._environment.kv.last_txn() == before
    assert ladder(items) == ["bits1", "bits8"]


def test_a_reader_cannot_alter(tmp_path: Path) -> None:
    """A handle opened for reading raises ReadOnlyError, also for the same ladder."""
    with vs.open(tmp_path, options=ALONE) as db:
        make(db, ["float16"])
    with vs.open(tmp_path, read_only=True) as db:
        for specs in (["float16"], ["bits1", "float16"]):
            with pytest.raises(ReadOnlyError, match="read_only"):
                db.collection("items").alter("v", specs)


def test_it_can_be_taken_back(db: Database) -> None:
    """The old ladder, asked for before the cut-over, takes all back: files, codecs, the entry."""
    items = make(db, ["float16"])
    before = named(items), answers(items)
    with (
        at("alter.built", lambda: items.alter("v", ["float16"])),
        pytest.raises(RequestError, match="another call"),
    ):
        items.alter("v", ["pca4/int8", "float16"])
    assert ladder(items) == ["float16"]
    assert (folders(db), answers(items)) == before
    assert list(db._environment.paths.codecs.iterdir()) == []
    with db._environment.kv.read() as txn:
        assert txn.keys(keys.JOBS) == []
        assert txn.keys(keys.CODECS) == []


def test_it_can_be_replaced(db: Database) -> None:
    """Another ladder, asked for before the cut-over, takes the place of the first."""
    items = make(db, ["float16"])
    with (
        at("alter.built", lambda: begin(items, ["bits4", "float16"])),
        pytest.raises(RequestError, match="another call"),
    ):
        items.alter("v", ["bits1", "float16"])
    assert ladder(items) == ["bits4", "float16"]
    assert folders(db) == named(items)


def test_one_field_at_a_time(db: Database) -> None:
    """While a field is being altered another one is refused, and can be altered afterwards."""
    items = make(db, ["float16"])
    begin(items, ["bits1", "float16"])
    with pytest.raises(RequestError, match="'v' is being altered"):
        items.alter("w", ["float16"])
    items.alter("w", [])
    with pytest.raises(RequestError, match="'v' is being altered"):
        items.alter("w", ["float16"])
    items.alter("v", ["bits1", "float16"])
    items.alter("w", ["float16"])
    assert ladder(items, "w") == ["float16"]


def test_what_is_made_is_used_again(db: Database) -> None:
    """An alteration that was interrupted goes on with the segments that it has made."""
    items = make(db, ["float16"])
    with at("alter.built", stop), pytest.raises(KeyboardInterrupt):
        items.alter("v", ["pca4/bits1", "float16"])
    made = set(folders(db)) - set(named(items))
    assert len(made) == 1
    assert db.check() == []
    items.alter("v", ["pca4/bits1", "float16"])
    assert made < set(named(items))
    assert folders(db) == named(items)


def test_what_is_made_is_dropped_after_a_compaction(db: Database) -> None:
    """Segments made of such as a compaction has replaced meanwhile are made anew."""
    items = make(db, ["float16"])
    with at("alter.built", stop), pytest.raises(KeyboardInterrupt):
        items.alter("v", ["bits1", "float16"])
    items.delete([0])
    items.compact()
    assert db.check() == []
    items.alter("v", ["bits1", "float16"])
    assert folders(db) == named(items)
    assert items.count() == ROWS - 1


def test_a_dropped_collection_leaves_nothing(db: Database) -> None:
    """Dropping a collection that is being altered removes what was made of it too."""
    items = make(db, ["float16"])
    with at("alter.built", stop), pytest.raises(KeyboardInterrupt):
        items.alter("v", ["pca4/int8", "float16"])
    db.drop_collection("items")
    del items
    gc.collect()  # the error knows where it was raised
    db._environment.reclaimer.sweep()
    assert folders(db) == []
    with db._environment.kv.read() as txn:
        assert txn.keys(keys.JOBS) == []


def test_values_beyond_float16_take_it_back(db: Database) -> None:
    """float16 as the finest is refused by a value that it cannot hold, and nothing is left."""
    items = make(db, ["float32"])
    items.upsert(["big"], {"v": np.full((1, DIM), 1e5)})
    for _ in range(2):
        with pytest.raises(VectorError, match="'big'"):
            items.alter("v", ["float16"])
        assert ladder(items) == ["float32"]
        assert folders(db) == named(items)
        items.flush()
    items.alter("v", ["float16", "float32"])
    items.delete(["big"])
    items.alter("v", ["float16"])
    assert ladder(items) == ["float16"]


def test_what_comes_meanwhile_may_forbid_it(db: Database) -> None:
    """Records that come before the cut-over and are too coarse for it take it back."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, "dot", ["float16"])]))
    with (
        at("alter.begin", lambda: items.upsert([1], VECTORS[:1])),
        pytest.raises(SchemaError, match="'float32'"),
    ):
        items.alter("v", ["float32"])
    assert ladder(items) == ["float16"]
    items.alter("v", ["float16"])
    items.delete([1])
    items.alter("v", ["float32"])


def test_a_damaged_source_is_not_passed_over(db: Database) -> None:
    """No codes are made from something coarser where the finest is damaged: it is an error."""
    items = make(db, ["bits4", "float16"], segments=1)
    [live] = items._store.snapshot().segments
    assert isinstance(live.source, Segment)
    info = live.source.info.field("v")
    assert info is not None
    path = live.source.folder / info.representations[-1].component
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for wanted in (["bits1", "bits4", "float16"], ["float16"]):
        with pytest.raises(CorruptionError, match=path.name):
            items.alter("v", wanted)
        assert ladder(items) == ["bits4", "float16"]
    items.alter("v", ["bits4", "float16"])
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
