"""What every public method does, on an embedded database and on one behind a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import AlreadyExistsError, ClosedError, NotFoundError

SCHEMA = vs.Schema(
    vectors=[vs.Vector("text", 4, representations=["bits4", "float32"]), vs.Vector("pic", 2, "l2")],
    columns=[vs.Column("year", "int"), vs.Column("tags", "list[keyword]")],
)
AXES = np.eye(4, dtype=np.float32)


def filled(database: Any) -> Any:
    """A collection of three records, one of them without a picture and one without a payload."""
    books = database.create_collection("books", SCHEMA)
    written = books.upsert(
        [1, "b", 3],
        {"text": AXES[:3], "pic": [[1.0, 0.0], None, [0.0, 2.0]]},
        [{"year": 2001, "tags": ["x"]}, {"year": 2010, "note": {"é": [1, None]}}, None],
    )
    assert written == 3
    return books


def test_collections_are_made_named_and_dropped(either: Any) -> None:
    """Collections can be made, found by name, listed in order, and dropped."""
    made = either.create_collection("z", SCHEMA)
    either.create_collection("a", SCHEMA)
    assert either.collections() == ["a", "z"]
    assert made.name == "z"
    assert made.schema == either.collection("z").schema
    assert made.schema.vectors[0] == SCHEMA.vectors[0]
    assert made.schema.vectors[1].representations
    with pytest.raises(AlreadyExistsError):
        either.create_collection("a", SCHEMA)
    either.drop_collection("z")
    assert either.collections() == ["a"]
    with pytest.raises(NotFoundError):
        either.collection("z")
    with pytest.raises(NotFoundError):
        made.count()


def test_get_gives_records_in_the_order_asked(either: Any) -> None:
    """Records come back in the order of the ids, with None for ids that no record has."""
    books = filled(either)
    second, missing, first, again = books.get(["b", "1", 1, "b"])
    assert (second.id, first.id, missing) == ("b", 1, None)
    assert second.payload == {"year": 2010, "note": {"é": [1, None]}}
    assert again == second
    assert first.vectors == {}


def test_vectors_come_back_where_a_record_has_them(either: Any) -> None:
    """With with_vectors, a record carries the vectors of the fields that it has."""
    books = filled(either)
    for record in books.get([1, "b"], with_vectors=True):
        assert record.vectors["text"].dtype == np.float32
        assert ("pic" in record.vectors) == (record.id == 1)
    first = books.get([1], with_vectors=True)[0]
    np.testing.assert_allclose(first.vectors["text"], AXES[0], atol=1e-3)
    np.testing.assert_allclose(first.vectors["pic"], [1, 0], atol=1e-3)


def test_scroll_goes_through_all_records_oldest_first(either: Any) -> None:
    """A scroll gives every record once, oldest write first, also in small pages."""
    books = filled(either)
    books.upsert([1], {"text": AXES[:1]})
    assert [record.id for record in books.scroll(batch=1)] == ["b", 3, 1]
    assert [record.id for record in books.scroll(where="year > 2000")] == ["b"]
    page, after = books.scroll_page(0, 2)
    assert [record.id for record in page] == ["b", 3]
    page, after = books.scroll_page(after, 2)
    assert [record.id for record in page] == [1]
    assert after is None


def test_delete_counts_what_was_there(either: Any) -> None:
    """Deleting says how many records there were, by ids or by filter."""
    books = filled(either)
    assert books.delete([3, "3", 3]) == 1
    assert books.delete(where="year < 2005") == 1
    assert books.count() == 1
    assert books.count("year = 2010") == 1
    assert books.delete([]) == 0


def test_stats_and_flush(either: Any) -> None:
    """A flush moves records from the write buffer to a segment, and stats say so."""
    books = filled(either)
    before = books.stats()
    assert (before.records, before.buffered, before.segments) == (3, 3, 0)
    assert books.flush() is None
    after = books.stats()
    assert (after.records, after.buffered, after.segments) == (3, 0, 1)
    assert after.disk_bytes > 0
    assert {item.field for item in after.representations} == {"text", "pic"}
    assert [record.id for record in books.scroll()] == [1, "b", 3]


def test_records_expire(either: Any) -> None:
    """A record is gone when its seconds have passed, and the schema says how many by default."""
    books = filled(either)
    assert books.upsert([4, 5, 6], {"text": AXES[:3]}, ttl_s=[1e-6, None, 1_000]) == 3
    assert books.upsert([7], {"text": AXES[:1]}, ttl_s=1e-6) == 1
    assert [record and record.id for record in books.get([4, 5, 6, 7])] == [None, 5, 6, None]
    assert books.count() == 5
    assert 4 not in books.search({"text": AXES[0]}).ids.tolist()
    short = vs.Schema(vectors=[vs.Vector("v", 2)], ttl_s=1e-6)
    brief = either.create_collection("brief", short)
    assert brief.schema.ttl_s == 1e-6
    brief.upsert([1, 2], [[1, 0], [0, 1]], ttl_s=[None, 1_000])
    assert [record.id for record in brief.scroll()] == [2]


def test_compact_drops_what_died(either: Any) -> None:
    """Compacting leaves one segment without the rows that died."""
    books = filled(either)
    books.flush()
    books.upsert([1], {"text": AXES[:1]})
    books.delete(["b"])
    books.flush()
    assert books.stats().deleted == 2
    assert books.compact() is None
    stats = books.stats()
    assert (stats.records, stats.deleted, stats.segments, stats.buffer_bytes) == (2, 0, 1, 0)
    assert [record.id for record in books.scroll()] == [3, 1]


def test_alter_changes_the_ladder(either: Any) -> None:
    """A field gets another ladder, which searches read and the schema shows."""
    books = filled(either)
    books.flush()
    assert books.alter("text", ["bits1", "float32"]) is None
    assert books.schema.vector("text").representations == ("bits1", "float32")
    assert either.collection("books").schema == books.schema
    hits = books.search({"text": AXES[1]}, plan=vs.Cascade([vs.Scan("bits1", keep=10)]))
    assert hits.ids[0] == "b"
    with pytest.raises(vs.errors.SchemaError, match="the original vectors are gone"):
        books.alter("pic", ["float32"])


def test_recall_is_measured_and_shown(either: Any) -> None:
    """Recall is measured on given and on live queries, with progress, and stats show it."""
    books = filled(either)
    with pytest.raises(vs.errors.RequestError, match="search first"):
        books.measure_recall()
    told: list[int] = []
    ones = np.ones((40, 2))
    given = books.measure_recall({"pic": ones}, progress=lambda *item: told.append(item[1]))
    assert (given.field, given.queries, given.overlap, given.live) == ("pic", 40, 1, False)
    assert told[-1] == 40
    books.search({"text": AXES[0]}, where="year > 2000")
    live = books.measure_recall(field="text", limit=2)
    assert (live.queries, live.limit, live.where, live.live) == (1, 2, None, True)
    assert books.stats().recalls == (given, live)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        books.measure_recall({"text": np.ones((1_000, 4))}, limit=3, progress=stop)


def test_jobs_can_be_held_up(either: Any) -> None:
    """Background work is listed, held up and let go on."""
    books = filled(either)
    books.flush()
    either.pause_jobs()
    books.alter("text", ["bits1", "float32"], wait=False)
    (job,) = either.jobs()
    assert (job.kind, job.collection, job.state) == ("alter", "books", "paused")
    assert books.stats().jobs == (job,)
    either.resume_jobs()
    books.alter("text", ["bits1", "float32"])
    assert either.jobs() == []


def test_a_sound_database_needs_no_repair(either: Any) -> None:
    """A check and a repair of a sound database find nothing, and say how far they come."""
    filled(either).flush()
    told: list[str] = []

    def progress(what: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        told.append(what)

    assert either.check(progress) == []
    checked = len(told)
    assert checked
    assert either.repair(progress) == vs.RepairReport()
    assert len(told) > checked


def test_search_gives_hits_best_first(either: Any) -> None:
    """A search gives hits best first, with ids, scores, payloads and vectors as asked."""
    books = filled(either)
    hits = books.search({"text": [0.1, 1, 0, 0]}, limit=2, with_vectors=True, explain=True)
    assert hits.ids.tolist() == ["b", 1]
    assert hits.scores.dtype == np.float32
    assert hits[0].payload == {"year": 2010, "note": {"é": [1, None]}}
    assert hits[0].vectors["text"].shape == (4,)
    assert hits.explain
    assert not hits.partial
    assert books.search({"text": AXES[0]}, with_payload=False)[0].payload == {}
    assert books.search({"text": AXES[0]}).explain is None
    assert books.search({"pic": [0, 2]}).ids.tolist() == [3, 1]
    assert books.search({"text": AXES[0]}, where="tags CONTAINS 'x'").ids.tolist() == [1]
    assert books.search({"text": AXES[0]}, where="year = 1").ids.tolist() == []


def test_search_batch_answers_each_query(either: Any) -> None:
    """A batch gives one list of hits for each query, as single searches do."""
    books = filled(either)
    found = books.search_batch({"text": AXES[:3]}, limit=1, exact=True)
    assert [hits.ids.tolist() for hits in found] == [[1], ["b"], [3]]
    assert books.search_batch({"text": AXES[:0]}) == []
    plan = vs.Cascade([vs.Scan("bits4", keep=3), vs.Rescore("float32", keep=1)])
    (hits,) = books.search_batch({"text": AXES[:1]}, plan=plan, explain=True)
    assert [stage.representation for stage in hits.explain] == ["bits4", "float32"]


def test_large_batches_are_written_whole(either: Any) -> None:
    """A batch of more than one request is written whole, or refused whole."""
    schema = vs.Schema(vectors=[vs.Vector("v", 64, "dot", representations=["float32"])])
    many = either.create_collection("many", schema)
    rows = np.random.default_rng(1).standard_normal((40_000, 64)).astype(np.float32)
    payloads = [{"row": row} for row in range(len(rows))]
    assert many.upsert(list(range(len(rows))), rows, payloads) == len(rows)
    assert many.get([39_999], with_vectors=True)[0].payload == {"row": 39_999}
    assert many.get([39_999], with_vectors=True)[0].vectors["v"].tolist() == rows[-1].tolist()
    rows[-1, 0] = np.nan
    with pytest.raises(vs.errors.VectorError, match="39999"):
        many.upsert(list(range(len(rows))), -rows, payloads)
    assert many.get([0], with_vectors=True)[0].vectors["v"].tolist() == rows[0].tolist()


def test_a_closed_database_answers_no_more(either: Any) -> None:
    """After close(), which may be called twice, every call raises ClosedError."""
    books = filled(either)
    either.close()
    either.close()
    calls: list[Callable[[], object]] = [
        either.collections,
        either.check,
        either.repair,
        either.jobs,
        either.pause_jobs,
        either.resume_jobs,
        lambda: either.snapshot("copy"),
        lambda: either.collection("books"),
        lambda: either.create_collection("more", SCHEMA),
        lambda: either.drop_collection("books"),
        books.count,
        books.stats,
        books.flush,
        books.compact,
        lambda: books.alter("text", ["bits1"]),
        lambda: books.get([1]),
        lambda: books.delete([1]),
        lambda: books.upsert([1], {"text": AXES[:1]}),
        lambda: books.search({"text": AXES[0]}),
        lambda: books.search_batch({"text": AXES}),
        lambda: books.scroll_page(0, 1),
        lambda: books.measure_recall({"text": AXES}),
        lambda: list(books.scroll()),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match=r"open it again|connect again"):
            call()
