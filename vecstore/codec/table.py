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

from vecstore.codec.affine import factors_of
from vecstore.codec.base import ListRows, Parts
from vecstore.codec.bits import unpack_bits
from vecstore.kernels import _kernels
from vecstore.types import Array, Float32, Float64, Int64, Uint8, Uint64

_TOP = 255
# What all tables start from, in steps: twice that is an exact float32.
_BIAS_MAX = 2**22
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

    def _scorer(self, parts: Parts) -> _kernels.Scorer:
        return self.kernel(
            parts["codes"], self.tables, self.factors, parts.get("scale"), parts.get("norm")
        )

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self._scorer(parts).scan(span[0], span[1], allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self._scorer(parts).scan_lists(lists[0], lists[1], probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        own = slice(query, query + 1)
        alone = TablePrepared(self.kernel, self.tables[own], self.factors[own])
        return alone._scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        """None: how far a vector lies from its centroids is not kept."""
        return None

    def reading(self, parts: Parts) -> _kernels.Reading:
        return _kernels.Reading(self._scorer(parts), None, None)


def prepared(products: Float32, norms: Float64) -> TablePrepared:
    """Round the inner products [Q, M, K] of queries with centroids to integers.

    Args:
        products: K is 256 or 16, M even for 16.
        norms: squared lengths of the queries [Q].
    """
    least = products.min(axis=2)
    above = products - least[:, :, None]
    largest = above.max(axis=2).astype(np.float64)
    if products.shape[2] == 16:
        # The two entries of a byte add up to 255 at most, rounded: half a step each.
        steps = (largest[:, 0::2] + largest[:, 1::2]).max(axis=1) / (_TOP - 1)
    else:
        steps = largest.max(axis=1) / _TOP
    bias = least.sum(axis=1, dtype=np.float64)
    steps = np.maximum(steps, np.abs(bias) / _BIAS_MAX)
    steps = np.where(steps > 1e-37, steps, 1.0)  # a query of (nearly) zeros scores 0
    above *= (1 / steps).astype(np.float32)[:, None, None]
    tables = np.rint(above, out=above).astype(np.uint8)
    factors = factors_of(np.rint(2 * bias / steps), steps / 2, np.zeros(1), norms)
    if products.shape[2] == 256:
        return TablePrepared(_kernels.looked_up, tables, factors)
    return TablePrepared(_kernels.packed, _by_halves(tables), factors)


def _by_halves(tables: Uint8) -> Uint8:
    """Tables [Q, M, 16] as [Q, 2 * B, 16]: low halves of bytes, then high ones; zeros to fill."""
    count, subquantizers, entries = tables.shape
    width = _padded(subquantizers // 2)
    found = np.zeros((count, 2, width, entries), dtype=np.uint8)
    found[:, 0, : subquantizers // 2] = tables[:, 0::2]
    found[:, 1, : subquantizers // 2] = tables[:, 1::2]
    return found.reshape(count, 2 * width, entries)


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
