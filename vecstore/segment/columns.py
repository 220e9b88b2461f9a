"""One column of typed values over N rows, with nulls.

Stored under a prefix as arrays, little-endian:

    <prefix>present        uint8 [ceil(N / 8)]  bit i % 8 of byte i // 8: row i is not null
    <prefix>values         int64 [V]            int; timestamp: microseconds since 1970 UTC
                           float64 [V]          float
                           uint8 [V]            bool: 0 or 1
                           uint32 [V]           keyword: a row of the dictionary
    <prefix>offsets        uint64 [N + 1]       lists only: row i is values[offsets[i] :
                                                offsets[i + 1]]
    <prefix>words/offsets  uint64 [W + 1]       keywords only: the dictionary, UTF-8, ascending,
    <prefix>words/data     uint8 [B]            each word once and each in use

V is N, or the number of items of a list column. A null is 0, or an empty list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.segment.ragged import (
    Ragged,
    check_offsets,
    concat_offsets,
    gather_index,
    little_endian,
    make_offsets,
    read_array,
)
from vecstore.types import Array, Bool, ColumnType, Int64, Uint32, Uint64

Value: TypeAlias = int | float | bool | str

_DTYPES: dict[str, np.dtype[Any]] = {
    "int": np.dtype(np.int64),
    "float": np.dtype(np.float64),
    "bool": np.dtype(np.uint8),
    "keyword": np.dtype(np.uint32),
    "timestamp": np.dtype(np.int64),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def is_list(type_: ColumnType) -> bool:
    """Whether a column of that type holds lists."""
    return type_.startswith("list[")


def item_type(type_: ColumnType) -> str:
    """The type of the items of a list column; of the values of any other."""
    return type_[5:-1] if is_list(type_) else type_


def parse_timestamp(text: str) -> int:
    """Microseconds since 1970 UTC of ISO 8601 text; without an offset it is UTC.

    Raises:
        ValueError: the text is no such time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnData:
    """The values of one column.

    Attributes:
        type: the type of the column.
        present: bool [N], False where the row is null.
        values: [N], or the items of all lists end to end; see the module for the dtypes.
        offsets: uint64 [N + 1] of a list column, else None.
        words: the ascending dictionary of a keyword column, else None.
    """

    type: ColumnType
    present: Bool
    values: Array
    offsets: Uint64 | None = None
    words: Ragged | None = None

    @classmethod
    def from_values(cls, type_: ColumnType, values: Sequence[Any]) -> ColumnData:
        """Build a column from checked values: one Value, list of them, or None for each row."""
        present = np.fromiter((value is not None for value in values), np.bool_, len(values))
        offsets = None
        if is_list(type_):
            lists = [value or () for value in values]
            offsets = make_offsets(map(len, lists), len(lists))
            values = list(chain.from_iterable(lists))
        words = None
        if item_type(type_) == "keyword":
            known = sorted({value for value in values if value is not None})
            codes = {word: code for code, word in enumerate(known)}
            words = Ragged.from_list([word.encode() for word in known])
            values = [codes.get(value, 0) for value in values]
        else:
            values = [0 if value is None else value for value in values]
        flat = np.array(values, dtype=_DTYPES[item_type(type_)])
        return cls(type=type_, present=present, values=flat, offsets=offsets, words=words)

    @classmethod
    def nulls(cls, type_: ColumnType, count: int) -> ColumnData:
        """A column of `count` nulls."""
        listed, kind = is_list(type_), item_type(type_)
        return cls(
            type=type_,
            present=np.zeros(count, dtype=np.bool_),
            values=np.zeros(0 if listed else count, dtype=_DTYPES[kind]),
            offsets=np.zeros(count + 1, dtype=np.uint64) if listed else None,
            words=Ragged.from_list([]) if kind == "keyword" else None,
        )

    @classmethod
    def concat(cls, parts: Sequence[ColumnData]) -> ColumnData:
        """The rows of all parts, in order. At least one part, all of one type."""
        type_ = parts[0].type
        assert all(part.type == type_ for part in parts)
        present = np.concatenate([part.present for part in parts])
        offsets = None
        if is_list(type_):
            offsets = concat_offsets([part._bounds() for part in parts])
        if item_type(type_) == "keyword":
            words, values = _merge_words(parts)
        else:
            words, values = None, np.concatenate([part.values for part in parts])
        return cls(type=type_, present=present, values=values, offsets=offsets, words=words)

    @classmethod
    def from_arrays(cls, type_: ColumnType, arrays: Mapping[str, Array], prefix: str) -> ColumnData:
        """Read what `to_arrays` wrote; CorruptionError where the arrays do not fit."""
        values = read_array(arrays, prefix + "values", _DTYPES[item_type(type_)])
        offsets, count = None, len(values)
        if is_list(type_):
            offsets = read_array(arrays, prefix + "offsets", np.dtype(np.uint64))
            check_offsets(offsets, len(values), prefix + "offsets")
            count = len(offsets) - 1
        packed = read_array(arrays, prefix + "present", np.dtype(np.uint8))
        if len(packed) != -(-count // 8):
            raise CorruptionError(f"array {prefix + 'present'!r} does not fit {count} rows")
        present = np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)
        words, limit = None, 2 if item_type(type_) == "bool" else None
        if item_type(type_) == "keyword":
            words = Ragged.from_arrays(arrays, prefix + "words/")
            # A column of nulls has no words; its codes are 0.
            limit = len(words) or int(not np.any(present)) if offsets is None else len(words)
        if limit is not None and len(values) and values.max() >= limit:
            raise CorruptionError(f"array {prefix + 'values'!r} holds a value beyond {limit}")
        return cls(type=type_, present=present, values=values, offsets=offsets, words=words)

    def to_arrays(self, prefix: str) -> dict[str, Array]:
        """The arrays as stored."""
        arrays = {
            prefix + "present": np.packbits(self.present, bitorder="little"),
            prefix + "values": little_endian(self.values),
        }
        if self.offsets is not None:
            arrays[prefix + "offsets"] = little_endian(self.offsets)
        if self.words is not None:
            arrays |= self.words.to_arrays(prefix + "words/")
        return arrays

    def __len__(self) -> int:
        return len(self.present)

    def take(self, rows: Int64) -> ColumnData:
        """The given rows, in the given order."""
        present, offsets, index = self.present[rows], None, rows
        if self.offsets is not None:
            starts = self.offsets[rows]
            offsets = make_offsets(self.offsets[rows + 1] - starts, len(rows))
            index = gather_index(starts, offsets)
        values, words = self.values[index], self.words
        if words is not None:
            values, words = _drop_words(values, words, present if offsets is None else None)
        return ColumnData(
            type=self.type, present=present, values=values, offsets=offsets, words=words
        )

    def _bounds(self) -> Uint64:
        assert self.offsets is not None
        return self.offsets


def _drop_words(codes: Uint32, words: Ragged, present: Bool | None) -> tuple[Uint32, Ragged]:
    """Leave out the words that no code names. `present`: which codes count; None: all."""
    used = np.zeros(len(words), dtype=np.bool_)
    used[codes if present is None else codes[present]] = True
    kept = np.flatnonzero(used)
    if len(kept) == len(words):
        return codes, words
    renamed = np.zeros(len(words), dtype=np.uint32)
    renamed[kept] = np.arange(len(kept), dtype=np.uint32)
    # The code of a null is 0 and may name a word that went: renamed gives 0 for that, too.
    return renamed[codes], words.take(kept)


def _merge_words(parts: Sequence[ColumnData]) -> tuple[Ragged, Uint32]:
    """One dictionary for all parts, and the codes of all rows in it."""
    lists = [part.words.to_list() for part in parts if part.words is not None]
    known = sorted(set(chain.from_iterable(lists)))
    codes = {word: code for code, word in enumerate(known)}
    values = []
    for part, words in zip(parts, lists, strict=True):
        renamed = np.array([codes[word] for word in words] or [0], dtype=np.uint32)
        values.append(renamed[part.values])
        if part.offsets is None:
            values[-1][~part.present] = 0
    return Ragged.from_list(known), np.concatenate(values)
