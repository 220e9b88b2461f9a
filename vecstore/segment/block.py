"""A few records in memory, as the write buffer holds them: a source like a segment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vecstore.codec import build_codec, parse_spec
from vecstore.schema import Schema
from vecstore.segment.base import Codes, Sound, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import Rows
from vecstore.types import Array, Int64, Metric, Uint32, Uint64


class Block:
    """Immutable rows with float vectors; every search of it is exact."""

    __slots__ = ("_codes", "_rows", "seqs")

    def __init__(self, rows: Rows, schema: Schema) -> None:
        self._rows = rows
        self.seqs: Uint64 = rows.seqs
        self._codes: Mapping[str, tuple[str, Codes]] = {
            name: _float_codes(found.values, schema.vector(name).metric)
            for name, found in rows.vectors.items()
            if len(found.values)
        }

    @property
    def content(self) -> Rows:
        """The rows themselves."""
        return self._rows

    @property
    def rows(self) -> int:
        """Rows, live or not."""
        return len(self.seqs)

    @property
    def seq_min(self) -> int:
        """The first seq."""
        return int(self.seqs[0])

    @property
    def seq_max(self) -> int:
        """The last seq."""
        return int(self.seqs[-1])

    @property
    def expires(self) -> Int64 | None:
        """When each row expires, int64 [N]; None where no row does."""
        return self._rows.expires

    def ids(self, rows: Int64) -> list[bytes]:
        """Encoded ids of some rows."""
        return self._rows.ids.pick(rows)

    def payloads(self, rows: Int64) -> list[bytes]:
        """JSON of some rows; empty where none was given."""
        return self._rows.payloads.pick(rows)

    def strings(self, kind: Strings, rows: Int64) -> Ragged:
        """Encoded ids or payloads of some rows."""
        return self._strings(kind).take(rows)

    def lengths(self, kind: Strings, rows: Int64) -> Uint64:
        """Bytes of the encoded ids or payloads of some rows."""
        return self._strings(kind).lengths(rows)

    def _strings(self, kind: Strings) -> Ragged:
        return self._rows.ids if kind == "ids" else self._rows.payloads

    def column(self, name: str) -> ColumnData:
        """The values of a column, a row each."""
        return self._rows.columns[name]

    def field_rows(self, field: str) -> Uint32 | None:
        """Ascending rows that have the field; None where all have it or none has."""
        found = self._rows.vectors.get(field)
        return None if found is None else found.rows

    def field_count(self, field: str) -> int:
        """How many rows have the field."""
        found = self._rows.vectors.get(field)
        return 0 if found is None else len(found.values)

    def fields(self) -> tuple[str, ...]:
        """The vector fields that some row has."""
        return tuple(self._codes)

    def specs(self, field: str) -> tuple[str, ...]:
        """The one float representation of the field, or none."""
        return (self._codes[field][0],) if field in self._codes else ()

    def codec_id(self, field: str, spec: str) -> int | None:
        """0 for the floats, which need no training; None for another representation."""
        return 0 if spec in self.specs(field) else None

    def codes(self, field: str, spec: str) -> Codes | None:
        """The floats, if `spec` names them."""
        found = self._codes.get(field)
        return found[1] if found is not None and found[0] == spec else None


def _float_codes(values: Array, metric: Metric) -> tuple[str, Codes]:
    spec = str(values.dtype)
    codec = build_codec(parse_spec(spec, values.shape[1]), values.shape[1], metric, {})
    codes = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), codec.code_bytes)
    return spec, Codes(codec=codec, parts=codec.pack(codes), touch=Sound())
