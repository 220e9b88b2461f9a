"""Scores of the table family: each subquantizer's index looks up what it adds.

A query's look-up tables are rounded to integers of eight bits with one step for all, so that the
kernels add them exactly and one rounding to float32 is left.

    8 bits  a row is M bytes; 64 rows interleaved, tables of 256 entries
    4 bits  a byte holds two indices, the first in its low half; 16 rows interleaved, tables of 16

Shapes  N rows, Q queries, M subquantizers, K centroids of each, B bytes of a row's codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vecstore.codec.base import ListRows, Parts
from vecstore.codec.bits import unpack_bits
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Float64, Int64, Uint8, Uint64

# Bytes of a row of 4-bit codes are looked up four at a time.
_UNIT = 4


class TablePrepared(NamedTuple):
    """Queries as tables of integers.

    Attributes:
        kernel: `_kernels.looked_up` or `packed`.
        tables: uint8 [Q, M, 256] or [Q, 2 * B, 16].
        factors: float64 [Q, 4]: bias, step, offset, squared length.
    """

    kernel: Callable[..., _kernels.Scorer]
    tables: Uint8
    factors: Float64

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        return self.kernel(
            parts["codes"], self.tables, self.factors, parts.get("scale"), parts.get("norm")
        )

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan(span[0], span[1], allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan_lists(lists[0], lists[1], probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        own = slice(query, query + 1)
        alone = TablePrepared(self.kernel, self.tables[own], self.factors[own])
        return alone.scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        """None: how far a vector lies from its centroids is not kept."""
        return None

    def reading(self, parts: Parts) -> _kernels.Reading:
        return _kernels.Reading(self.scorer(parts), None, None)


def prepared(queries: Float32, rotation: Float32 | None, books: Float32) -> TablePrepared:
    """Queries [Q, D] as tables; the other arguments are those of `_kernels.table_queries`."""
    asked = np.ascontiguousarray(queries)
    tables, factors = _kernels.table_queries(asked, rotation, books)
    kernel = _kernels.looked_up if books.shape[2] == 256 else _kernels.packed
    return TablePrepared(kernel, tables, factors)


def _padded(width: int) -> int:
    return -(-width // _UNIT) * _UNIT


def interleaved(codes: Uint8, bits: int) -> Uint8:
    """Lay codes [N, B] out for scanning: [ceil(N / G), B, G], G rows next to each other.

    G is 64, or 16 for 4 bits, where B is filled up to a multiple of 4 with zeros.
    """
    group, width = (64, codes.shape[1]) if bits == 8 else (16, _padded(codes.shape[1]))
    groups = -(-len(codes) // group)
    whole = np.zeros((groups * group, width), dtype=np.uint8)
    whole[: len(codes), : codes.shape[1]] = codes
    return np.ascontiguousarray(whole.reshape(groups, group, width).transpose(0, 2, 1))


def taken(packed: Array, rows: Int64, width: int) -> Uint8:
    """Undo `interleaved` for some rows: codes [n, B]."""
    group = packed.shape[2]
    found: Uint8 = packed[rows // group, :width, rows % group]
    return found


def usage_bits(codes: Uint8, bits: int) -> Float64:
    """Return how evenly the centroids of each subquantizer are used by codes [N, B], in bits [M].

    The entropy of the indices: 8 (or 4) where each centroid is used as often, N at least 1.
    """
    indices = codes if bits == 8 else unpack_bits(codes, bits)
    found = np.empty(indices.shape[1])
    for m, column in enumerate(indices.T):
        shares = np.bincount(column)[np.unique(column)] / len(indices)
        found[m] = -(shares * np.log2(shares)).sum()
    return found
