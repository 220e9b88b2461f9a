"""Collections whose ladder has a codec of the table family: planned, searched, kept up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.property.test_codecs import clustered
from tests.unit.damaged import flip, segment_file
from vecstore import options
from vecstore.database import Database
from vecstore.request import Rescore, Scan, SearchRequest
from vecstore.search.plan import make_plan
from vecstore.types import Metric

LADDERS = (
    ["pq12", "float16"],
    ["pq24x4", "int8"],
    ["opq12", "bits4", "float32"],
    ["rq4", "float16"],
    ["pq12+balanced", "float16"],
    ["prefix24/pq6", "pca24/pq6x4", "pq12"],
)


@pytest.mark.parametrize("ladder", LADDERS, ids=str)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_ladders_answer(database: Database, ladder: list[str], metric: Metric) -> None:
    """A ladder with table codes is planned, and finds what the finest representation does, after
    a flush, a deletion and a compaction that copies codes.
    """
    vectors = clustered(900, 48, 1)
    schema = vs.Schema(vectors=[vs.Vector("v", 48, metric, ladder)])
    items = database.create_collection("items", schema)
    items.upsert(range(500), vectors[:500])
    items.flush()
    items.upsert(range(500, 900), vectors[500:])
    items.flush()
    items.delete(list(range(0, 500, 3)))
    queries = vectors[100:160]

    def shared() -> float:
        exact = items.search_batch(queries, exact=True)
        found = items.search_batch(queries)
        return float(
            np.mean([len({*a.ids} & {*b.ids}) / 10 for a, b in zip(exact, found, strict=True)])
        )

    assert shared() > 0.9
    items.compact()
    assert items.stats().segments == 1
    assert shared() > 0.9
    for query, hits in zip(queries, items.search_batch(queries), strict=True):
        np.testing.assert_array_equal(items.search(query).ids, hits.ids)


def test_few_allowed_rows_score_the_same(database: Database) -> None:
    """A filter, however narrow, changes which rows are found and no score."""
    vectors = clustered(700, 48, 2)
    schema = vs.Schema(
        vectors=[vs.Vector("v", 48, "l2", ["pq12"])], columns=[vs.Column("n", "int")]
    )
    items = database.create_collection("items", schema)
    items.upsert(range(700), vectors, payloads=[{"n": n} for n in range(700)])
    items.flush()
    every = items.search(vectors[0], limit=700)
    scores = dict(zip(every.ids, every.scores.tolist(), strict=True))
    for where in ("n < 3", "n BETWEEN 100 AND 400", "n >= 2"):
        found = items.search(vectors[0], where=where, limit=700)
        assert {id_: scores[id_] for id_ in found.ids} == dict(
            zip(found.ids, found.scores.tolist(), strict=True)
        )


def test_plans_keep_more_of_coarser_tables() -> None:
    """A scan of table codes keeps candidates for so many bits of each dimension."""
    for spec, bits in (("pq16", 128), ("pq48", 384), ("pq96x4", 384), ("rq96", 768)):
        vector = vs.Vector("v", 384, "cosine", [spec, "float16"])
        query = np.ones((1, 384), dtype=np.float32)
        plan = make_plan(SearchRequest(field="v", queries=query, limit=10), vector, few=False)
        keep = 10 * options.OVERSAMPLING_TABLE_BITS * 384 // bits
        assert plan.stages == (Scan(spec, keep), Rescore("float16", 10))


def test_codes_can_be_altered_both_ways(database: Database) -> None:
    """Table codes are made from finer ones that are there, and dropped again."""
    vectors = clustered(600, 48, 3)
    schema = vs.Schema(vectors=[vs.Vector("v", 48, "cosine", ["float16"])])
    items = database.create_collection("items", schema)
    items.upsert(range(600), vectors)
    items.flush()
    before = items.search(vectors[5]).ids.tolist()
    items.alter("v", ["pq12", "float16"])
    assert items.search(vectors[5]).ids.tolist() == before
    assert [item.spec for item in items.stats().representations] == ["pq12", "float16"]
    items.alter("v", ["float16"])
    assert items.search(vectors[5]).ids.tolist() == before
    with pytest.raises(vs.errors.VecstoreError, match="finer"):
        items.alter("v", ["pq12"])
        items.alter("v", ["float16"])


def test_stats_say_how_centroids_are_used(tmp_path: Path) -> None:
    """Usage is that of a sample of the codes, between 0 and the bits of an index; of codecs
    without subquantizers and of no rows it is 0.
    """
    vectors = clustered(3000, 48, 4)
    ladder = ["pq12x4", "pq6", "bits2"]
    with vs.open(tmp_path / "db") as db:
        schema = vs.Schema(vectors=[vs.Vector("v", 48, "cosine", ladder)])
        items = db.create_collection("items", schema)
        assert [item.usage_bits_mean for item in items.stats().representations] == [0, 0, 0]
        items.upsert(range(3000), vectors)
        items.flush()
        small, large, bits = items.stats().representations
    assert 3 < small.usage_bits_min <= small.usage_bits_mean <= 4
    assert 6.5 < large.usage_bits_min <= large.usage_bits_mean <= 8
    assert (bits.usage_bits_min, bits.usage_bits_mean) == (0, 0)


def test_usage_is_told_for_each_codec(foreground: Database) -> None:
    """Where two codecs made the codes, stats tell the usage of the one that is used least alike."""
    vectors = clustered(3000, 48, 4)
    schema = vs.Schema(vectors=[vs.Vector("v", 48, "cosine", ["pq12x4", "float16"])])
    items = foreground.create_collection("items", schema)
    items.upsert(range(600), vectors[np.arange(600) % 2])  # two vectors: one bit at most
    items.flush()
    items.upsert(range(600, 3600), vectors)
    items.flush()
    assert items.stats().segments == 2
    used = items.stats().representations[0]
    assert used.usage_bits_min <= used.usage_bits_mean <= 1
    items.compact()
    assert items.stats().representations[0].usage_bits_min > 2


def test_damaged_codes_are_made_again(tmp_path: Path) -> None:
    """A flipped bit in table codes is found, and repair makes the same codes from the finest."""
    vectors = clustered(3000, 48, 5)
    with vs.open(tmp_path) as db:
        schema = vs.Schema(vectors=[vs.Vector("v", 48, "cosine", ["pq48", "float32"])])
        db.create_collection("items", schema).upsert(range(3000), vectors)
        db.collection("items").flush()
    flip(segment_file(tmp_path, 0, "codes-0-0"), 80_000)
    with vs.open(tmp_path) as db:
        assert len(db.check()) == 1
        assert db.repair().lost == ()
        assert db.check() == []
        items = db.collection("items")
        scan = vs.Cascade([vs.Scan("pq48", 5)])
        found = items.search_batch(vectors[:50], limit=5, plan=scan)
        assert np.mean([hits.ids[0] == own for own, hits in enumerate(found)]) > 0.95
