"""Records by where they are: read as they were written, scored again, matched vector by vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from vecstore.errors import RequestError
from vecstore.request import MaxSim, Rescore, SearchRequest, TokenQueries
from vecstore.schema import Schema, Vector
from vecstore.search.answer import OnDamage, make_hits, passing
from vecstore.search.candidates import Answer, Candidates, Queries, Target
from vecstore.search.matching import Matching
from vecstore.search.parallel import Workers
from vecstore.search.stages.maxsim import TokenQuery, rescore_sets
from vecstore.search.stages.rescore import rescore
from vecstore.search.where import Node
from vecstore.segment.bits import Allowed
from vecstore.segment.snapshot import Live, Place, Snapshot
from vecstore.segment.vectors import owners, read_vectors
from vecstore.types import Hits, Int64, Record, TokenMatches


def records_at(places: Sequence[Place | None], *, with_vectors: bool) -> list[Record | None]:
    """The records at some places, None where there is no place."""
    found: list[Record | None] = [None] * len(places)
    for live, (own, rows) in _by_source(places).items():
        for position, record in zip(
            own, records_of(live, rows, with_vectors=with_vectors), strict=True
        ):
            found[position] = record
    return found


def page(
    snapshot: Snapshot, node: Node | None, after: int, limit: int, *, with_vectors: bool
) -> tuple[list[Record], int | None]:
    """At most `limit` records that pass a filter, from the seq `after` on.

    Returns:
        The records, and the seq of the next one or None at the end.
    """
    records: list[Record] = []
    for live in snapshot.sources:
        if live.source.seq_max < after:
            continue
        start = int(np.searchsorted(live.source.seqs, np.uint64(after)))
        rows = start + np.flatnonzero(passing(node, live)[start:])
        chosen = rows[: limit - len(records)]
        records += records_of(live, chosen, with_vectors=with_vectors)
        if len(chosen) < len(rows):
            return records, int(live.source.seqs[rows[len(chosen)]])
    return records, None


def records_of(live: Live, rows: Int64, *, with_vectors: bool) -> list[Record]:
    """Some rows of a source as records."""
    vectors = read_vectors(live.source, rows) if with_vectors else [{} for _ in rows]
    return [
        Record(id_, msgspec.json.decode(payload) if payload else {}, found)
        for id_, payload, found in zip(
            live.source.decoded_ids(rows), live.source.payloads(rows), vectors, strict=True
        )
    ]


class Given(NamedTuple):
    """Scores records that somebody else found, with the finest representation of a field.

    Attributes:
        request: one query of one field.
        schema: the fields.
        workers: threads.
        on_damage: as in `answer`.
    """

    request: SearchRequest
    schema: Schema
    workers: Workers
    on_damage: OnDamage

    def rerank(self, places: Sequence[Place | None]) -> Hits:
        """Score the records at some places.

        Args:
            places: each record once; None, and records without the field, are left out, and those
                in segments that are not read; hits say where that matters.
        """
        vector = self.schema.vector(_only(self.request.field, self.request.token_queries))
        targets, candidates = _candidates(places, vector.name)
        if len(candidates.row):
            candidates = self._scored(vector, targets, candidates)
        hits = make_hits(self.request, targets, Answer(candidates), self.on_damage)
        hits.partial = any(
            place is not None and place.unread and place.live.source.field_count(vector.name)
            for place in places
        )
        return hits

    def _scored(
        self, vector: Vector, targets: Sequence[Target], candidates: Candidates
    ) -> Candidates:
        limit, finest = self.request.limit, vector.representations[-1]
        if not vector.multi:
            queries = Queries(self.request.queries)
            return rescore(Rescore(finest, limit), targets, candidates, queries, 0)
        stage = MaxSim(vector.name, limit, finest, self.request.token_budget)
        query = TokenQuery(self.request.token_queries[vector.name][0], self.workers)
        with self.workers.searches:
            return rescore_sets(stage, targets, candidates, query, before=None, rescored=False)


def match_tokens(
    field: str, token_queries: TokenQueries, places: Sequence[Place | None]
) -> list[TokenMatches | None]:
    """For each vector of a query, the token of each record that scores best with it.

    Args:
        field: the vector field that is asked for, which is refused; or "".
        token_queries: one query of one multivector field.
        places: where records are.

    Returns:
        As many as places; None where there is no place, the record lacks the field, or is in a
        segment that is not read.
    """
    name = _only(field, token_queries)
    if name == field:
        raise RequestError(
            f"matches has a query for vector field {name!r}, not a multivector field"
        )
    matching = Matching(token_queries[name][0])
    found: list[TokenMatches | None] = [None] * len(places)
    for live, (own, rows) in _by_source(places).items():
        for at, matched in zip(*matching.match(live.source, name, rows), strict=True):
            found[own[at]] = matched
    return found


def _only(field: str, token_queries: TokenQueries) -> str:
    """The one field that queries are for."""
    names = [*filter(None, [field]), *token_queries]
    if len(names) != 1:
        raise RequestError(
            f"queries are for the fields {', '.join(map(repr, names))}, expected one field"
        )
    return names[0]


def _by_source(places: Sequence[Place | None]) -> dict[Live, tuple[list[int], Int64]]:
    """For each source that is read the positions of its places, and their rows."""
    wanted: dict[Live, list[int]] = {}
    for position, place in enumerate(places):
        if place is not None and not place.unread:
            wanted.setdefault(place.live, []).append(position)
    return {
        live: (own, np.array([place.row for at in own if (place := places[at]) is not None]))
        for live, own in wanted.items()
    }


def _candidates(places: Sequence[Place | None], field: str) -> tuple[list[Target], Candidates]:
    """Those of some places that have a field."""
    targets: list[Target] = []
    rows: list[Int64] = [np.empty(0, dtype=np.int64)]
    for live, (_, own) in _by_source(places).items():
        count = live.source.field_count(field)
        targets.append(Target(live, field, count, Allowed(None, count)))
        rows.append(owners(live.source, field, own)[1])
    target = np.repeat(np.arange(len(targets)), [len(own) for own in rows[1:]])
    row = np.concatenate(rows)
    return targets, Candidates(target, row, np.zeros(len(row), dtype=np.float32))
