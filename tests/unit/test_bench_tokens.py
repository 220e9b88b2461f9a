"""Multivectors that grow are measured as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside these tests")

from bench import growth, tokens
from bench.growth import Source
from bench.measure import Settings
from bench.suites import tokens as suite


@pytest.mark.parametrize("piece", [None, 5])
def test_documents_are_the_same_every_time_and_of_the_lengths_asked_for(
    tmp_path: Path, piece: int | None
) -> None:
    """Whatever part of them is asked for; vectors are of unit length; none is one of the base."""
    base = tokens.synthetic(30, 1).documents
    Source.save(tmp_path, list(base))
    source = Source(folder=tmp_path, piece=piece)
    every = [part for _, part in source.batches(0, 2 * growth.BATCH)]
    [(rows, again)] = source.batches(growth.BATCH, 2 * growth.BATCH)
    assert rows.tolist() == list(range(growth.BATCH, 2 * growth.BATCH))
    [(few, same)] = source.batches(growth.BATCH + 7, growth.BATCH + 9)
    assert few.tolist() == [growth.BATCH + 7, growth.BATCH + 8]
    for one, other in zip([*every[1], *every[1][7:9]], [*again, *same], strict=True):
        np.testing.assert_array_equal(one, other)
    documents = [*every[0], *every[1]]
    lengths = {len(document) for document in documents}
    assert lengths == ({5} if piece else {len(document) for document in base})
    found = np.concatenate(documents)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    # Near a token of the base: moved, not drawn anew.
    closest = (found[:200] @ np.concatenate(base).T).max(axis=1)
    assert 0.5 < closest.mean() < 0.999


def test_the_truth_is_the_ranking_by_maxsim(tmp_path: Path) -> None:
    """As another way finds it, document by document."""
    base = tokens.synthetic(40, 6)
    Source.save(tmp_path, list(base.documents))
    source = Source(folder=tmp_path)
    documents = [each for _, batch in source.batches(0, 300) for each in batch]
    made = tokens.TokenSet(name="x", documents=documents, queries=base.queries, dense=base.dense)
    found = growth.nearest(source, 300, list(base.queries))
    np.testing.assert_array_equal(found, tokens.ranking(made, growth.LIMIT))


def test_collections_that_grow_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row for each collection, and a bar for each that is held to something."""
    monkeypatch.setattr(suite, "CENTROIDS", 512)
    monkeypatch.setattr(suite, "SCANNED", (20_000, 40_000))
    monkeypatch.setattr(suite, "SECONDS", 0.01)
    cases = {suite.TIMED: (900, None, 0, 5), suite.ADDED: (2_000, 3, 800, 5)}
    monkeypatch.setattr(suite, "CASES", cases | {suite.BULK: (2_800, 3, 0, 5)})
    settings = Settings(data=None, rows=1_000, calls=2, folder=tmp_path, quick=True)
    *_, kernels, table, bars = [None, *suite.tables(settings)][-3:]
    del kernels
    rows = {row["collection"]: row for row in table.rows}
    assert list(rows) == list(suite.CASES)
    added = rows[suite.ADDED]
    assert (added["documents"], added["tokens"]) == (140, 3 * 140)
    assert added["added s"] > 0
    assert rows[suite.BULK]["added s"] is None
    assert all(row["recall"].mean > 0.5 for row in rows.values())
    assert all(min(row["search RSS MiB"], row[suite.ANON]) > 0 for row in rows.values())
    said = [row["bar"] for row in bars.rows]
    assert sum("ns a token" in each for each in said) == 2 + len(suite.RESCORED)
    assert sum("memory of building" in each for each in said) == 3
    assert any(each.startswith("short, added: recall, beside") for each in said)
    assert not list(tmp_path.glob("tokens-database*"))
