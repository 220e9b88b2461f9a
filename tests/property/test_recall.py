"""Recall is what counting by hand gives, whatever the scores, the parts and the fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import vecstore as vs
from vecstore.tune.measure import interval, overlap, worst
from vecstore.types import Hits, Id

OPTIONS = vs.Options(background=False, threads=1)
RECORDS = st.integers(1, 30)
LIMITS = st.integers(1, 12)


class Known:
    """Gives the ids of hits; they carry nothing else."""

    def __init__(self, ids: list[Id]) -> None:
        self._ids = ids

    def ids(self) -> list[Id]:
        """The ids."""
        return self._ids

    payloads = raw_payloads = vectors = ids  # type: ignore[assignment]


def ranked(scores: dict[Id, float], limit: int) -> Hits:
    """The best of some records."""
    best = sorted(scores, key=lambda id_: -scores[id_])[:limit]
    found: Any = Known(best)
    return Hits(np.array([scores[id_] for id_ in best], np.float32), found)


@given(
    st.dictionaries(st.integers(0, 40) | st.sampled_from("abc"), st.integers(0, 4), min_size=1),
    LIMITS,
    st.data(),
)
def test_a_hit_counts_if_no_better_one_was_missed(
    scores: dict[Id, float], limit: int, data: st.DataObject
) -> None:
    """The overlap counts the hits found that score at least as well as the last exact one."""
    exact = ranked(scores, limit)
    seen = data.draw(st.sets(st.sampled_from(list(scores))))
    found = ranked({id_: score for id_, score in scores.items() if id_ in seen}, limit)
    last = sorted(scores.values(), reverse=True)[: len(exact)][-1]
    good = min(limit, sum(scores[id_] >= last for id_ in seen))
    assert overlap(found, exact) == good / len(exact)
    assert overlap(exact, exact) == 1


@given(st.lists(st.integers(0, 10), min_size=1, max_size=60))
def test_intervals_hold_the_mean(tenths: list[int]) -> None:
    """The interval holds the mean, lies within the shares, and is that of any order of them."""
    shares = np.array(tenths) / 10
    low, mean, high = interval(shares)
    assert mean == shares.mean()
    assert shares.min() - 1e-9 <= low <= mean <= high <= shares.max() + 1e-9
    assert interval(np.sort(shares))[::2] == (low, high)
    lowest = sorted(tenths)[: -(-len(tenths) // 10)]
    assert np.isclose(worst(shares), sum(lowest) / len(lowest) / 10)


def test_intervals_are_as_wide_as_the_mean_is_unsure() -> None:
    """The interval of many shares spans about four standard errors of their mean."""
    shares = np.random.default_rng(1).integers(0, 11, size=400) / 10
    low, _, high = interval(shares)
    assert np.isclose(high - low, 2 * 1.96 * shares.std() / 20, rtol=0.1)


@settings(max_examples=25, deadline=None)
@given(RECORDS, st.integers(1, 20), LIMITS, st.integers(0, 99), st.booleans())
def test_measured_recall_is_that_of_the_answers(
    tmp_path_factory: Any, records: int, queries: int, limit: int, seed: int, multi: bool
) -> None:
    """What is measured is the mean share of exact hits in the answers of single searches."""
    rng = np.random.default_rng(seed)
    path: Path = tmp_path_factory.mktemp("recall")
    fields = [vs.MultiVector("v", 4) if multi else vs.Vector("v", 4, "dot", ["sign", "float16"])]
    with vs.open(path, options=OPTIONS) as db:
        items = db.create_collection("items", vs.Schema(fields))
        # Few values, so that many records tie.
        sets = [rng.integers(-1, 2, (3, 4)) for _ in range(records)]
        asked = [rng.integers(-1, 2, (2, 4)) for _ in range(queries)]
        if multi:
            items.upsert(range(records), {"v": sets})
            given: Any = {"v": asked}
        else:
            items.upsert(range(records), [each[0] for each in sets])
            given = np.array([each[0] for each in asked])
        items.flush()
        measured = items.measure_recall(given, limit=limit)
        found = items.search_batch(given, limit=limit)
        exact = items.search_batch(given, limit=limit, exact=True)
        shares = [overlap(*pair) for pair in zip(found, exact, strict=True)]
        assert measured.overlap == np.mean(shares)
        assert (measured.queries, measured.limit, measured.field) == (queries, limit, "v")
        assert db.check() == []
