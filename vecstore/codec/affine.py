"""Scores of integer codes: exact integer products, then one rounding to float32.

A row stands for scale * (c - K / 2) or low + step * c, with c an integer for each dimension, or for
a sum of such; the query is rounded to integers too, so a kernel computes code . query exactly and
the result is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vecstore.codec.base import ListRows, Parts
from vecstore.kernels import _kernels
from vecstore.options import ERROR_BOUND_SIGMAS
from vecstore.types import Array, Float32, Float64, Int8, Int64, Metric, Uint8, Uint64

# Two signed digits: q = RADIX * high + low, |high| <= 127, -RADIX / 2 <= low < RADIX / 2.
RADIX = 128
TWO_DIGITS_MAX = RADIX * 127
ONE_DIGIT_MAX = 127

_UPPER = np.array(16, dtype=np.uint32)  # arithmetic with an array is faster than with a scalar


def to_integers(queries: Float32, largest: int) -> tuple[Int64, Float64]:
    """Round queries [Q, D] to integers in -largest .. largest; return them and the steps [Q]."""
    steps = np.abs(queries).max(axis=1).astype(np.float64) / largest
    steps = np.where(steps > 1e-37, steps, 1.0)  # a query of (nearly) zeros scores 0
    return np.rint(queries / steps[:, None]).astype(np.int64), steps


def two_digits(integers: Int64) -> Int8:
    """Split integers [Q, D] into digits [Q, 2, D]: high, low."""
    high = (integers + RADIX // 2) // RADIX
    return np.stack([high, integers - RADIX * high], axis=1).astype(np.int8)


def one_digit(integers: Int64) -> Int8:
    """Integers [Q, D] as `_kernels.nibbles` takes them: [Q, 2, ceil(D / 2)], even and odd ones."""
    queries, dim = integers.shape
    digits = np.zeros((queries, 2, -(-dim // 2)), dtype=np.int8)
    digits[:, 0] = integers[:, ::2]
    digits[:, 1, : dim // 2] = integers[:, 1::2]
    return digits


def factors_of(bias: Array, step: Array, *others: Array) -> Float64:
    """Return what the kernels want to know of each query, [Q, 4 or 5]; see `_kernels.octets`.

    Args:
        bias: [Q].
        step: [Q].
        others: offset, norm and, for rows with a shift, its weight; each [Q] or [1].
    """
    columns = np.broadcast_arrays(bias, step, *others)
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float64)


class Names(NamedTuple):
    """The arrays that hold the rows' part of a score; "" for none."""

    codes: str = "codes"
    scale: str = "scale"
    norm: str = "norm"
    shift: str = ""


class AffinePrepared(NamedTuple):
    """Queries as integers.

    Attributes:
        kernel: `_kernels.octets`, `nibbles` or `packed`.
        integers: what the kernel multiplies codes with: digits or tables.
        factors: float64 [Q, 4 or 5]: bias, step, offset, squared length, weight of the shift.
        metric: what scores estimate.
        names: what is read.
    """

    kernel: Callable[..., _kernels.Scorer]
    integers: Int8 | Uint8
    factors: Float64
    metric: Metric
    names: Names = Names()

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        """All queries against all rows."""
        names = self.names
        rows = (parts.get(names.scale), parts.get(names.norm) if self.metric == "l2" else None)
        if not names.shift:
            return self.kernel(parts[names.codes], self.integers, self.factors, *rows)
        shift = parts[names.shift]
        return self.kernel(parts[names.codes], self.integers, self.factors, *rows, shift=shift)

    def only(self, query: int) -> AffinePrepared:
        """One of the queries."""
        integers, factors = self.integers[query : query + 1], self.factors[query : query + 1]
        return AffinePrepared(self.kernel, integers, factors, self.metric, self.names)

    @property
    def _sigmas(self) -> float:
        return ERROR_BOUND_SIGMAS * (2 if self.metric == "l2" else 1)

    def scan(
        self, parts: Parts, span: tuple[int, int], allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan(span[0], span[1], allowed, keep)

    def scan_lists(
        self, parts: Parts, lists: ListRows, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        return self.scorer(parts).scan_lists(lists[0], lists[1], probes, allowed, keep)

    def score(self, parts: Parts, query: int, rows: Int64) -> Float32:
        return self.only(query).scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        """ERROR_BOUND_SIGMAS standard deviations, over random rotations, of the estimate."""
        if "error" not in parts:
            return None
        half = from_bfloat16(parts["error"][rows])
        half *= self._sigmas * math.sqrt(self.factors[query, 3])
        return half

    def reading(self, parts: Parts) -> _kernels.Reading:
        error = parts.get("error")
        sigmas = None if error is None else self._sigmas
        return _kernels.Reading(self.scorer(parts), sigmas, error)


class TotalPrepared(NamedTuple):
    """Queries for codes of several parts, whose scores add up; see `_kernels.total`.

    Attributes:
        terms: the queries for each part.
        gains: for each part, the array that the sum up to it is multiplied with; "" for none.
        norm: the array of squared lengths for l2; "" for other metrics.
        norms: float32 [Q], squared lengths of the queries.
    """

    terms: tuple[AffinePrepared, ...]
    gains: tuple[str, ...]
    norm: str
    norms: Float32

    def scorer(self, parts: Parts) -> _kernels.Scorer:
        return _kernels.total(
            [term.scorer(parts) for term in self.terms],
            [parts.get(gain) for gain in self.gains],
            parts.get(self.norm),
            self.norms if self.norm else None,
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
        terms = tuple(term.only(query) for term in self.terms)
        alone = self._replace(terms=terms, norms=self.norms[query : query + 1])
        return alone.scorer(parts).score(0, rows)

    def bound(self, parts: Parts, query: int, rows: Int64) -> Float32 | None:
        return None

    def reading(self, parts: Parts) -> _kernels.Reading:
        return _kernels.Reading(self.scorer(parts), None, None)


def to_bfloat16(values: Float32) -> Array:
    """Return the upper 16 bits of float32 values >= 0, rounded up: uint16."""
    return ((values.view(np.uint32) + np.uint32(0xFFFF)) >> np.uint32(16)).astype("<u2")


def from_bfloat16(values: Array) -> Float32:
    """Return the float32 values that `to_bfloat16` kept."""
    return (values.astype(np.uint32) << _UPPER).view(np.float32)
