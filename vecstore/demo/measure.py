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
class Stage:
    """What one stage of a plan did for a query: means over all queries.

    Attributes:
        name: "scan" or "rescore".
        representation: the spec that was read.
        passes: how often it ran for a query.
        rows: rows that it could choose from each time.
        bytes_per_vector: bytes that it read, per vector of the collection.
    """

    name: str
    representation: str
    passes: float
    rows: float
    bytes_per_vector: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What one way to search finds and reads.

    Attributes:
        overlap: the share of the exact best 10 among its best 10.
        recall: the share of queries whose one right answer is among its best 10.
        stages: what each stage did.
    """

    overlap: float
    recall: float
    stages: tuple[Stage, ...]

    @property
    def bytes_per_vector(self) -> float:
        """Bytes read per vector of the collection, in all stages."""
        return sum(stage.bytes_per_vector for stage in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from a query to its hits with their payloads, one query at a time."""

    p50_ms: float
    p99_ms: float


def alone(spec: str, field: str) -> Way:
    """Search with one representation, and nothing after it."""
    return Way(label=spec, field=field, plan=Cascade((Scan(spec, LIMIT),)))


def search_all(collection: Any, way: Way, queries: Float32) -> list[Hits]:
    """The best LIMIT records for each of Q queries [Q, D], without payloads."""
    found: list[Hits] = []
    for start in range(0, len(queries), BATCH_QUERIES):
        found += collection.search_batch(
            {way.field: queries[start : start + BATCH_QUERIES]},
            limit=LIMIT,
            plan=way.plan,
            exact=way.exact,
            with_payload=False,
            explain=True,
        )
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
    answers = search_all(collection, way, queries)
    found = [hits.ids.tolist() for hits in answers]
    shared = sum(len(set(ours) & set(best)) for ours, best in zip(found, exact, strict=True))
    return Quality(
        overlap=shared / sum(map(len, exact)),
        recall=float(np.mean([id_ in ours for id_, ours in zip(right, found, strict=True)])),
        stages=_mean_stages(answers, collection.count()),
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


def search(collection: Any, way: Way, query: Float32) -> Hits:
    """The best LIMIT records for one query [D]."""
    hits: Hits = collection.search({way.field: query}, limit=LIMIT, plan=way.plan, exact=way.exact)
    return hits


def _mean_stages(answers: Sequence[Hits], count: int) -> tuple[Stage, ...]:
    """Means over the answers of queries to a collection of `count` records."""
    groups: dict[tuple[str, str], list[StageReport]] = {}
    for hits in answers:
        for report in hits.explain or ():
            groups.setdefault((report.stage, report.representation), []).append(report)
    return tuple(
        Stage(
            name=name,
            representation=representation,
            passes=len(reports) / len(answers),
            rows=float(np.mean([report.rows_in for report in reports])),
            bytes_per_vector=sum(report.bytes_read for report in reports) / len(answers) / count,
        )
        for (name, representation), reports in groups.items()
    )
