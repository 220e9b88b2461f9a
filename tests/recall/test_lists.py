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
