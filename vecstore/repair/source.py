"""The rows of a damaged segment that can be read, as a source to write a new segment from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vecstore.ingest.payloads import check_payloads
from vecstore.repair.remains import FieldRemains, SegmentRemains
from vecstore.schema import Column, Schema
from vecstore.segment.base import Codes, Sound, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import decode_ids
from vecstore.segment.known import KnownIds
from vecstore.segment.lists import codes_of
from vecstore.segment.ragged import Ragged
from vecstore.segment.tokens import TokenBounds
from vecstore.segment.writer import Part
from vecstore.types import Bool, Id, Int64, Uint32, Uint64

_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Salvaged:
    """Rows of a damaged segment; a Source, of which only the rows that are kept may be read.

    Attributes:
        remains: the segment.
        schema: of the collection.
        known: the records.
        places: int64 [N], the place in `known` of the record that each row is.
        kept: bool [N], the rows that are kept.
        seqs: uint64 [N]; 0 for rows that are not kept.
        found: field -> what is left of it; only of fields that all the rows to be read can have.
        without: (field, spec) of representations that some of the rows to be read have not.
        read: the columns read so far.
    """

    remains: SegmentRemains
    schema: Schema
    known: KnownIds
    places: Int64
    kept: Bool
    seqs: Uint64
    found: Mapping[str, FieldRemains]
    without: frozenset[tuple[str, str]] = frozenset()
    read: dict[str, ColumnData] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the segment."""
        return self.remains.info.rows

    @property
    def seq_min(self) -> int:
        """The first seq of the segment."""
        return self.remains.info.seq_min

    @property
    def seq_max(self) -> int:
        """The last seq of the segment."""
        return self.remains.info.seq_max

    @property
    def expires(self) -> Int64 | None:
        """When each row expires; 0 where that is not known any more."""
        return self.remains.expires[0]

    def ids(self, rows: Int64) -> list[bytes]:
        """Encoded ids, as the records have them."""
        return self.known.ids.pick(self.places[rows])

    def decoded_ids(self, rows: Int64) -> list[Id]:
        """The same, decoded."""
        return decode_ids(self.known.ids, self.places[rows])

    def payloads(self, rows: Int64) -> list[bytes]:
        """Payloads as stored."""
        return self.remains.payloads[0].pick(rows)

    def strings(self, kind: Strings, rows: Int64) -> Ragged:
        """Encoded ids or payloads."""
        return self._strings(kind).take(self._numbers(kind, rows))

    def lengths(self, kind: Strings, rows: Int64) -> Uint64:
        """Bytes of encoded ids or payloads."""
        return self._strings(kind).lengths(self._numbers(kind, rows))

    def _strings(self, kind: Strings) -> Ragged:
        return self.known.ids if kind == "ids" else self.remains.payloads[0]

    def _numbers(self, kind: Strings, rows: Int64) -> Int64:
        return self.places[rows] if kind == "ids" else rows

    def column(self, name: str) -> ColumnData:
        """A column; from the payloads where it is damaged."""
        if name not in self.read:
            column = next(column for column in self.schema.columns if column.name == name)
            found = self.remains.column(column)
            self.read[name] = found or ColumnData.concat([*self._from_payloads(column)])
        return self.read[name]

    def _from_payloads(self, column: Column) -> Iterator[ColumnData]:
        for start in range(0, self.rows, _ROWS):
            kept = self.kept[start : start + _ROWS]
            rows = start + np.flatnonzero(kept)
            texts: list[bytes | None] = [None] * len(kept)
            for row, text in zip(rows.tolist(), self.payloads(rows), strict=True):
                texts[row - start] = text or None
            numbers = range(start, start + len(kept))  # stand for ids where they are refused
            yield check_payloads(texts, numbers, [column])[1][column.name]

    def fields(self) -> tuple[str, ...]:
        """The vector fields that some row has."""
        return tuple(self.found)

    def field_rows(self, field: str) -> Uint32 | None:
        """The rows that have a field."""
        return self.found[field].rows if field in self.found else None

    def field_count(self, field: str) -> int:
        """How many rows have a field."""
        return self.found[field].info.count if field in self.found else 0

    def tokens(self, field: str) -> TokenBounds | None:
        """Where the tokens of each row of a multivector field lie."""
        return self.found[field].tokens if field in self.found else None

    def specs(self, field: str) -> tuple[str, ...]:
        """The representations that can be read."""
        if field not in self.found:
            return ()
        specs = (item.spec for item in self.found[field].info.representations)
        return tuple(spec for spec in specs if (field, spec) not in self.without)

    def codec_id(self, field: str, spec: str) -> int | None:
        """The trained codec of a representation that can be read."""
        if spec not in self.specs(field):
            return None
        items = self.found[field].info.representations
        return next(item.codec for item in items if item.spec == spec)

    def codes(self, field: str, spec: str) -> Codes | None:
        """Codes of a representation that can be read."""
        if spec not in self.specs(field):
            return None
        items = self.found[field].info.representations
        item = next(item for item in items if item.spec == spec)
        arrays = self.remains.parts[item.component].arrays
        return Codes(
            codec=self.remains.codecs[field, spec],
            parts=codes_of(arrays),
            touch=Sound(),  # every block was looked at before
            lists=self.remains.placed[item.component],
        )

    def parts(self) -> list[Part]:
        """The rows that are kept, cut where other representations can be read."""
        rows = np.flatnonzero(self.kept)
        lost = {name: found.lost() for name, found in self.found.items()}
        pairs = [(name, spec) for name, found in self.found.items() for spec in found.unreadable]
        masks = [*lost.values(), *(self.found[name].unreadable[spec] for name, spec in pairs)]
        table = np.array([mask[rows] for mask in masks]).reshape(len(masks), len(rows))
        edges = np.flatnonzero((table[:, 1:] != table[:, :-1]).any(axis=0)) + 1
        parts = []
        for run in np.split(rows, edges):
            if len(run):
                gone = {name for name, mask in lost.items() if mask[run[0]]}
                source = replace(
                    self,
                    found={name: item for name, item in self.found.items() if name not in gone},
                    without=frozenset(
                        (name, spec)
                        for name, spec in pairs
                        if self.found[name].unreadable[spec][run[0]]
                    ),
                )
                parts.append(Part(source, run))
        return parts
