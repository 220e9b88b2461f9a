"""Searches whose hits hold one record of each value of a column: `group_by`.

What a search finds is the best of all records, however many of them share a value. So one that
shall have `limit` values asks for more hits, and for more again, until they are there.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from dataclasses import replace

import numpy as np

from vecstore import options
from vecstore.request import SearchRequest, check_group
from vecstore.search.answer import Loader, OnDamage, answer
from vecstore.search.late import answer_late
from vecstore.search.parallel import Workers
from vecstore.segment.columns import ColumnData
from vecstore.segment.snapshot import Snapshot
from vecstore.types import Hits, Int64

# Hits asked for each value wanted, and how many times as many the next time.
GROWTH = 4


def answer_request(
    request: SearchRequest,
    snapshot: Snapshot,
    workers: Workers,
    quarantined: Container[int],
    on_damage: OnDamage,
) -> list[Hits]:
    """Answer every query of a request, of any fields, grouped or not; see `answer`.

    Raises:
        NotFoundError, RequestError: records cannot be grouped by what was asked.
    """
    act = answer_late if request.token_queries else answer
    if request.group_by is None:
        return act(request, snapshot, workers, quarantined, on_damage)
    check_group(snapshot.info.schema, request.group_by)
    found: dict[int, Hits] = {}
    pending, limit = list(range(len(request.queries))), request.limit
    while pending:
        limit = _wider(request, limit)
        last = request.plan is not None or limit == options.LIMIT_MAX
        step = max(1, options.RESULTS_MAX // limit)
        left: list[int] = []
        for places in (pending[at : at + step] for at in range(0, len(pending), step)):
            asked = _some(request, places, limit)
            answers = act(asked, snapshot, workers, quarantined, on_damage)
            for place, hits in zip(places, answers, strict=True):
                before = found.get(place)
                found[place] = _grouped(hits, request, before)
                if len(found[place]) < request.limit and len(hits) == limit and not last:
                    left.append(place)
        pending = left
    return [found[place] for place in range(len(request.queries))]


def _wider(request: SearchRequest, limit: int) -> int:
    """How many hits to ask for next; an explicit plan has no more than its last stage keeps."""
    most = options.LIMIT_MAX
    return min(limit * GROWTH if request.plan is None else request.plan.stages[-1].keep, most)


def _some(request: SearchRequest, places: Sequence[int], limit: int) -> SearchRequest:
    """The same of some queries, not grouped."""
    late = {name: [each[place] for place in places] for name, each in request.token_queries.items()}
    return replace(
        request, queries=request.queries[places], token_queries=late, limit=limit, group_by=None
    )


def _grouped(hits: Hits, request: SearchRequest, before: Hits | None) -> Hits:
    """The first hit of each value, with the reports of the search before this one, too."""
    loader, column = hits.loader, request.group_by
    assert isinstance(loader, Loader)
    assert column is not None
    values = loader.gather(lambda live, rows: _values(live.source.column(column), rows))
    seen: set[Hashable] = set()
    kept = []
    for place, value in enumerate(values):
        if value is None or value not in seen:
            kept.append(place)
            seen.add(value)
            if len(kept) == request.limit:
                break
    places = np.array(kept, dtype=np.int64)
    reports = hits.explain
    if reports is not None and before is not None:
        reports = (before.explain or ()) + reports
    return Hits(hits.scores[places], loader.some(places), partial=hits.partial, explain=reports)


def _values(data: ColumnData, rows: Int64) -> list[Hashable]:
    """What some rows have in a column that is no list; None where that is null."""
    present, values = data.present[rows].tolist(), data.values[rows].tolist()
    words = data.words
    return [
        (value if words is None else words.get(value)) if there else None
        for there, value in zip(present, values, strict=True)
    ]
