"""What the default plan finds of rows in inverted lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.unit.compaction import FOREGROUND
from vecstore import options
from vecstore.types import Float32

ROWS, DIM, QUERIES = 20_000, 32, 200


def of_many_lengths(rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Clustered rows of log-normal lengths, and queries."""
    centres = rng.standard_normal((200, DIM))
    found = centres[rng.integers(0, 200, ROWS + QUERIES)]
    found += 0.8 * rng.standard_normal(found.shape)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    found[:ROWS] *= np.exp(0.7 * rng.standard_normal((ROWS, 1)))
    whole = found.astype(np.float32)
    return whole[:ROWS], whole[ROWS:]


def test_long_rows_are_found_by_inner_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the best ten rows by inner product, whose lengths differ, the default plan finds 98 %."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", ROWS)
    vectors, queries = of_many_lengths(np.random.default_rng(0))
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    vector = vs.Vector("v", DIM, "dot", ["bits2", "float16"])
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        items = db.create_collection("items", vs.Schema(vectors=[vector]))
        items.upsert(range(ROWS), vectors)
        items.flush()
        items.compact()
        explain = items.search(queries[0], explain=True).explain
        assert explain is not None
        assert explain[0].stage == "probe"
        found = items.search_batch(queries)
    pairs = zip(found, truth, strict=True)
    recall = np.mean(
        [len(set(hits.ids.tolist()) & set(best.tolist())) / 10 for hits, best in pairs]
    )
    assert recall >= 0.98


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("place", ["side", "clusters", "elsewhere"])
def test_rows_that_a_filter_left_elsewhere_are_found(
    place: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the best ten rows of one side, of some clusters, or of all but those near the query."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", ROWS)
    monkeypatch.setattr(options, "PROBES_WANTED", 10 / ROWS)
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((200, DIM))
    own = rng.integers(0, 200, ROWS)
    vectors = (centres[own] + 0.6 * rng.standard_normal((ROWS, DIM))).astype(np.float32)
    queries = (centres + 0.6 * rng.standard_normal((200, DIM))).astype(np.float32)
    if place == "clusters":
        ranked = own / 200
    else:
        along = vectors @ (queries[0] if place == "elsewhere" else np.eye(DIM, dtype=np.float32)[0])
        ranked = np.argsort(np.argsort(along)) / ROWS
    queries = queries[:1] if place == "elsewhere" else queries
    allowed = np.flatnonzero(ranked < share)
    distances = (vectors[allowed] ** 2).sum(axis=1) - 2 * queries @ vectors[allowed].T
    truth = allowed[np.argsort(distances, axis=1)[:, :10]]
    vector = vs.Vector("v", DIM, "l2", ["bits4", "float16"])
    with vs.open(tmp_path / "db", options=FOREGROUND) as db:
        schema = vs.Schema(vectors=[vector], columns=[vs.Column("mark", "float")])
        items = db.create_collection("items", schema)
        items.upsert(range(ROWS), vectors, [{"mark": mark} for mark in ranked.tolist()])
        items.flush()
        items.compact()
        where = f"mark < {share}"
        explain = items.search(queries[0], where=where, explain=True).explain
        assert explain is not None
        assert explain[0].stage == "probe"
        found = items.search_batch(queries, where=where)
    recall = np.mean(
        [np.isin(hits.ids, best).mean() for hits, best in zip(found, truth, strict=True)]
    )
    assert recall >= 0.95
