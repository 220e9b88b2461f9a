"""A few records in memory, as the write buffer holds them: a source like a segment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np

from vecstore.codec import Codec
from vecstore.errors import CorruptionError
from vecstore.segment.base import Codes, Sound, Strings
from vecstore.segment.columns import ColumnData
from vecstore.segment.ids import decode_ids
from vecstore.segment.ragged import Ragged
from vecstore.segment.rows import Encoding, Rows
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Id, Int64, Uint32, Uint64

CodecOf: TypeAlias = Callable[[str, str, int], Codec]
"""Gives the codec of a field, a spec and an id, 0 where nothing is trained."""


class Block:
    """Immutable rows. Those with float vectors are scored exactly, ready-made codes as they are."""

    __slots__ = ("_codec_of", "_codes", "_made", "_rows", "seqs")

    def __init__(self, rows: Rows, codec_of: CodecOf) -> None:
        self._rows = rows
        self.seqs: Uint64 = rows.seqs
        self._codec_of = codec_of
        self._made = {
            name: encoding or Encoding(str(rows.vectors[name].values.dtype), 0)
            for name, encoding in rows.encodings.items()
        }
        self._codes: dict[str, Codes] = {}  # what was asked for
        for name, made in self._made.items():
            if made.codec:  # its file may be gone when a search of an old snapshot asks for it
                with suppress(CorruptionError):  # which a search then raises
                    codec_of(name, *made)

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

    def decoded_ids(self, rows: Int64) -> list[Id]:
        """Ids of some rows."""
        return decode_ids(self._rows.ids, rows)

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
        return 0 if found is None else len(found)

    def tokens(self, field: str) -> TokenBounds | None:
        """Where the tokens of each row of a multivector field lie."""
        found = self._rows.vectors.get(field)
        return None if found is None else found.tokens

    def fields(self) -> tuple[str, ...]:
        """The vector fields that some row has."""
        return tuple(self._made)

    def specs(self, field: str) -> tuple[str, ...]:
        """The one representation of the field, or none."""
        return (self._made[field].spec,) if field in self._made else ()

    def codec_id(self, field: str, spec: str) -> int | None:
        """The codec of the one representation, 0 for floats; None for another representation."""
        return self._made[field].codec if spec in self.specs(field) else None

    def codes(self, field: str, spec: str) -> Codes | None:
        """The floats, or the ready-made codes, if `spec` names them.

        Raises:
            CorruptionError: the codec that made them cannot be read.
        """
        if spec not in self.specs(field):
            return None
        found = self._codes.get(field)
        if found is None:  # threads may all do this, for the same codes
            found = self._codes.setdefault(field, self._packed(field, self._made[field]))
        return found

    def _packed(self, field: str, made: Encoding) -> Codes:
        codec, values = self._codec_of(field, *made), self._rows.vectors[field].values
        codes = np.ascontiguousarray(values).view(np.uint8)
        if codes.shape[1] != codec.code_bytes:
            raise CorruptionError(
                f"codes of {made.spec!r} in the write buffer have {codes.shape[1]} bytes each, "
                f"expected {codec.code_bytes}"
            )
        return Codes(codec=codec, parts=codec.pack(codes), touch=Sound())
