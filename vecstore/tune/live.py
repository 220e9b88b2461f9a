"""Some of the queries that searches answered, to measure recall on.

Of each field the first LIVE_QUERIES_MAX are kept, in memory only; then one of about
LIVE_QUERIES_GAP takes the place of the oldest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from threading import Lock
from typing import NamedTuple

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.request import SearchRequest, ranked_field
from vecstore.types import Float32


class _Live(NamedTuple):
    """One query of a search, its filter, and the bytes of both."""

    field: str
    query: Float32  # [D]
    token_queries: tuple[tuple[str, Float32], ...]
    where: str | None
    nbytes: int


class _Kept:
    """The queries of one field, oldest first.

    Attributes:
        items: what is kept.
        full: whether one had to go.
        left_out: how many queries pass before the next one is kept.
    """

    def __init__(self) -> None:
        self.items: deque[_Live] = deque()
        self.full = False
        self.left_out = 0
        self._bytes = 0

    def add(self, item: _Live) -> None:
        """Keep one more, and let go of the oldest where there are too many, or too large ones."""
        self.items.append(item)
        self._bytes += item.nbytes
        while (
            len(self.items) > options.LIVE_QUERIES_MAX
            or self._bytes > options.LIVE_QUERIES_BYTES_MAX
        ):
            self._bytes -= self.items.popleft().nbytes
            self.full = True


class LiveQueries:
    """The queries kept of one collection. Safe to use from many threads."""

    def __init__(self) -> None:
        self._random = Random(0)
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}

    def offer(self, request: SearchRequest) -> None:
        """Keep some queries of a request that was answered, if by a default plan."""
        if request.plan is not None or request.exact:
            return
        if request.token_budget is not None or request.group_by is not None:
            return  # measured, they would find something else
        # Threads may meet here, and one of them count in vain: which are kept does not matter.
        field = ranked_field(request)
        kept = self._kept.get(field)
        if kept is not None:
            kept.left_out -= len(request.queries)
        if kept is None or kept.left_out < 0:
            self._keep(request, field)

    def requests(self, field: str | None, limit: int, where: str | None) -> list[SearchRequest]:
        """What is kept of a field, as requests of queries that are asked alike.

        Args:
            field: whose scores ranked the hits; None: the only one.
            limit: hits to ask for.
            where: a filter in place of those that they had; None: theirs.

        Raises:
            RequestError: nothing is kept, or it is of several fields and none was named.
        """
        with self._lock:
            if field is None and len(self._kept) > 1:
                names = ", ".join(map(repr, sorted(self._kept)))
                raise RequestError(f"queries of the fields {names} are kept; say with field= which")
            name = next(iter(self._kept), None) if field is None else field
            kept = list(self._kept[name].items) if name in self._kept else []
        if not kept:
            of_field = "" if field is None else f" of field {field!r}"
            raise RequestError(
                f"no query{of_field} was answered by the default plan since the database was "
                "opened; search first, or give measure_recall the queries"
            )
        alike: dict[tuple[object, ...], list[_Live]] = {}
        for item in kept:
            filtered = item.where if where is None else where
            names_asked = tuple(name for name, _ in item.token_queries)
            alike.setdefault((item.field, names_asked, filtered), []).append(item)
        return [
            _joined(items, limit, items[0].where if where is None else where)
            for items in alike.values()
        ]

    def _keep(self, request: SearchRequest, field: str) -> None:
        count = len(request.queries)
        with self._lock:
            kept = self._kept.get(field)
            place = 0 if kept is None else max(0, count + kept.left_out)
            while place < count:
                item = _one(request, place)
                if item is not None:
                    kept = self._kept.setdefault(field, _Kept())
                    kept.add(item)
                place += 1
                if kept is not None and kept.full:
                    # Steps of one length would meet the same page of a user again and again.
                    place += int(self._random.random() * (2 * options.LIVE_QUERIES_GAP - 1))
            if kept is not None:
                kept.left_out = place - count


def _one(request: SearchRequest, place: int) -> _Live | None:
    """A copy of a query, whose arrays may be the caller's; None of one that would push many out."""
    query, where = request.queries[place], request.where
    tokens = tuple((name, sets[place]) for name, sets in request.token_queries.items())
    nbytes = query.nbytes + len((where or "").encode()) + sum(array.nbytes for _, array in tokens)
    if nbytes > options.LIVE_QUERIES_BYTES_MAX // 8:
        return None
    copies = tuple((name, array.copy()) for name, array in tokens)
    return _Live(request.field, query.copy(), copies, where, nbytes)


def _joined(items: Sequence[_Live], limit: int, where: str | None) -> SearchRequest:
    """One request of queries with the same fields."""
    names = [name for name, _ in items[0].token_queries]
    return SearchRequest(
        field=items[0].field,
        queries=np.stack([item.query for item in items]),
        token_queries={
            name: [item.token_queries[place][1] for item in items]
            for place, name in enumerate(names)
        },
        limit=limit,
        where=where,
        with_payload=False,
    )
