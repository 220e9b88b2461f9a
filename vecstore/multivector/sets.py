"""The tokens of some records, end to end, as all functions of this package take and give them.

Shapes  N records, t tokens of one of them, T of all, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Int64, Uint16, Uint64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenSets:
    """The tokens of N records.

    Attributes:
        vectors: float16 or float32 [T, D].
        offsets: uint64 [N + 1], ascending from 0 to T: record i has the tokens [offsets[i],
            offsets[i + 1]), 65,535 at most; it may have none.
        places: uint16 [T], where each token was among those that were given for its record; None
            where all are in that order.
        salience: [T] numbers, how important each token is to its record; None: not known.
    """

    vectors: Array
    offsets: Uint64
    places: Uint16 | None = None
    salience: Array | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """How many tokens each record has, [N]."""
        return lengths_of(self.offsets)

    def records(self) -> Iterator[slice]:
        """The rows of each record."""
        return (slice(start, stop) for start, stop in pairwise(self.offsets.tolist()))

    def all_places(self) -> Uint16:
        """Where each token was among those of its record, [T]."""
        if self.places is not None:
            return self.places
        starts = np.repeat(self.offsets[:-1].astype(np.int64), self.lengths)
        return (np.arange(len(self.vectors)) - starts).astype(np.uint16)

    def take(self, kept: Sequence[Int64]) -> TokenSets:
        """Some tokens of each record: of record i those at kept[i], counted from its first."""
        lengths = [len(own) for own in kept]
        starts = np.repeat(self.offsets[:-1].astype(np.int64), lengths)
        rows = np.concatenate([np.empty(0, dtype=np.int64), *kept]) + starts
        return TokenSets(
            vectors=self.vectors[rows],
            offsets=offsets_of(lengths),
            places=self.all_places()[rows],
            salience=None if self.salience is None else self.salience[rows],
        )


def lengths_of(offsets: Array) -> Int64:
    """How many tokens lie between offsets [N + 1], [N]."""
    bounds = offsets.astype(np.int64)
    return bounds[1:] - bounds[:-1]


def offsets_of(lengths: Sequence[int]) -> Uint64:
    """Where records of so many tokens begin and end, [N + 1]."""
    return np.cumsum(np.array([0, *lengths], dtype=np.uint64), dtype=np.uint64)


def products(vectors: Float32, others: Float32) -> Float32:
    """Inner products [t, n] of vectors [t, D] with others [n, D], the same on every machine."""
    if others.size == 0:
        return np.zeros((len(vectors), len(others)), dtype=np.float32)
    book = np.ascontiguousarray(others.T)[None]
    found: Float32 = _kernels.products(np.ascontiguousarray(vectors), book)[:, 0]
    return found


def scaled(vectors: Array) -> Float32:
    """Vectors [t, D] divided by a power of two, so that no product of them overflows."""
    rows = vectors.astype(np.float32)
    largest = float(np.abs(rows).max(initial=0))
    return rows if largest == 0 else rows / np.float32(2.0 ** np.floor(np.log2(largest)))
