"""Late interaction on real tokens: exact search is exact, and the default plans come near it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from bench.suites.quality import ndcg
from bench.tokens import TokenSet, load, ranking
from vecstore.collection import Collection
from vecstore.types import Hits, Int64

LIMIT = 10
# nDCG@10 of MaxSim over all tokens, as the data's own README has it.
REFERENCE = {"cranfield": 0.5190}
OVERLAP = 0.97
CANDIDATES = 300
LADDER = ("sign", "float16")
QUERIES = 60  # of the default plans


@pytest.fixture(scope="module")
def tokens(data: Path) -> TokenSet:
    """Cranfield, if it is there."""
    found = load(data, "cranfield")
    if found is None:
        pytest.skip(f"needs vectors of tokens of Cranfield in {data}")
    return found


@pytest.fixture(scope="module")
def truth(tokens: TokenSet) -> Int64:
    """The best rows of each query [Q, LIMIT], found document by document."""
    return ranking(tokens, LIMIT)


@pytest.fixture(scope="module")
def items(tokens: TokenSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The documents by row, in two segments and the write buffer."""
    pages = vs.MultiVector("pages", tokens.documents[0].shape[1], "cosine", LADDER)
    text = vs.Vector("text", tokens.dense.vectors.shape[1])
    folder = tmp_path_factory.mktemp("late")
    with vs.open(folder, options=vs.Options(background=False)) as db:
        found = db.create_collection("items", vs.Schema([pages, text]))
        third = len(tokens.documents) // 3
        for first in range(0, len(tokens.documents), third):
            if first:
                found.flush()
            rows = slice(first, first + third)
            sets = [each if len(each) else None for each in tokens.documents[rows]]
            ids = range(first, first + len(sets))
            found.upsert(ids, {"pages": sets, "text": tokens.dense.vectors[rows]})
        yield found


def rows_of(hits: list[Hits]) -> Int64:
    """The rows that were found [Q, LIMIT]."""
    return np.array([each.ids for each in hits])


def overlap(found: Int64, truth: Int64) -> float:
    """The mean share of the true rows that were found."""
    return float(
        np.mean([np.isin(rows, own).mean() for own, rows in zip(found, truth, strict=True)])
    )


def test_exact_search_is_exact(items: Collection, tokens: TokenSet, truth: Int64) -> None:
    """Exact MaxSim of float16 finds what float32 finds, to the reference nDCG."""
    found = rows_of(items.search_batch({"pages": tokens.queries}, limit=LIMIT, exact=True))
    assert overlap(found, truth) > 0.998
    assert ndcg(found, tokens.relevant).mean() == pytest.approx(REFERENCE[tokens.name], abs=1e-3)


def test_default_plans_come_near(items: Collection, tokens: TokenSet, truth: Int64) -> None:
    """The default plan, and candidates of a vector field, share enough with exact MaxSim."""
    pages, text = tokens.queries[:QUERIES], tokens.dense.queries[:QUERIES]
    given = {"pages": pages, "text": text}
    dense = vs.Cascade(
        [
            vs.Scan("bits2", 4 * CANDIDATES),
            vs.Rescore("float16", CANDIDATES),
            vs.MaxSim("pages", LIMIT),
        ]
    )
    for plan, vectors in ((None, {"pages": pages}), (None, given), (dense, given)):
        found = rows_of(items.search_batch(vectors, limit=LIMIT, plan=plan))
        assert overlap(found, truth[:QUERIES]) >= OVERLAP
