"""A policy on stored tokens leaves what an upsert of the same tokens with it leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import vecstore as vs
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.types import Float32, Metric

DIM = 4
PRUNING = st.sampled_from(["", "first2", "fixed3", "share0.5", "coverage0.4"])
BY_SALIENCE = st.sampled_from(["salience0.5", "salience+0.3std", "salience-1.0std"])
POOLING = st.sampled_from(["", "ward2", "kmeans2", "fixed1"])
# In each batch so many tokens for each record, 0: it lacks the field; and whether it is flushed.
BATCHES = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.booleans()),
    min_size=1,
    max_size=4,
)


def batches(
    sizes: Sequence[tuple[Sequence[int], bool]], seed: int, *, few: bool
) -> list[vs.Tokens]:
    """Tokens of each batch, with salience, some below zero; few values make many ties."""
    rng = np.random.default_rng(seed)
    found = []
    for lengths, _ in sizes:
        count = sum(lengths)
        vectors: Float32 = rng.standard_normal((count, DIM)).astype(np.float32)
        salience = rng.random(count) - 0.2
        if few:
            vectors, salience = np.sign(vectors), salience.round(1)
        found.append(vs.Tokens(vectors, np.cumsum([0, *lengths]), salience))
    return found


def fill(
    collection: Collection,
    sizes: Sequence[tuple[Sequence[int], bool]],
    given_tokens: Sequence[vs.Tokens],
    dead: set[int],
) -> None:
    """Write all batches; ids number the records through."""
    first = 0
    for (lengths, flushed), tokens in zip(sizes, given_tokens, strict=True):
        collection.upsert(range(first, first + len(lengths)), {"t": tokens})
        first += len(lengths)
        if flushed:
            collection.flush()
    collection.delete(sorted(dead))


def told(collection: Collection) -> list[Any]:
    """Vectors, where they were and their salience, of each live record, in order of importance."""
    found: list[Any] = []
    for live in collection._store.snapshot().sources:
        rows = np.flatnonzero(live.alive)
        for row in rows.tolist():
            name = live.source.decoded_ids(np.array([row]))[0]
            of_field = live.source.field_rows("t")
            numbers = np.arange(live.source.rows) if of_field is None else of_field
            number = np.flatnonzero(numbers == row)
            bounds = live.source.tokens("t")
            if bounds is None or not len(number):
                found.append((name, None))
                continue
            own = bounds.take(number)
            found.append((name, own.all_places().tolist(), own.all_salience().tolist()))
    records = collection.scroll(with_vectors=True)
    vectors = {record.id: record.vectors["t"].tolist() for record in records if record.vectors}
    return [found, vectors]


def both(
    db: Database, metric: Metric, finest: str, policies: tuple[str, str]
) -> tuple[Collection, Collection]:
    """A collection without policies, and one with them."""
    made = [
        db.create_collection(name, vs.Schema([vs.MultiVector("t", DIM, metric, [finest], *each)]))
        for name, each in (("altered", ("", "")), ("fresh", policies))
    ]
    return made[0], made[1]


class Case(NamedTuple):
    """What is written, and what is altered then."""

    sizes: list[tuple[list[int], bool]]
    seed: int
    few: bool
    salient: str
    pruning: str
    by_salience: str
    pooling: str
    finest: str
    dead: set[int]


CASES = st.builds(
    Case,
    sizes=BATCHES,
    seed=st.integers(0, 99),
    few=st.booleans(),
    salient=st.sampled_from(["all", "none", "some"]),
    pruning=PRUNING,
    by_salience=BY_SALIENCE,
    pooling=POOLING,
    finest=st.sampled_from(["float16", "float32"]),
    dead=st.sets(st.integers(0, 20), max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(case=CASES)
def test_it_is_as_if_it_had_always_been_so(case: Case) -> None:
    """Places, salience, vectors and exact answers are equal, also after a compaction."""
    given_tokens = batches(case.sizes, case.seed, few=case.few)
    pruning, pooling = case.pruning, case.pooling
    step = {"all": 0, "none": 1, "some": 2}[case.salient]
    for place in range(0, len(given_tokens) if step else 0, step or 1):
        item = given_tokens[place]
        given_tokens[place] = vs.Tokens(item.vectors, item.offsets)
    if case.salient == "all" and not pruning:
        pruning = case.by_salience
    with (
        tempfile.TemporaryDirectory() as folder,
        vs.open(folder, options=vs.Options(background=False, threads=1)) as db,
    ):
        items, fresh = both(db, "dot", case.finest, (pruning, pooling))
        for collection in (items, fresh):
            fill(collection, case.sizes, given_tokens, case.dead)
        items.alter("t", pruning=pruning, pooling=pooling)
        assert items.schema == fresh.schema
        query = np.linspace(-1, 1, 3 * DIM).reshape(3, DIM)
        for _ in range(2):
            assert told(items) == told(fresh)
            hits, others = (item.search(query, exact=True, limit=50) for item in (items, fresh))
            assert (hits.ids.tolist(), hits.scores.tolist()) == (
                others.ids.tolist(),
                others.scores.tolist(),
            )
            items.compact()
            fresh.compact()
        assert db.check() == []
