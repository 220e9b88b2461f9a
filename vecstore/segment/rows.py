"""Whole records in columnar form: what the write buffer stores and a flush or compaction moves.

Stored as arrays, little-endian, C order:

    seqs                     uint64 [N], strictly ascending
    ids/offsets, ids/data    encoded ids (see ids.py, ragged.py)
    payloads/offsets, .../data   JSON text in UTF-8; empty: no payload
    columns/<name>/...       see columns.py
    vectors/<name>/values    float16 or float32 [n, D]
    vectors/<name>/rows      uint32 [n], ascending; left out where every row has the field
    vectors/<name>/tokens/...    of a multivector field, see tokens.py; values are [T, D] then
    vectors/<name>/codes, .../spec, .../codec   in place of values, where codes came ready-made:
                             uint8 [n, bytes of one], the spec in UTF-8, uint64 [1] encode version
    expires                  int64 [N], microseconds since 1970, 0: never; left out where no row
                             expires

A column or field without arrays is one that was added to the schema later: no row has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from vecstore.codec import parse_spec
from vecstore.errors import CorruptionError, SchemaError
from vecstore.schema import Schema, Vector
from vecstore.segment.columns import ColumnData
from vecstore.segment.ragged import Ragged, little_endian, read_array
from vecstore.segment.tokens import TokenBounds
from vecstore.types import Array, Float16, Float32, Int64, Uint8, Uint32, Uint64


class Encoding(NamedTuple):
    """Which codec made codes.

    Attributes:
        spec: the representation.
        codec: the id of the trained codec, 0 where nothing was trained.
    """

    spec: str
    codec: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FieldVectors:
    """The vectors of one field.

    Attributes:
        rows: uint32 [n], the rows that have the field, ascending; None where all have it.
        values: float16 or float32 [n, D]; uint8 [n, bytes of one code] with an encoding. Of a
            multivector field as many as there are tokens T.
        encoding: what made the codes that came ready-made, None for floats.
        tokens: which of the values each record has; None: one each.
    """

    rows: Uint32 | None
    values: Float16 | Float32 | Uint8
    encoding: Encoding | None = None
    tokens: TokenBounds | None = None

    @classmethod
    def empty(cls, field: Vector, count: int, dtype: np.dtype[Any]) -> FieldVectors:
        """A field that none of `count` rows has."""
        rows = np.empty(0, dtype=np.uint32) if count else None
        tokens = TokenBounds.none() if field.multi else None
        return cls(rows=rows, values=np.empty((0, field.dim), dtype=dtype), tokens=tokens)

    def __len__(self) -> int:
        """How many rows have the field: n."""
        return len(self.values) if self.tokens is None else len(self.tokens)

    @classmethod
    def concat(cls, parts: Sequence[FieldVectors], counts: Sequence[int]) -> FieldVectors:
        """The vectors of all parts, which have `counts` rows; the wider dtype wins.

        Those that have vectors are of one encoding.
        """
        filled = [part for part in parts if len(part.values)] or parts[:1]
        values = np.concatenate([part.values for part in filled])
        encoding = filled[0].encoding
        bounds = [part.tokens for part in filled if part.tokens is not None]
        tokens = TokenBounds.concat(bounds) if bounds else None
        if all(part.rows is None for part in parts):
            return cls(rows=None, values=values, encoding=encoding, tokens=tokens)
        starts = np.cumsum([0, *counts[:-1]]).astype(np.uint32)
        pieces = [
            start + (np.arange(count, dtype=np.uint32) if part.rows is None else part.rows)
            for part, start, count in zip(parts, starts, counts, strict=True)
        ]
        rows = np.concatenate(pieces)
        return cls(rows=rows, values=values, encoding=encoding, tokens=tokens)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], prefix: str, *, field: Vector, count: int
    ) -> FieldVectors:
        """Read what `to_arrays` wrote; CorruptionError where the arrays do not fit."""
        coded = prefix + "codes" in arrays
        encoding = _read_encoding(arrays, prefix, field.dim) if coded else None
        name = prefix + ("codes" if encoding else "values")
        half = name in arrays and arrays[name].dtype.itemsize == 2
        dtype = np.dtype(np.uint8 if encoding else np.float16 if half else np.float32)
        values = read_array(arrays, name, dtype, ndim=2)
        rows = None
        if prefix + "rows" in arrays:
            rows = read_array(arrays, prefix + "rows", np.dtype(np.uint32))
            if np.any(rows[1:] <= rows[:-1]) or (len(rows) and rows[-1] >= count):
                raise CorruptionError(f"array {prefix + 'rows'!r} does not ascend below {count}")
        owners = count if rows is None else len(rows)
        tokens = TokenBounds.from_arrays(arrays, prefix + "tokens/") if field.multi else None
        if tokens is not None and len(tokens) != owners:
            raise CorruptionError(
                f"array {prefix + 'tokens/offsets'!r} bounds {len(tokens)} records, expected "
                f"{owners}"
            )
        length = owners if tokens is None else tokens.count
        shape = (length, values.shape[1] if encoding else field.dim)
        if values.shape != shape:
            raise CorruptionError(f"array {name!r} has shape {values.shape}, expected {shape}")
        return cls(rows=rows, values=values, encoding=encoding, tokens=tokens)

    def to_arrays(self, prefix: str) -> dict[str, Array]:
        """The arrays as stored."""
        if self.encoding is None:
            arrays = {prefix + "values": little_endian(self.values)}
        else:
            spec, codec = self.encoding
            arrays = {
                prefix + "codes": little_endian(self.values),
                prefix + "spec": np.frombuffer(spec.encode(), dtype=np.uint8),
                prefix + "codec": little_endian(np.array([codec], dtype=np.uint64)),
            }
        if self.rows is not None:
            arrays[prefix + "rows"] = little_endian(self.rows)
        if self.tokens is not None:
            arrays |= self.tokens.to_arrays(prefix + "tokens/")
        return arrays

    def take(self, rows: Int64) -> FieldVectors:
        """The vectors of the given rows, in the given order."""
        if self.rows is None:
            return self._numbered(None, rows)
        place = np.searchsorted(self.rows, rows)
        found = np.append(self.rows, np.uint32(0))[place] == rows
        found &= place < len(self.rows)
        kept = None if found.all() else np.flatnonzero(found).astype(np.uint32)
        return self._numbered(kept, place[found])

    def _numbered(self, rows: Uint32 | None, numbers: Int64) -> FieldVectors:
        """The vectors of the rows of some numbers among those that have the field."""
        if self.tokens is None:
            return replace(self, rows=rows, values=self.values[numbers])
        values = self.values[self.tokens.rows(numbers)]
        return replace(self, rows=rows, values=values, tokens=self.tokens.take(numbers))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """N records, by seq.

    Attributes:
        seqs: uint64 [N], strictly ascending.
        ids: encoded ids.
        payloads: JSON text in UTF-8; empty: no payload.
        columns: one for each column of the schema, by name.
        vectors: one for each vector field of the schema, by name.
        expires: int64 [N], when each row expires, in microseconds since 1970; 0 is never, and None
            stands for zeros.
    """

    seqs: Uint64
    ids: Ragged
    payloads: Ragged
    columns: dict[str, ColumnData]
    vectors: dict[str, FieldVectors]
    expires: Int64 | None = None

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, in order. At least one part, all of one schema."""
        first, counts = parts[0], [len(part) for part in parts]
        return cls(
            seqs=np.concatenate([part.seqs for part in parts]),
            ids=Ragged.concat([part.ids for part in parts]),
            payloads=Ragged.concat([part.payloads for part in parts]),
            columns={
                name: ColumnData.concat([part.columns[name] for part in parts])
                for name in first.columns
            },
            vectors={
                name: FieldVectors.concat([part.vectors[name] for part in parts], counts)
                for name in first.vectors
            },
            expires=concat_expires([part.expires for part in parts], counts),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], schema: Schema) -> Rows:
        """Read what `to_arrays` wrote; CorruptionError where the arrays do not fit."""
        seqs = read_array(arrays, "seqs", np.dtype(np.uint64))
        if np.any(seqs[1:] <= seqs[:-1]):
            raise CorruptionError("array 'seqs' does not ascend")
        count = len(seqs)
        columns = {
            column.name: ColumnData.from_arrays(column.type, arrays, f"columns/{column.name}/")
            if f"columns/{column.name}/values" in arrays
            else ColumnData.nulls(column.type, count)
            for column in schema.columns
        }
        vectors = {
            field.name: FieldVectors.from_arrays(
                arrays, f"vectors/{field.name}/", field=field, count=count
            )
            if any(f"vectors/{field.name}/{kind}" in arrays for kind in ("values", "codes"))
            else FieldVectors.empty(field, count, np.dtype(np.float16))
            for field in schema.vectors
        }
        ids = Ragged.from_arrays(arrays, "ids/")
        payloads = Ragged.from_arrays(arrays, "payloads/")
        lengths = {"ids": len(ids), "payloads": len(payloads)}
        lengths |= {f"columns/{name}": len(column) for name, column in columns.items()}
        for name, length in lengths.items():
            if length != count:
                raise CorruptionError(f"arrays {name!r} have {length} rows, expected {count}")
        return cls(
            seqs=seqs,
            ids=ids,
            payloads=payloads,
            columns=columns,
            vectors=vectors,
            expires=read_expires(arrays, count),
        )

    def to_arrays(self) -> dict[str, Array]:
        """The arrays as stored."""
        arrays = {"seqs": little_endian(self.seqs)}
        arrays |= self.ids.to_arrays("ids/")
        arrays |= self.payloads.to_arrays("payloads/")
        for name, column in self.columns.items():
            arrays |= column.to_arrays(f"columns/{name}/")
        for name, vectors in self.vectors.items():
            arrays |= vectors.to_arrays(f"vectors/{name}/")
        if self.expires is not None:
            arrays["expires"] = little_endian(self.expires)
        return arrays

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def encodings(self) -> dict[str, Encoding | None]:
        """What made the codes of each field that some row has; None for floats."""
        found = self.vectors.items()
        return {name: field.encoding for name, field in found if len(field)}

    @property
    def codecs(self) -> frozenset[int]:
        """The ids of the trained codecs that made ready-made codes."""
        found = (field.encoding for field in self.vectors.values())
        return frozenset(item.codec for item in found if item is not None and item.codec)

    def take(self, rows: Int64) -> Rows:
        """The given rows; ascending, so that seqs still ascend."""
        return Rows(
            seqs=self.seqs[rows],
            ids=self.ids.take(rows),
            payloads=self.payloads.take(rows),
            columns={name: column.take(rows) for name, column in self.columns.items()},
            vectors={name: vectors.take(rows) for name, vectors in self.vectors.items()},
            expires=None if self.expires is None else some_expire(self.expires[rows]),
        )


def some_expire(expires: Int64) -> Int64 | None:
    """The array, or None where no row expires."""
    return expires if expires.any() else None


def concat_expires(parts: Sequence[Int64 | None], counts: Sequence[int]) -> Int64 | None:
    """When the rows of all parts expire, which have `counts` rows; None where none does."""
    if all(part is None for part in parts):
        return None
    zeros = (np.zeros(count, dtype=np.int64) for count in counts)
    return np.concatenate(
        [zero if part is None else part for part, zero in zip(parts, zeros, strict=True)]
    )


def _read_encoding(arrays: Mapping[str, Array], prefix: str, dim: int) -> Encoding:
    """What made the codes of a field; CorruptionError where that is not told."""
    text = read_array(arrays, prefix + "spec", np.dtype(np.uint8)).tobytes()
    codec = read_array(arrays, prefix + "codec", np.dtype(np.uint64))
    try:
        spec = parse_spec(text.decode(), dim)
    except (UnicodeDecodeError, SchemaError):
        spec = None
    if spec is None or len(codec) != 1 or spec.trained != bool(codec[0]):
        raise CorruptionError(f"arrays {prefix + 'spec'!r} and 'codec' name no codec")
    return Encoding(str(spec), int(codec[0]))


def read_expires(arrays: Mapping[str, Array], count: int) -> Int64 | None:
    """The array "expires" of `count` rows, None where it was left out."""
    if "expires" not in arrays:
        return None
    expires: Int64 = read_array(arrays, "expires", np.dtype(np.int64))
    if len(expires) != count or (count and expires.min() < 0):
        raise CorruptionError(f"array 'expires' does not hold {count} times")
    return expires
