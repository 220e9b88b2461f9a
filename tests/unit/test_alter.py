"""Another ladder for a field: what changes, and what stays."""

from __future__ import annotations

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
    codes,
    folders,
    ladder,
    make,
)
from vecstore.database import Database
from vecstore.errors import VectorError
from vecstore.ingest.alter_work import ROUNDS_MAX
from vecstore.ingest.batch import make_batch
from vecstore.ingest.precision import buffer_dtypes
from vecstore.storage import failpoints
from vecstore.types import Metric


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database without background work, sound at the end."""
    with vs.open(tmp_path, options=ALONE) as opened:
        yield opened
        assert opened.check() == []


@pytest.mark.parametrize("metric", ["dot", "l2", "cosine"])
def test_a_coarse_rung_changes_no_exact_answer(db: Database, metric: Metric) -> None:
    """Exact answers are the same bits before and after a coarse representation is added."""
    items = make(db, ["float16"], metric)
    items.upsert(["new"], {"v": VECTORS[:1] / 2})
    before = answers(items, exact=True)
    items.alter("v", ["bits2", "prefix8/bits4", "pca8/int8", "float16"])
    assert ladder(items) == ["prefix8/bits4", "pca8/int8", "bits2", "float16"]
    assert answers(items, exact=True) == before
    items.flush()
    assert answers(items, exact=True) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["float32"], ["bits1", "bits4", "float32"]),
        (["float32"], ["float16", "prefix8/bits8", "float32"]),
        (["float32"], ["bits1", "bits8"]),
        (["bits1", "float32"], ["bits2", "float32"]),
        (["bits1", "float16"], ["bits4", "float16"]),
        (["float16"], ["pca8/bits2", "int8", "float16"]),
    ],
)
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_codes_are_those_of_a_new_collection(
    db: Database, metric: Metric, old: list[str], new: list[str]
) -> None:
    """Codes equal those of a collection that had the ladder when the same vectors came."""
    items = make(db, old, metric, segments=1)
    records = list(items.scroll(with_vectors=True))
    fresh = db.create_collection(
        "fresh", vs.Schema([vs.Vector("v", DIM, metric, new), vs.Vector("w", 2, "l2")])
    )
    fields = {name: [record.vectors.get(name) for record in records] for name in ("v", "w")}
    fresh.upsert([record.id for record in records], fields)
    fresh.flush()
    items.alter("v", new)
    assert ladder(items) == ladder(fresh)
    for spec in ladder(items):
        for mine, other in zip(codes(items, spec), codes(fresh, spec), strict=True):
            np.testing.assert_array_equal(mine, other)
    assert answers(items) == answers(fresh)


def test_codes_come_from_the_finest_that_is_left(db: Database) -> None:
    """Once the finest is dropped, new codes are made from what the next one decodes to."""
    items = make(db, ["bits8", "float32"], segments=1)
    items.alter("v", ["bits8"])
    [record, *_] = items.get([3], with_vectors=True)
    assert record is not None
    items.alter("v", ["bits2", "bits8"])
    source = items._store.snapshot().segments[0].source
    stored = source.codes("v", "bits2")
    assert stored is not None
    np.testing.assert_array_equal(
        codes(items, "bits2")[0][3], stored.codec.encode(record.vectors["v"][None])[0]
    )


def test_what_stays_is_linked(db: Database) -> None:
    """Files that do not change are the same files, and the codes that stay keep their codec."""
    items = make(db, ["int8", "float16"], segments=1)
    paths = items._store.environment.paths

    def files() -> dict[str, int]:
        [info] = items._store.snapshot().manifest.segments
        folder = paths.segment(info.id)
        return {path.name: path.stat().st_ino for path in folder.iterdir()}

    before, codec = files(), items._store.snapshot().segments[0].source.codec_id("v", "int8")
    items.alter("v", ["bits1", "int8", "float16"])
    after = files()
    assert {name for name in before if after[name] != before[name]} == {"segment"}
    assert len(after) == len(before) + 1
    assert items._store.snapshot().segments[0].source.codec_id("v", "int8") == codec


def test_deletes_hold(db: Database) -> None:
    """What was deleted before, and what is deleted while segments are made, stays deleted."""
    items = make(db, ["float16"])
    items.delete(range(10))
    items.alter("v", ["bits1", "float16"])
    assert items.count() == ROWS - 10
    assert items.get([3]) == [None]


def test_until_the_cut_over_nothing_changes(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step before the commit the schema and every answer are those of before."""
    items = make(db, ["bits2", "float16"])
    before = answers(items), answers(items, exact=True), items.stats()
    seen: list[str] = []

    def hook(name: str) -> None:
        if name != "alter.committed" and not name.startswith("reclaim"):
            seen.append(name)
            assert (answers(items), answers(items, exact=True), items.stats()) == before
            assert ladder(items) == ["bits2", "float16"]

    monkeypatch.setattr(failpoints, "hook", hook)
    items.alter("v", ["bits4", "float16"])
    assert {"alter.begin", "alter.built", "alter.commit"} <= set(seen)
    assert ladder(items) == ["bits4", "float16"]


def test_writes_and_flushes_go_on(db: Database) -> None:
    """Segments that are flushed while others are made get the new ladder too, however many."""
    items = make(db, ["float16"])
    more = iter(range(1000, 2000))

    def write() -> None:
        number = next(more)
        items.upsert([number], {"v": np.full((1, DIM), 1.0)})
        items.delete([number - 1000])
        items.flush()
        items.upsert([-number], {"v": np.full((1, DIM), 2.0)})

    with at("alter.built", write, ROUNDS_MAX):
        items.alter("v", ["bits1", "float16"])
    assert items.stats().segments == 2 + ROUNDS_MAX
    assert items.count() == ROWS + ROUNDS_MAX
    assert all(
        live.source.specs("v") in {(), ("bits1", "float16")}
        for live in items._store.snapshot().segments
    )
    assert items.search({"v": np.ones(DIM)}, limit=1).scores.tolist() == [2.0 * DIM]


def test_an_empty_collection_takes_any_ladder(db: Database) -> None:
    """Where no record has the field, every ladder is possible and nothing is written again."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM), vs.Vector("w", 2)]))
    items.upsert([1], {"w": [[1, 0]]})
    items.flush()
    before = folders(db)
    items.alter("v", ["pca8/bits1", "float32"])
    assert folders(db) == before
    items.upsert([2], {"v": VECTORS[:1]})
    items.flush()
    assert items._store.snapshot().segments[-1].source.specs("v") == ("pca8/bits1", "float32")


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize(
    ("old", "new"), [("float32", "float16"), ("float16", "bits4"), ("float32", "bits4")]
)
def test_the_write_buffer_follows(db: Database, metric: Metric, old: str, new: str) -> None:
    """Buffered rows are kept as the new ladder wants them, also in LMDB."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, metric, [old])]))
    items.upsert(range(50), VECTORS[:50])
    items.delete(range(5))
    items.alter("v", ["bits1", new])
    items.upsert(range(50, 60), VECTORS[50:60])
    before = answers(items)
    dtype = np.float16 if new == "float16" else np.float32
    for live in items._store.snapshot().blocks:
        values = live.source.content.vectors["v"].values
        assert values.dtype == dtype
    items._store.doubt()
    assert answers(items) == before
    if new == "float16":
        items.flush()
        assert answers(items, exact=True) == before


def test_a_batch_from_before_the_cut_over_is_fitted(db: Database) -> None:
    """A batch that was checked under the old ladder is kept as the new one wants, or refused."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", 2, "dot", ["float32"])]))
    old = items.schema
    fine, huge = (
        make_batch(old, [number], [[number, 0.1]], None, dtypes=buffer_dtypes(old))
        for number in (1, 100_000)
    )
    items.alter("v", ["float16"])
    items._store.upsert(fine)
    with pytest.raises(VectorError, match="id 100000"):
        items._store.upsert(huge)
    [record] = items.scroll(with_vectors=True)
    assert record.vectors["v"].tolist() == [1, np.float16(0.1)]
