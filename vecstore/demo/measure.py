"""What each way to search gives and costs: agreement with exact search, recall, milliseconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.request import Cascade, Scan
from vecstore.types import Float32, Hits, StageReport

LIMIT = 10
WARM_UP_QUERIES = 20
BATCH_QUERIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to search.

    Attributes:
        label: what the table calls it.
        field: the vector field.
        plan: explicit stages; None for the planner's choice.
        exact: every row is scored with the finest representation.
    """

    label: str
    field: str
    plan: Cascade | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What one way to search finds.

    Attributes:
        bytes_per_vector: bytes read per vector of the collection, in all stages.
        overlap: the share of the exact best 10 among its best 10.
        recall: the share of queries whose one right answer is among its best 10.
        stages: what each stage did for one query.
    """

    bytes_per_vector: float
    overlap: float
    recall: float
    stages: tuple[StageReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from a query to its hits with their payloads, one query at a time."""

    p50_ms: float
    p99_ms: float


def alone(spec: str, field: str) -> Way:
    """Search with one representation, and nothing after it."""
    return Way(label=spec, field=field, plan=Cascade((Scan(spec, LIMIT),)))


def best_ids(collection: Any, way: Way, queries: Float32) -> list[list[Any]]:
    """The ids of the best LIMIT records for each of Q queries [Q, D]."""
    found: list[list[Any]] = []
    for start in range(0, len(queries), BATCH_QUERIES):
        hits = collection.search_batch(
            {way.field: queries[start : start + BATCH_QUERIES]},
            limit=LIMIT,
            plan=way.plan,
            exact=way.exact,
            with_payload=False,
        )
        found += [item.ids.tolist() for item in hits]
    return found


def measure_quality(
    collection: Any, way: Way, queries: Float32, *, exact: list[list[Any]], right: Sequence[Any]
) -> Quality:
    """Compare a way to search with exact search and with the right answers.

    Args:
        collection: an embedded or a remote one.
        way: how to search.
        queries: [Q, D].
        exact: for each query, what exact search finds.
        right: for each query, the id that it should find.
    """
    found = best_ids(collection, way, queries)
    shared = sum(len(set(ours) & set(best)) for ours, best in zip(found, exact, strict=True))
    hits = search(collection, way, queries[0], explain=True)
    assert hits.explain is not None
    return Quality(
        bytes_per_vector=sum(stage.bytes_read for stage in hits.explain) / collection.count(),
        overlap=shared / sum(map(len, exact)),
        recall=float(np.mean([id_ in ours for id_, ours in zip(right, found, strict=True)])),
        stages=hits.explain,
    )


def measure_latency(collection: Any, way: Way, queries: Float32) -> Latency:
    """Search one query after the other, each until its hits are in hand; queries is [Q, D]."""
    for query in queries[:WARM_UP_QUERIES]:
        list(search(collection, way, query))
    taken = []
    for query in queries:
        start = time.perf_counter()
        list(search(collection, way, query))
        taken.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(taken, (50, 99))
    return Latency(p50_ms=float(p50), p99_ms=float(p99))


def search(collection: Any, way: Way, query: Float32, *, explain: bool = False) -> Hits:
    """The best LIMIT records for one query [D]."""
    hits: Hits = collection.search(
        {way.field: query}, limit=LIMIT, plan=way.plan, exact=way.exact, explain=explain
    )
    return hits
