"""Byte strings of any length, end to end in one array.

Stored as two arrays, little-endian:

    <prefix>offsets  uint64 [N + 1]  row i is data[offsets[i] : offsets[i + 1]]; offsets[0] = 0
    <prefix>data     uint8  [B]      B = offsets[N]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.types import Array, Int64, Uint8, Uint64

# Runs of rows longer than this on average are copied one by one; others by one gather of bytes.
_SHORT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ragged:
    """N byte strings.

    Making one costs nothing, so it may lie over mapped arrays; each access checks the bounds of
    the rows it reads. `from_arrays` checks all of them.

    Attributes:
        offsets: uint64 [N + 1].
        data: uint8 [B].
    """

    offsets: Uint64
    data: Uint8

    @classmethod
    def from_list(cls, items: Sequence[bytes]) -> Ragged:
        """Lay byte strings end to end."""
        data = np.frombuffer(b"".join(items), dtype=np.uint8)
        return cls(offsets=make_offsets(map(len, items), len(items)), data=data)

    @classmethod
    def concat(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of all parts, in order. At least one part."""
        return cls(
            offsets=concat_offsets([part.offsets for part in parts]),
            data=np.concatenate([part.data for part in parts]),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str) -> Ragged:
        """Read what `to_arrays` wrote; CorruptionError where the arrays do not fit."""
        data = read_array(arrays, prefix + "data", np.dtype(np.uint8))
        offsets = read_array(arrays, prefix + "offsets", np.dtype(np.uint64))
        check_offsets(offsets, len(data), prefix + "offsets")
        return cls(offsets=offsets, data=data)

    def to_arrays(self, prefix: str) -> dict[str, Array]:
        """The arrays as stored."""
        return {
            prefix + "offsets": little_endian(self.offsets),
            prefix + "data": little_endian(self.data),
        }

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def get(self, row: int) -> bytes:
        """One row; CorruptionError where its bounds are damaged."""
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        if not start <= stop <= len(self.data):
            raise self._damage()
        return self.data[start:stop].tobytes()

    def to_list(self) -> list[bytes]:
        """Every row."""
        check_offsets(self.offsets, len(self.data), "offsets")
        data, bounds = self.data.tobytes(), self.offsets.tolist()
        return [data[start:stop] for start, stop in pairwise(bounds)]

    def pick(self, rows: Int64) -> list[bytes]:
        """The given rows, in the given order; CorruptionError where their bounds are damaged."""
        view, size, found = self.data.data, len(self.data), []
        starts, stops = self.offsets[rows].tolist(), self.offsets[rows + 1].tolist()
        for start, stop in zip(starts, stops, strict=True):
            if not start <= stop <= size:
                raise self._damage()
            found.append(bytes(view[start:stop]))
        return found

    def lengths(self, rows: Int64) -> Uint64:
        """Bytes of the given rows; CorruptionError where their bounds are damaged."""
        starts, stops = self._bounds(rows)
        return stops - starts

    def take(self, rows: Int64) -> Ragged:
        """The given rows, in the given order; CorruptionError where their bounds are damaged."""
        starts, stops = self._bounds(rows)
        offsets = make_offsets(stops - starts, len(rows))
        first = np.ones(len(rows), dtype=np.bool_)  # of the rows that lie end to end
        first[1:] = starts[1:] != stops[:-1]
        if offsets[-1] > _SHORT_BYTES * np.count_nonzero(first):
            view = np.ascontiguousarray(self.data).data
            last = np.roll(first, -1)
            bounds = zip(starts[first].tolist(), stops[last].tolist(), strict=True)
            joined = b"".join([view[start:stop] for start, stop in bounds])
            return Ragged(offsets=offsets, data=np.frombuffer(joined, dtype=np.uint8))
        return Ragged(offsets=offsets, data=self.data[gather_index(starts, offsets)])

    def _bounds(self, rows: Int64) -> tuple[Uint64, Uint64]:
        starts, stops = self.offsets[rows], self.offsets[rows + 1]
        if (starts > stops).any() or (stops > np.uint64(len(self.data))).any():
            raise self._damage()
        return starts, stops

    def _damage(self) -> CorruptionError:
        return CorruptionError(
            f"offsets of {len(self)} rows leave their {len(self.data)} bytes of data, "
            "expected them to ascend within it"
        )


def make_offsets(lengths: Iterable[int] | Array, count: int) -> Uint64:
    """Bounds [count + 1] of pieces that lie end to end, from their lengths."""
    offsets = np.zeros(count + 1, dtype=np.uint64)
    if not isinstance(lengths, np.ndarray):
        lengths = np.fromiter(lengths, dtype=np.uint64, count=count)
    np.cumsum(lengths, dtype=np.uint64, out=offsets[1:])
    return offsets


def concat_offsets(parts: Sequence[Uint64]) -> Uint64:
    """Bounds of the pieces of all parts, end to end."""
    lengths = np.concatenate([np.diff(part) for part in parts])
    return make_offsets(lengths, len(lengths))


def spans_of(offsets: Uint64, most: int) -> Iterator[tuple[int, int]]:
    """Cut pieces [n + 1] into spans, first and last, of at most `most` items or of one piece."""
    first, count = 0, len(offsets) - 1
    while first < count:
        reach = int(np.searchsorted(offsets, offsets[first] + np.uint64(most), side="right")) - 1
        last = min(max(reach, first + 1), count)
        yield first, last
        first = last


def gather_index(starts: Uint64, offsets: Uint64) -> Int64:
    """Where the items of some pieces come from, item by item.

    Args:
        starts: uint64 [n], where each piece starts in the source.
        offsets: uint64 [n + 1], where each piece starts in the result.
    """
    bounds = offsets.astype(np.int64)
    index: Int64 = np.repeat(starts.astype(np.int64) - bounds[:-1], np.diff(bounds))
    index += np.arange(bounds[-1])
    return index


def check_offsets(offsets: Uint64, items: int, name: str) -> None:
    """Raise CorruptionError unless offsets ascend from 0 to `items`."""
    if (
        not len(offsets)
        or offsets[0] != 0
        or offsets[-1] != items
        or np.any(offsets[1:] < offsets[:-1])
    ):
        raise CorruptionError(f"array {name!r} does not ascend from 0 to {items}")


def little_endian(array: Array) -> Array:
    """The array as it is stored: little-endian, C order; itself where it is both."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def read_array(
    arrays: Mapping[str, Array], name: str, dtype: np.dtype[Any], ndim: int = 1
) -> Array:
    """The stored array of that name; CorruptionError unless it has that dtype and rank."""
    array = arrays.get(name)
    if array is None:
        raise CorruptionError(f"array {name!r} is missing")
    if array.dtype != dtype.newbyteorder("<") or array.ndim != ndim:
        raise CorruptionError(
            f"array {name!r} is {array.dtype} of rank {array.ndim}, expected {dtype} of rank {ndim}"
        )
    return array.astype(dtype, copy=False)
