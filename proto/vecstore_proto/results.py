"""What reads answer with, to messages and back: records and hits.

An answer that one message cannot hold is cut into parts, between records or hits; the reader joins
the parts. A part is made when it is asked for, from what is read then, so that a writer of parts
never holds a large answer. A database that hands out payloads as it stores them has them sent as
they are.

Shapes  n hits or records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vecstore import options
from vecstore.types import Float32, HitLoader, Hits, Id, Payload, Record, StageReport, TokenMatches
from vecstore_proto.convert import (
    ids_from_wire,
    ids_to_wire,
    payloads_from_wire,
    payloads_to_wire,
)
from vecstore_proto.status import AnswerTooLarge
from vecstore_proto.tensors import (
    mappings_from_wire,
    mappings_to_wire,
    rows_from_wire,
    tensor_from_wire,
    tensor_to_wire,
)
from vecstore_proto.v1 import collection_pb2, common_pb2

PART_BYTES_MAX = options.MESSAGE_BYTES_MAX // 2
"""A part holds this many bytes of payloads and vectors, or one record that has more."""

READ_ROWS = 256
"""Records or hits are read from a database this many at a time, as each may have 1 MiB."""

_REPORT = (
    "stage",
    "representation",
    "rows_in",
    "rows_out",
    "bytes_read",
    "milliseconds",
    "kernel",
    "threads",
)


class _Columns(NamedTuple):
    """Records column by column, as they are about to be sent."""

    ids: list[Id]
    payloads: list[bytes]
    vectors: list[Mapping[str, Float32]]
    matches: list[TokenMatches] | None = None

    def spans(self) -> list[tuple[int, int, int]]:
        """(start, stop, bytes) of runs that fit into a part."""
        rows = zip(self.ids, self.payloads, self.vectors, strict=True)
        sizes = [_row_bytes(*row) for row in rows]
        for place, found in enumerate(self.matches or ()):
            sizes[place] += found.tokens.nbytes + found.scores.nbytes
        return [
            (start, stop, sum(sizes[start:stop])) for start, stop in spans(sizes, PART_BYTES_MAX)
        ]

    def to_wire(self, start: int, stop: int, into: common_pb2.Records) -> None:
        into.ids.CopyFrom(ids_to_wire(self.ids[start:stop]))
        mappings_to_wire(self.vectors[start:stop], into)
        payloads = self.payloads[start:stop]
        if any(payloads):
            into.payloads.json.extend(payloads)


def _row_bytes(id_: Id, payload: bytes, vectors: Mapping[str, Float32]) -> int:
    return 32 + 4 * len(str(id_)) + len(payload) + sum(v.nbytes + 8 for v in vectors.values())


class RecordsPart:
    """Collects the records of one message."""

    __slots__ = ("_columns", "_room")

    def __init__(self) -> None:
        self._columns = _Columns([], [], [])
        self._room = PART_BYTES_MAX

    def __len__(self) -> int:
        return len(self._columns.ids)

    def add(self, records: Sequence[Record]) -> int:
        """Take records in, all or none; how many there is room for, at least one if it is empty."""
        payloads: list[bytes] = []
        room = self._room
        for fits, record in enumerate(records):
            (payload,) = payloads_to_wire([record.payload or None])
            size = _row_bytes(record.id, payload, record.vectors)
            if size > room and (fits or len(self)):
                return fits
            room -= size
            payloads.append(payload)
        self._room = room
        self._columns.ids.extend(record.id for record in records)
        self._columns.payloads.extend(payloads)
        self._columns.vectors.extend(record.vectors for record in records)
        return len(records)

    def to_wire(self, into: common_pb2.Records) -> None:
        """Write the records into a message."""
        self._columns.to_wire(0, len(self), into)


class WireLoader:
    """Reads what hits carry from a message, when it is asked for."""

    __slots__ = ("_count", "_matches", "_records")

    def __init__(
        self,
        records: common_pb2.Records,
        count: int,
        matches: collection_pb2.MatchTokensResponse | None = None,
    ) -> None:
        self._records = records
        self._count = count
        self._matches = matches

    def ids(self) -> list[Id]:
        """The ids of the hits."""
        return ids_from_wire(self._records.ids)

    def raw_payloads(self) -> list[bytes]:
        """Payloads as JSON, no bytes where there is none or none was asked for."""
        return list(self._records.payloads.json) or [b""] * self._count

    def payloads(self) -> list[Payload]:
        """Payloads as objects."""
        return payloads_from_wire(self.raw_payloads())

    def vectors(self) -> list[Mapping[str, Float32]]:
        """Field -> vector of each hit."""
        return list(mappings_from_wire(self._records.vectors, self._count))

    def matches(self) -> list[TokenMatches] | None:
        """What matched of each hit, None where that was not asked for."""
        if self._matches is None:
            return None
        found = matches_from_wire(self._matches, self._count)
        return [item for item in found if item is not None]


def hits_to_wire(
    results: Iterable[Hits], *, single: bool = False
) -> Iterator[collection_pb2.SearchResponse]:
    """The answers to some queries as messages: one, unless it would be too large.

    With `single`, AnswerTooLarge is raised in place of more than one.
    """
    part, room = collection_pb2.SearchResponse(), PART_BYTES_MAX
    for query, hits in enumerate(results):
        for first, columns in _read_hits(hits):
            for start, stop, size in columns.spans():
                if size > room and part.results:
                    if single:
                        raise AnswerTooLarge
                    yield part
                    part, room = collection_pb2.SearchResponse(), PART_BYTES_MAX
                room -= size
                piece = part.results.add(
                    query=query, partial=hits.partial, explanation=_explain_to_wire(hits.explain)
                )
                columns.to_wire(start, stop, piece.records)
                if columns.matches is not None:
                    piece.matches.CopyFrom(matches_to_wire(columns.matches[start:stop]))
                tensor_to_wire(hits.scores[first + start : first + stop], piece.scores)
    yield part


def _read_hits(hits: Hits) -> Iterator[tuple[int, _Columns]]:
    """What hits carry, some at a time where their loader can be cut, and where these start."""
    cut = getattr(hits.loader, "part", None)
    step = len(hits) if cut is None else READ_ROWS
    for start in range(0, max(len(hits), 1), max(step, 1)):
        loader: HitLoader = hits.loader if cut is None else cut(start, start + step)
        yield (
            start,
            _Columns(loader.ids(), loader.raw_payloads(), loader.vectors(), loader.matches()),
        )


def hits_from_wire(parts: Iterable[collection_pb2.SearchResponse]) -> list[Hits]:
    """The inverse: one `Hits` for each query."""
    queries: list[list[collection_pb2.QueryHits]] = []
    for part in parts:
        for piece in part.results:
            if piece.query == len(queries):
                queries.append([])
            queries[piece.query].append(piece)
    return [_hits_from_wire(pieces) for pieces in queries]


def _hits_from_wire(pieces: Sequence[collection_pb2.QueryHits]) -> Hits:
    first = pieces[0]
    loaders = []
    scores = []
    for piece in pieces:
        scores.append(tensor_from_wire(piece.scores))
        matches = piece.matches if piece.HasField("matches") else None
        loaders.append(WireLoader(piece.records, len(scores[-1]), matches))
    return Hits(
        np.concatenate(scores),
        loaders[0] if len(loaders) == 1 else _JoinedLoader(loaders),
        partial=first.partial,
        explain=_explain_from_wire(first),
    )


class _JoinedLoader:
    """The loaders of hits that came in parts, end to end."""

    __slots__ = ("_loaders",)

    def __init__(self, loaders: Sequence[WireLoader]) -> None:
        self._loaders = loaders

    def ids(self) -> list[Id]:
        return [item for loader in self._loaders for item in loader.ids()]

    def raw_payloads(self) -> list[bytes]:
        return [item for loader in self._loaders for item in loader.raw_payloads()]

    def payloads(self) -> list[Payload]:
        return [item for loader in self._loaders for item in loader.payloads()]

    def vectors(self) -> list[Mapping[str, Float32]]:
        return [item for loader in self._loaders for item in loader.vectors()]

    def matches(self) -> list[TokenMatches] | None:
        found = [loader.matches() for loader in self._loaders]
        return None if None in found else [item for own in found for item in own or ()]


def _explain_to_wire(
    reports: tuple[StageReport, ...] | None,
) -> collection_pb2.Explanation | None:
    if reports is None:
        return None
    return collection_pb2.Explanation(
        stages=[
            collection_pb2.StageReport(**{name: getattr(report, name) for name in _REPORT})
            for report in reports
        ]
    )


def _explain_from_wire(piece: collection_pb2.QueryHits) -> tuple[StageReport, ...] | None:
    if not piece.HasField("explanation"):
        return None
    return tuple(
        StageReport(**{name: getattr(report, name) for name in _REPORT})
        for report in piece.explanation.stages
    )


def matches_to_wire(
    found: Sequence[TokenMatches | None],
) -> collection_pb2.MatchTokensResponse:
    """What matches, of each record; None where there is none."""
    message = collection_pb2.MatchTokensResponse()
    there = [(place, item) for place, item in enumerate(found) if item is not None]
    message.positions.values.extend(place for place, _ in there)
    if there:
        tensor_to_wire(np.stack([item.tokens for _, item in there]), message.tokens)
        tensor_to_wire(np.stack([item.scores for _, item in there]), message.scores)
    return message


def matches_from_wire(
    message: collection_pb2.MatchTokensResponse, count: int
) -> list[TokenMatches | None]:
    """The inverse, for `count` records that were asked for."""
    found: list[TokenMatches | None] = [None] * count
    places = rows_from_wire(message.positions, count)
    if places:
        tokens, scores = tensor_from_wire(message.tokens), tensor_from_wire(message.scores)
        for place, own, score in zip(places, tokens, scores, strict=True):
            found[place] = TokenMatches(own.copy(), score.copy())
    return found


def records_to_wire(
    records: Iterable[Record | None], *, single: bool = False
) -> Iterator[collection_pb2.GetResponse]:
    """Records, None where there is none, as messages: one, unless it would be too large.

    With `single`, AnswerTooLarge is raised in place of more than one.
    """
    part, message = RecordsPart(), collection_pb2.GetResponse()
    for place, record in enumerate(records):
        if record is None:
            continue
        if not part.add([record]):
            if single:
                raise AnswerTooLarge
            part.to_wire(message.records)
            yield message
            part, message = RecordsPart(), collection_pb2.GetResponse()
            part.add([record])
        message.positions.values.append(place)
    part.to_wire(message.records)
    yield message


def records_from_wire(
    parts: Iterable[collection_pb2.GetResponse], count: int
) -> list[Record | None]:
    """The inverse, for `count` records that were asked for."""
    found: list[Record | None] = [None] * count
    for part in parts:
        places = rows_from_wire(part.positions, count)
        for place, record in zip(places, page_from_wire(part.records), strict=True):
            found[place] = record
    return found


def page_from_wire(message: common_pb2.Records) -> list[Record]:
    """The records of one message."""
    ids = ids_from_wire(message.ids)
    loader = WireLoader(message, len(ids))
    return [
        Record(*values) for values in zip(ids, loader.payloads(), loader.vectors(), strict=True)
    ]


def spans(sizes: Sequence[int], bytes_max: int) -> Iterator[tuple[int, int]]:
    """Cut rows of the given bytes into (start, stop) runs of at most `bytes_max`, or one row.

    There is at least one run, which is empty where there are no rows.
    """
    if sum(sizes) <= bytes_max:
        yield 0, len(sizes)
        return
    ends = np.cumsum(sizes, dtype=np.int64)
    start, before = 0, 0
    while True:
        stop = max(int(np.searchsorted(ends, before + bytes_max, side="right")), start + 1)
        stop = min(stop, len(ends))
        yield start, stop
        if stop == len(ends):
            return
        start, before = stop, int(ends[stop - 1])
