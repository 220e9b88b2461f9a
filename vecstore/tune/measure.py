"""Recall of the default plan: its answers beside the exact ones, query by query.

Shapes  Q queries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np

from vecstore.errors import RequestError
from vecstore.reports import Recall
from vecstore.request import SearchRequest, ranked_field
from vecstore.segment.snapshot import Snapshot
from vecstore.types import Float64, Hits, Progress

Answering: TypeAlias = Callable[[SearchRequest, Snapshot], list[Hits]]

# So many queries are asked at a time as take about so long, so that work can be stopped.
PART_QUERIES_MAX = 256
PART_S = 0.2
RESAMPLES = 1_000


def measure(
    requests: Sequence[SearchRequest],
    snapshot: Callable[[], Snapshot],
    answer: Answering,
    progress: Progress | None = None,
) -> Recall:
    """Ask every query twice, by the default plan and exactly, and compare.

    Args:
        requests: at least one, of one field and limit, with neither plan nor `exact`.
        snapshot: gives what to search now; both answers to a query are from the same.
        answer: answers a request.
        progress: told how many queries are done; raising stops the work.

    Returns:
        The overlap of the answers, and what they took; of no live queries.

    Raises:
        RequestError: there is nothing to find for any of the queries.
    """
    first, now = requests[0], snapshot()
    field, total = ranked_field(first), sum(len(request.queries) for request in requests)
    shares: list[float] = []
    done, step, seconds = 0, 1, np.zeros(2)
    for request in requests:
        start = 0
        while start < len(request.queries):
            part = request.part(slice(start, start + step))
            now = snapshot()
            begun = time.perf_counter()
            found = answer(part, now)
            between = time.perf_counter()
            exact = answer(replace(part, exact=True), now)
            spent = np.array([between - begun, time.perf_counter() - between])
            shares += [overlap(*each) for each in zip(found, exact, strict=True) if len(each[1])]
            seconds += spent
            start, done = start + step, done + len(part.queries)
            if progress is not None:
                progress(f"recall of {field!r}", done, total)
            step = min(2 * step, PART_QUERIES_MAX) if spent.sum() < PART_S else max(step // 2, 1)
    if not shares:
        raise RequestError(
            f"no record with field {field!r} passes for any of {total:,} queries, expected "
            "something to find"
        )
    low, mean, high = interval(np.array(shares))
    own, exactly = (seconds / total * 1e3).tolist()
    return Recall(
        field=field,
        representation=now.info.schema.vector(field).representations[-1],
        limit=first.limit,
        where=first.where,
        live=False,
        queries=len(shares),
        overlap=mean,
        overlap_low=low,
        overlap_high=high,
        overlap_worst=worst(np.array(shares)),
        milliseconds=own,
        exact_milliseconds=exactly,
        records=now.manifest.live,
        measured_at=datetime.now(UTC),
    )


def overlap(found: Hits, exact: Hits) -> float:
    """The share of exact hits that were found; one that ties with the last of them is as good.

    Both end with scores of the finest representation, so that they can be compared.
    """
    wanted = set(exact.ids.tolist())
    scored = zip(found.ids.tolist(), found.scores.tolist(), strict=True)
    last = float(exact.scores[-1])
    good = sum(bool(id_ in wanted or score >= last) for id_, score in scored)
    return good / len(exact)


def interval(shares: Float64) -> tuple[float, float, float]:
    """The mean of [Q] shares, between the ends of its bootstrap 95 % interval.

    To resample Q shares is to draw how often each of the few values that they have occurs. The
    same shares have the same interval.
    """
    values, counts = np.unique(shares, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(shares), counts / len(shares), RESAMPLES)
    low, high = np.quantile(drawn @ values / len(shares), (0.025, 0.975)).tolist()
    mean = float(shares.mean())
    return min(low, mean), mean, max(high, mean)


def worst(shares: Float64) -> float:
    """The mean of the lowest tenth of [Q] shares, and of one at least."""
    return float(np.sort(shares)[: -(-len(shares) // 10)].mean())
