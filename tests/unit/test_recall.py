"""Recall that is measured: on which queries, how it is stored, when it is stale, how it ends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import flip_value
from vecstore import options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import NotFoundError, RequestError
from vecstore.request import SearchRequest
from vecstore.storage import keys
from vecstore.tune.live import LiveQueries
from vecstore.types import Array

DIM = 16
OPTIONS = vs.Options(background=False)
SCHEMA = vs.Schema(
    [vs.Vector("text", DIM, representations=["sign", "float16"]), vs.MultiVector("pages", DIM)],
    [vs.Column("year", "int")],
)


def vectors(count: int, seed: int = 0) -> Array:
    """Vectors [count, DIM]."""
    return np.random.default_rng(seed).standard_normal((count, DIM))


def sets(count: int, seed: int = 0) -> list[Array]:
    """Arrays of 3 vectors."""
    return list(np.random.default_rng(seed).standard_normal((count, 3, DIM)))


def fill(db: Database, count: int = 300) -> Collection:
    """A collection with one segment."""
    books = db.create_collection("books", SCHEMA)
    payloads = [{"year": row % 5} for row in range(count)]
    books.upsert(range(count), {"text": vectors(count), "pages": sets(count)}, payloads)
    books.flush()
    return books


def test_live_queries_are_those_that_default_plans_answered(tmp_path: Path) -> None:
    """Only queries of default plans are kept, of each field its own, and each with its filter."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db)
        plan = vs.Cascade([vs.Scan("sign", 10)])
        books.search({"text": vectors(1)[0]}, plan=plan)
        books.search({"text": vectors(1)[0]}, exact=True)
        books.search({"pages": sets(1)[0]}, token_budget=1)
        with pytest.raises(RequestError, match="search first"):
            books.measure_recall()
        books.search_batch({"text": vectors(7)}, where="year = 3")
        books.search({"text": vectors(1)[0]})
        measured = books.measure_recall(limit=5)
        assert (measured.field, measured.queries, measured.live) == ("text", 8, True)
        books.search({"pages": sets(1)[0]})
        books.search_batch({"pages": sets(3), "text": vectors(3)})
        with pytest.raises(RequestError, match="'pages', 'text' are kept; say with field="):
            books.measure_recall()
        assert books.measure_recall(field="pages").queries == 4
        assert books.measure_recall(field="text", where="year = 1").where == "year = 1"
        with pytest.raises(NotFoundError, match="'words'"):
            books.measure_recall(field="words")
        with pytest.raises(RequestError, match="omit it"):
            books.measure_recall({"text": vectors(2)}, field="text")
        assert [item.field for item in books.stats().recalls] == ["pages", "text"]


def test_few_live_queries_are_kept() -> None:
    """The first queries are all kept; later ones now and then, in place of the oldest."""
    live = LiveQueries()
    for seed in range(8 * options.LIVE_QUERIES_MAX):
        live.offer(SearchRequest(field="v", queries=np.full((4, 1), seed, np.float32), limit=1))
    (request,) = live.requests("v", 3, None)
    kept = request.queries[:, 0]
    assert (len(kept), request.limit) == (options.LIVE_QUERIES_MAX, 3)
    assert (np.diff(kept) >= 0).all()
    assert 20 < (kept > options.LIVE_QUERIES_MAX).sum() < 120
    assert 0 not in kept


def test_each_field_keeps_its_own_queries() -> None:
    """However many queries a field was asked, the first ones of another are kept as well."""
    live = LiveQueries()
    query = np.zeros((1, 4), np.float32)
    for _ in range(2 * options.LIVE_QUERIES_MAX):
        live.offer(SearchRequest(field="a", queries=query, limit=1))
    large = np.zeros((1, options.LIVE_QUERIES_BYTES_MAX), np.float32)
    live.offer(SearchRequest(field="c", queries=large, limit=1))
    live.offer(SearchRequest(field="b", queries=query, limit=1))
    (request,) = live.requests("b", 1, None)
    assert len(request.queries) == 1
    with pytest.raises(RequestError, match="'a', 'b' are kept"):
        live.requests(None, 1, None)


def test_live_queries_take_little_memory() -> None:
    """Queries of many vectors push others out, so that those kept have a bound in bytes."""
    live = LiveQueries()
    tokens = np.zeros((1_000, 128), np.float32)
    for _ in range(100):
        empty = np.empty((1, 0), np.float32)
        live.offer(SearchRequest(field="", queries=empty, limit=1, token_queries={"v": [tokens]}))
    (request,) = live.requests(None, 1, None)
    held = sum(each.nbytes for each in request.token_queries["v"])
    assert options.LIVE_QUERIES_BYTES_MAX / 2 < held <= options.LIVE_QUERIES_BYTES_MAX


def test_live_queries_are_copies(tmp_path: Path) -> None:
    """What the caller does to an array after the search changes no query that is kept."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, "dot")]))
        items.upsert(range(5), vectors(5))
        query = vectors(1)[0].astype(np.float32)
        items.search(query)
        query[:] = np.nan
        assert items.measure_recall().overlap == 1


def test_queries_that_find_nothing_do_not_count(tmp_path: Path) -> None:
    """A query without anything to find is left out, and an error says where all are such."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db)
        books.search({"text": vectors(1)[0]}, where="year = 99")
        with pytest.raises(RequestError, match="something to find"):
            books.measure_recall()
        books.search({"text": vectors(1)[0]}, where="year = 1")
        assert books.measure_recall().queries == 1
        assert books.measure_recall(limit=10_000, where="year = 2").overlap == 1


def test_stats_show_what_was_measured_last(tmp_path: Path) -> None:
    """The last measurement of a field is stored, and goes with its collection."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db)
        assert books.stats().recalls == ()
        books.measure_recall({"text": vectors(3, seed=1)})
        first = books.measure_recall({"text": vectors(9, seed=1)}, limit=3, where="year < 3")
        assert books.stats().recalls == (first,)
        pages = books.measure_recall({"pages": sets(4, seed=1)})
    with vs.open(tmp_path, read_only=True) as reader:
        books = reader.collection("books")
        assert books.stats().recalls == (pages, first)
        measured = books.measure_recall({"text": vectors(2, seed=1)})
        assert measured.queries == 2
        assert books.stats().recalls == (pages, first)
    with vs.open(tmp_path, options=OPTIONS) as db:
        db.drop_collection("books")
        with db._environment.kv.read() as txn:
            assert txn.keys(keys.RECALLS) == []


def test_recall_is_stale_when_most_records_moved(tmp_path: Path) -> None:
    """Few new records leave a measurement as it is; many, or a compaction, make it stale."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db, 100)

        def stale() -> bool:
            (found,) = books.stats().recalls
            return found.stale

        books.measure_recall({"text": vectors(3)})
        books.upsert(range(1_000, 1_090), {"text": vectors(90)})
        assert not stale()
        books.measure_recall({"text": vectors(3)})
        books.flush()
        assert not stale()
        books.upsert(range(2_000, 2_020), {"text": vectors(20)})
        assert stale()
        books.measure_recall({"text": vectors(3)})
        books.alter("text", ["bits1", "float16"])
        assert stale()
        books.measure_recall({"text": vectors(3)})
        books.upsert(range(60), {"text": vectors(60)})
        assert not stale()
        books.upsert(range(1_000, 1_090), {"text": vectors(90)})
        assert stale()
        books.measure_recall({"text": vectors(3)})
        books.delete(list(range(100)))
        assert not stale()
        books.compact()
        assert stale()


def test_progress_tells_and_stops(tmp_path: Path) -> None:
    """Progress counts queries up to all of them; where it raises, nothing is stored."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db)
        told: list[tuple[str, int, int]] = []
        books.measure_recall({"text": vectors(100)}, progress=lambda *item: told.append(item))
        done = [item[1] for item in told]
        assert done == sorted(set(done))
        assert told[-1] == ("recall of 'text'", 100, 100)
        assert len(told) > 2

        def stop(what: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            books.measure_recall({"pages": sets(5)}, progress=stop)
        wrong: Any = "loud"
        with pytest.raises(RequestError, match="progress is 'loud'"):
            books.measure_recall({"pages": sets(5)}, progress=wrong)
        assert [item.field for item in books.stats().recalls] == ["text"]


def test_writes_do_not_disturb_a_measurement(tmp_path: Path) -> None:
    """Both answers to a query come from one state, so that what others write costs no recall."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM)]))
        items.upsert(range(50), vectors(50))
        done = threading.Event()

        def write() -> None:
            seed = 0
            while not done.is_set():
                seed += 1
                items.upsert(range(50), vectors(50, seed))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                assert items.measure_recall(vectors(20)).overlap == 1
        finally:
            done.set()
            writer.join()


def test_a_damaged_measurement_is_none(tmp_path: Path) -> None:
    """Stats pass over a damaged measurement, a check finds it, and a repair removes it."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        books = fill(db)
        books.measure_recall({"text": vectors(3)})
        kept = books.measure_recall({"pages": sets(3)})
    flip_value(tmp_path, keys.RECALLS, keys.recall_key(books.id, "text"))
    with vs.open(tmp_path, options=OPTIONS) as db:
        assert db.collection("books").stats().recalls == (kept,)
        (problem,) = db.check()
        assert "'recalls'" in problem
        report = db.repair()
        assert report.lost == ("a recall of collection 1: measure it again",)
        assert db.check() == []
        assert db.collection("books").stats().recalls == (kept,)
